import { describe, expect, it } from 'vitest';
import { check } from '../support/process.js';
import { TcpRelay } from '../support/relay.js';
import { nbdUri } from '../support/system.js';
import { systemUnderTest } from '../support/under-test.js';
import { Guest } from './runner/guest.js';
import { missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests('nbdinfo');

describe.skipIf(missing.skip)(`the kernel's own NBD client, with several connections, in a guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('has four connections: one is cut under I/O, and the others go on; then the only one is cut, and a new one finds all as it was; blkdiscard', async () => {
    const system = await systemUnderTest(dir, 'many', '64M');
    defer(() => system.kill());
    await system.start();
    const relay = await TcpRelay.open(system.socket);
    defer(() => relay.close());
    const connect = `-N many 10.0.2.2 ${relay.port}`;
    const guest = await Guest.boot({
      network: true,
      script: `
        set -e
        modprobe nbd max_part=0
        # What was under way on a connection that dies is sent on another one after the time-out.
        nbd-client ${connect} /dev/nbd0 -C 4 -t 10
        echo four connections
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 /mnt
        echo under load
        until dmesg | grep -q 'nbd0: Receive control failed'; do dd if=/dev/urandom of=/mnt/load bs=64k count=64 conv=fsync 2>/dev/null; done
        dd if=/dev/urandom of=/mnt/file bs=1M count=16 conv=fsync 2>/dev/null
        sha256sum /mnt/file > /sum
        umount /mnt
        fsck.ext4 -f -n /dev/nbd0
        nbd-client -d /dev/nbd0
        nbd-client ${connect} /dev/nbd1
        mount /dev/nbd1 /mnt
        sha256sum -c /sum
        umount /mnt
        echo at rest
        until dmesg | grep -q 'nbd1: Receive control failed'; do sleep 0.1; done
        # nbd-client 3.24 does not come back by itself: -persist waits for an error of the kernel's, and a closed connection is none to it.
        nbd-client -d /dev/nbd1
        until nbd-client ${connect} /dev/nbd1; do sleep 0.1; done
        echo 3 > /proc/sys/vm/drop_caches
        mount /dev/nbd1 /mnt
        sha256sum -c /sum
        umount /mnt
        fsck.ext4 -f -n /dev/nbd1
        blkdiscard /dev/nbd1
        cmp -n 67108864 /dev/nbd1 /dev/zero
        nbd-client -d /dev/nbd1
        echo all good`,
    });
    await guest.waitForOutput(/four connections/);
    expect(relay.connections).toBe(4);
    // Where the machine is loaded, the kernel may have given one up by its own time-out since.
    await guest.waitForOutput(/under load/);
    expect(relay.connections).toBeGreaterThan(1);
    relay.drop(1);
    await guest.waitForOutput(/at rest/);
    relay.drop(1);
    const result = await guest.result;
    expect(result, result.output + result.kernelLog).toMatchObject({ ended: 'exit', exitStatus: 0 });
    expect(result.output).toContain('all good');
    const map = JSON.parse(await check(['nbdinfo', '--map', '--json', nbdUri(system.socket, 'many')])) as { type: number }[];
    expect(map.map(({ type }) => type)).toEqual([3]);
    await system.stop();
  });
});
