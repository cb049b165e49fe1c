import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GatepathSplit } from '../support/gatepath-split.js';
import { sleep } from '../support/wait.js';
import { Guest } from './runner/guest.js';
import { diskOf, expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests('fio');
const RECONNECT_DELAY_SEC = 60;
/** How long a killed process stays away: longer than any retry that happens to be under way. */
const AWAY_MS = 1500;

// Stargate and datapath as processes of their own, each killed in the middle of a guest's fio on ext4: the guest waits, and goes on.
describe.skipIf(missing.skip)(`processes killed under a running guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it.each(['stargate', 'datapath'] as const)(
    '%s: no error in the guest, fsck and verify clean',
    async victim => {
      const system = new GatepathSplit({ dir: join(dir, victim), vdisk: 'faults', size: '512M' });
      defer(() => system.kill());
      await system.start();
      const guest = await Guest.boot({
        disks: [diskOf(system, RECONNECT_DELAY_SEC)],
        programs: ['fio'],
        memoryMiB: 1024,
        timeoutMs: 200_000,
        script: FIO_ON_EXT4,
      });
      await guest.waitForOutput(/fio starts/, 90_000);
      for (let kill = 0; kill < 2; kill++) {
        await sleep(1500 + Math.random() * 1500);
        await system.killPart(victim);
        await sleep(AWAY_MS);
        await system.startPart(victim);
      }
      const result = await guest.result;
      expectHealthy(result);
      expect(result.output).toContain('all good');
      await system.stop();
    },
    300_000,
  );
});

const FIO_ON_EXT4 = `
  set -e
  mkfs.ext4 -q /dev/vda
  mount /dev/vda /mnt
  echo "fio starts"
  # Time-based writing first, so that the kills fall into it whatever the speed; then a round that is verified.
  fio --name=load --directory=/mnt --size=32M --rw=randrw --bs=4k --iodepth=16 --ioengine=libaio --direct=1 --time_based --runtime=12 --verify=0 --output=/tmp/load &
  load=$!
  fio --name=check --directory=/mnt --size=24M --rw=randwrite --bs=4k --iodepth=16 --ioengine=libaio --direct=1 --rate_iops=600 --verify=crc32c --verify_fatal=1 --do_verify=1
  wait $load
  umount /mnt
  fsck.ext4 -f -n /dev/vda
  echo "all good"`;
