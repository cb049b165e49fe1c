import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { check } from '../support/process.js';
import { TcpRelay } from '../support/relay.js';
import { systemUnderTest } from '../support/under-test.js';
import { Guest } from './runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from './scenario.js';

const ROUNDS = 2;
const missing = missingForGuests('gcc');

// nbd-client 3.24 does not come back by itself. Its -persist holds with -nonetlink alone, and there the kernel ends a device whose connections were closed
// without an error, which nbd-client takes for a wish. Over netlink the kernel lets requests wait for new connections: nbd-netlink.c asks it to.
describe.skipIf(missing.skip)(`the kernel's own NBD client reconnects, in a guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('the server is killed under a mounted ext4 and started again: I/O waits and goes on, fsck is clean', async () => {
    const netlink = join(dir, 'nbd-netlink');
    await check(['gcc', '-static', '-O1', '-o', netlink, fileURLToPath(new URL('nbd-netlink.c', import.meta.url))]);
    const system = await systemUnderTest(dir, 'again', '128M');
    defer(() => system.kill());
    await system.start();
    const relay = await TcpRelay.open(system.socket);
    defer(() => relay.close());
    const guest = await Guest.boot({
      network: true,
      files: { 'nbd-netlink': readFileSync(netlink) },
      timeoutMs: 540_000,
      script: `
        set -e
        modprobe nbd max_part=0
        dead() { dmesg | grep -c 'nbd0: Receive control failed' || true; }
        /nbd-netlink connect 0 10.0.2.2 ${relay.port} again 2
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 /mnt
        echo 0 > /count
        (
          i=0
          until [ -e /stop ]; do
            i=$((i + 1))
            dd if=/dev/urandom of=/mnt/$((i % 4)) bs=64k count=8 conv=fsync 2>/dev/null || { echo a write has failed; break; }
            sha256sum /mnt/$((i % 4)) > /sum$((i % 4))
            echo $i > /count
          done
        ) &
        for round in ${Array.from({ length: ROUNDS }, (_, i) => i + 1).join(' ')}; do
          n=$(cat /count)
          until [ "$(cat /count)" -gt $((n + 5)) ] 2>/dev/null; do sleep 0.1; done
          echo under load $round
          until [ "$(dead)" -ge $((2 * round)) ]; do sleep 0.1; done
          echo cut off $round
          until /nbd-netlink reconfigure 0 10.0.2.2 ${relay.port} again 2; do sleep 0.2; done
        done
        n=$(cat /count)
        until [ "$(cat /count)" -gt $((n + 5)) ] 2>/dev/null; do sleep 0.1; done
        touch /stop
        wait
        fstrim /mnt
        umount /mnt
        echo 3 > /proc/sys/vm/drop_caches
        mount /dev/nbd0 /mnt
        cat /sum? | sha256sum -c
        umount /mnt
        fsck.ext4 -f -n /dev/nbd0
        nbd-client -d /dev/nbd0
        echo all good`,
    });
    for (let round = 1; round <= ROUNDS; round++) {
      await guest.waitForOutput(new RegExp(`under load ${round}`), 240_000);
      expect(relay.connections).toBe(2);
      await system.kill();
      await guest.waitForOutput(new RegExp(`cut off ${round}`), 240_000);
      await system.start();
    }
    const result = await guest.result;
    expectHealthy(result);
    expect(result.output).not.toContain('a write has failed');
    expect(result.output.match(/reconfigure: 134217728 bytes/g)).toHaveLength(ROUNDS);
    expect(result.output).toContain('all good');
    await system.stop();
  });
});
