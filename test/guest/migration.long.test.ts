import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { troubleIn } from '../../src/drill/guest/machine.js';
import { gatepath, runGatepath } from '../support/gatepath.js';
import { GatepathSplit } from '../support/gatepath-split.js';
import { NbdClient } from '../support/nbd/client.js';
import { OtherDatapath } from '../support/other-datapath.js';
import { waitFor } from '../support/wait.js';
import { Guest, type GuestOptions } from './runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests();
const WAIT_MS = 120_000;

describe.skipIf(missing.skip)(`live migration${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('a guest that writes and verifies goes from one host to another without an I/O error', async () => {
    const system = new GatepathSplit({ dir: join(dir, 'a'), vdisk: 'disk', size: '256M' });
    defer(() => system.kill());
    await system.start();
    const data = join(dir, 'a', 'data');
    const there = new OtherDatapath(join(dir, 'b'), 'host-b', join(dir, 'a', 'datapath.yaml'));
    defer(() => there.kill());
    await there.start(data);
    const options = (socket: string): GuestOptions => ({
      script: WRITES_AND_VERIFIES,
      disks: [{ kind: 'nbd', socket, exportName: 'disk', reconnectDelaySec: 30 }],
      memoryMiB: 384,
      timeoutMs: 400_000,
    });
    const source = await Guest.boot(options(system.socket));
    defer(() => source.powerCut());
    await source.waitForOutput(/round 2\n/);

    await gatepath('attach', 'disk', '--shared', '--host', 'host-b', '--data', data);
    const target = await Guest.boot({ ...options(there.socket), incoming: true });
    defer(() => target.powerCut());
    const [atSource, atTarget] = [await source.qmp(), await target.qmp()];
    await atSource.execute('migrate-set-capabilities', { capabilities: [{ capability: 'pause-before-switchover', state: true }] });
    await atSource.execute('migrate-set-parameters', { 'max-bandwidth': 1 << 30, 'downtime-limit': 2_000 });
    await atSource.execute('migrate', { uri: target.migrationUri });
    // One client at a time speaks QMP.
    atSource.close();
    await gatepath('vdisk', 'activate', 'disk', '--host', 'host-b', '--qmp', source.qmpSocket, '--data', data);
    await waitFor('the guest runs at the target', WAIT_MS, async () => {
      return ((await atTarget.execute('query-status')) as { status: string }).status === 'running';
    });
    const round = Number(/round (\d+)\n/.exec((await target.waitForOutput(/round \d+\n/))[0])![1]);
    await target.waitForOutput(new RegExp(`round ${round + 2}\n`));

    const former = await NbdClient.connect({ socket: system.socket }, 'disk');
    await expect(former.write(0, Buffer.alloc(4_096))).rejects.toMatchObject({ errnoCode: 108 });
    const left = await source.powerCut();
    expect(troubleIn(left.kernelLog)).toEqual([]);
    expect(left.output).toMatch(/round 2\n/);
    await gatepath(
      'detach',
      'disk',
      '--host',
      (await runGatepath('vdisk', 'show', 'disk', '--data', data)).stdout.match(/, (\S+) \(over/)![1]!,
      '--data',
      data,
    );
    // It sees a device come, and ends.
    await atTarget.execute('device_add', { driver: 'virtio-rng-pci', id: 'enough', bus: 'rp0' });
    atTarget.close();
    const result = await target.result;
    expectHealthy(result);
    expect(result.output).toContain('all verified');
  });
});

const WRITES_AND_VERIFIES = `
  set -e
  devices() { ls /sys/bus/pci/devices | wc -l; }
  mkfs.ext4 -q /dev/vda
  mount /dev/vda /mnt
  before=$(devices)
  round=0
  while [ $(devices) = $before ]; do
    round=$((round + 1))
    file=/mnt/file$((round % 8))
    head -c 262144 /dev/urandom > $file
    md5sum $file > /tmp/sum$((round % 8))
    sync
    echo 3 > /proc/sys/vm/drop_caches
    cat /tmp/sum* | md5sum -c -s
    echo "round $round"
  done
  umount /mnt
  fsck.ext4 -f -n /dev/vda
  echo "all verified"`;
