import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gatepath, GatepathUp } from '../support/gatepath.js';
import { Guest } from './runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests();

describe.skipIf(missing.skip)(`hotplug${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('gatepath attach --qmp gives a running guest a disk, detach --qmp takes it away, and its content stays', async () => {
    const dataDir = join(dir, 'data');
    const system = new GatepathUp({ dataDir, vdisk: 'hot', size: '256M' });
    defer(() => system.kill());
    await system.start();
    const guest = await Guest.boot({ script: TWO_VISITS });
    for (const visit of [1, 2]) {
      await guest.waitForOutput(new RegExp(`visit ${visit}: waiting`));
      await gatepath('attach', 'hot', '--qmp', guest.qmpSocket, '--data', dataDir);
      await guest.waitForOutput(new RegExp(`visit ${visit}: done`));
      await gatepath('detach', 'hot', '--qmp', guest.qmpSocket, '--data', dataDir);
      await guest.waitForOutput(new RegExp(`visit ${visit}: gone`));
    }
    const result = await guest.result;
    expectHealthy(result);
    expect(result.output).toContain('from the first visit');
    await system.stop();
  });
});

const TWO_VISITS = `
  set -e
  for visit in 1 2; do
    echo "visit $visit: waiting"
    while [ ! -e /sys/block/vda ]; do usleep 100000; done
    mdev -s
    [ $visit = 2 ] || mkfs.ext4 -q /dev/vda
    mount /dev/vda /mnt
    [ $visit = 2 ] || echo "from the first visit" > /mnt/note
    cat /mnt/note
    umount /mnt
    fsck.ext4 -f -n /dev/vda
    echo "visit $visit: done"
    while [ -e /sys/block/vda ]; do usleep 100000; done
    echo "visit $visit: gone"
    sleep 3 # QEMU ends with the script: the one who unplugs may still be talking to it
  done`;
