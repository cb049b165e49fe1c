import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { Guest } from '../guest/runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from '../guest/scenario.js';
import { gatepathArgv, runGatepath } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { run } from '../support/process.js';
import { missingPrograms } from '../support/programs.js';

const missing = missingForGuests('fio');
const noCluster = missingPrograms('etcd', 'setpriv').length > 0;
const RECONNECT_DELAY_SEC = 60;
const TIMEOUT_MS = 560_000;
const SIGNAL_BYTES = 4096;
/** In all of them the node that serves the guest's disk is the one that is hit: the guest's host has it beside itself. */
const DRILLS = ['kill', 'hang', 'upgrade', 'failback'];

/** A guest on the disk of a cluster, while drills on a vdisk beside it kill, stop and replace the node that serves both. */
describe.skipIf(missing.skip || noCluster)(`a guest through drills${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it(`${DRILLS.join(', ')}: ext4 and fio meet no error`, { timeout: 2 * TIMEOUT_MS }, async () => {
    const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3, extraArgs: ['--vdisk', 'guest:512M'] });
    defer(() => cluster.kill());
    await cluster.start();
    const { dataDir } = cluster.options;
    // A disk by which the guest is told that there will be no more faults.
    const signal = join(dir, 'signal');
    writeFileSync(signal, ''.padEnd(SIGNAL_BYTES));
    const guest = await Guest.boot({
      disks: [
        { kind: 'nbd', socket: cluster.nbdSocket, exportName: 'guest', reconnectDelaySec: RECONNECT_DELAY_SEC },
        { kind: 'file', path: signal },
      ],
      programs: ['fio'],
      memoryMiB: 1024,
      timeoutMs: 2 * TIMEOUT_MS,
      script: VERIFY_ON_EXT4,
    });
    defer(() => guest.powerCut());
    await guest.waitForOutput(/fio starts/);
    for (const scenario of DRILLS) {
      const args = ['drill', scenario, '--data', dataDir, '--seconds', '2', '--queue-depth', '4', '--json'];
      const { stdout, stderr } = await run(gatepathArgv(...args), { timeoutMs: TIMEOUT_MS });
      expect(stdout, stderr).toMatch(/^\{/);
      const { passed, rounds } = JSON.parse(stdout) as Report;
      expect({ scenario, passed, failures: rounds[0]!.failures }).toEqual({ scenario, passed: true, failures: [] });
    }
    writeFileSync(signal, 'over'.padEnd(SIGNAL_BYTES), { flag: 'r+' });
    const result = await guest.result;
    expectHealthy(result);
    expect(result.output).toMatch(/[1-9]\d* passes without an error/);
    // Of a connection that was lost QEMU would have made the guest wait, too.
    const shown = await runGatepath('vdisk', 'show', 'guest', '--data', dataDir, '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({ health: 'healthy' });
  });
});

/** Passes of fio, each of them written, read and compared, until the faults are over. */
const VERIFY_ON_EXT4 = `
  set -e
  mkfs.ext4 -q /dev/vda
  mount /dev/vda /mnt
  echo "fio starts"
  pass=0
  until dd if=/dev/vdb bs=4096 count=1 iflag=direct 2>/dev/null | grep -q over; do
    pass=$((pass + 1))
    fio --directory=/mnt --name=verify --bs=4k --iodepth=8 --ioengine=libaio --direct=1 --size=4M --rw=randwrite --verify=crc32c --verify_fatal=1 \\
      --do_verify=1 --randseed=$pass --output=/tmp/log || { cat /tmp/log; exit 1; }
    grep -q "err= 0" /tmp/log
  done
  echo "$pass passes without an error"
  umount /mnt
  fsck.ext4 -f -n /dev/vda`;
