import { writeFileSync } from 'node:fs';
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
const SIGNAL_BYTES = 4096;

// Stargate and datapath as processes of their own, each killed in the middle of a guest's fio on ext4: the guest waits, and goes on.
describe.skipIf(missing.skip)(`processes killed under a running guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('stargate, datapath, and both again: no error in the guest, fsck and verify clean', async () => {
    const system = new GatepathSplit({ dir: join(dir, 'faults'), vdisk: 'faults', size: '512M' });
    defer(() => system.kill());
    await system.start();
    // A disk by which the guest is told that there will be no more kills.
    const signal = join(dir, 'signal');
    writeFileSync(signal, ''.padEnd(SIGNAL_BYTES));
    const guest = await Guest.boot({
      disks: [diskOf(system, RECONNECT_DELAY_SEC), { kind: 'file', path: signal }],
      programs: ['fio'],
      memoryMiB: 1024,
      timeoutMs: 350_000,
      script: FIO_ON_EXT4,
    });
    await guest.waitForOutput(/fio starts/);
    for (const victim of ['stargate', 'datapath', 'stargate', 'datapath'] as const) {
      await sleep(500 + Math.random() * 1500);
      await system.killPart(victim);
      await sleep(AWAY_MS);
      await system.startPart(victim);
    }
    writeFileSync(signal, 'over'.padEnd(SIGNAL_BYTES), { flag: 'r+' });
    const result = await guest.result;
    expectHealthy(result);
    expect(result.output).toContain('all good');
    await system.stop();
  });
});

const FIO_ON_EXT4 = `
  set -e
  mkfs.ext4 -q /dev/vda
  mount /dev/vda /mnt
  fio="fio --directory=/mnt --bs=4k --iodepth=16 --ioengine=libaio --direct=1"
  echo "fio starts"
  # One load until the last kill is over, whatever the speed; beside it a round that is verified.
  $fio --name=load --size=32M --rw=randrw --rate_iops=300,300 --time_based --runtime=300 --verify=0 --output=/tmp/load &
  load=$!
  $fio --name=check --size=24M --rw=randwrite --rate_iops=600 --verify=crc32c --verify_fatal=1 --do_verify=1
  until dd if=/dev/vdb bs=4096 count=1 iflag=direct 2>/dev/null | grep -q over; do usleep 200000; done
  # A load that has met an error would have ended.
  kill $load
  wait $load || true
  cat /tmp/load
  grep -q "err= 0" /tmp/load
  umount /mnt
  fsck.ext4 -f -n /dev/vda
  echo "all good"`;
