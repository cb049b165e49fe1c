import { describe, expect, it } from 'vitest';
import { TcpRelay } from '../support/relay.js';
import { systemUnderTest } from '../support/under-test.js';
import { Guest } from './runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests();

describe.skipIf(missing.skip)(`the kernel's own NBD client, in a guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('nbd-client brings the vdisk up as /dev/nbd0: ext4, fstrim, fsck, and away again', async () => {
    const system = await systemUnderTest(dir, 'knbd', '512M');
    defer(() => system.kill());
    await system.start();
    const relay = await TcpRelay.open(system.socket);
    defer(() => relay.close());
    const result = await Guest.run({
      network: true,
      script: `
        set -e
        modprobe nbd max_part=0
        nbd-client -N knbd 10.0.2.2 ${relay.port} /dev/nbd0
        cat /sys/block/nbd0/size
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 /mnt
        dd if=/dev/urandom of=/mnt/file bs=1M count=16 2>/dev/null
        sha256sum /mnt/file > /sum
        sync
        echo 3 > /proc/sys/vm/drop_caches
        sha256sum -c /sum
        rm /mnt/file
        fstrim -v /mnt
        umount /mnt
        fsck.ext4 -f -n /dev/nbd0
        nbd-client -d /dev/nbd0
        echo all good`,
    });
    expectHealthy(result);
    expect(result.output).toContain(String((512 * 1024 * 1024) / 512));
    expect(result.output).toContain('all good');
    await system.stop();
  });
});
