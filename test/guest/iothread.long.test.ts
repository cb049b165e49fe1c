import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gatepath, GatepathUp } from '../support/gatepath.js';
import { Guest } from './runner/guest.js';
import { expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests();

describe.skipIf(missing.skip)(`a disk with an iothread${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('is written and verified, and resized by --qmp meanwhile: the guest has the size at once, and uses it', async () => {
    const dataDir = join(dir, 'data');
    const system = new GatepathUp({ dataDir, vdisk: 'threaded', size: '64M' });
    defer(() => system.kill());
    await system.start();
    const disk = { kind: 'nbd', socket: system.socket, exportName: 'threaded', nodeName: 'gp-threaded', iothread: true } as const;
    const guest = await Guest.boot({ disks: [disk], script: SCRIPT });
    await guest.waitForOutput(/begun/);
    for (const [size, sectors] of [
      ['128M', 262_144],
      ['192M', 393_216],
    ] as const) {
      const text = await gatepath('vdisk', 'resize', 'threaded', size, '--qmp', guest.qmpSocket, '--data', dataDir);
      expect(text).toContain('has been told');
      await guest.waitForOutput(new RegExp(`sectors ${sectors}\\b`));
    }
    const result = await guest.result;
    expectHealthy(result);
    expect(result.output).toContain('all as written');
    await system.stop();
  });
});

const SCRIPT = `
  set -e
  dd if=/dev/urandom of=/data bs=1M count=16 2>/dev/null
  sum=$(md5sum < /data)
  round() { # offset in MiB: written past the guest's cache, and read again
    dd if=/data of=/dev/vda bs=64k seek=$(($1 * 16)) oflag=direct conv=notrunc 2>/dev/null
    [ "$(dd if=/dev/vda bs=64k skip=$(($1 * 16)) count=256 iflag=direct 2>/dev/null | md5sum)" = "$sum" ] || { echo "MiB $1: not as written"; exit 1; }
  }
  round 0
  echo begun
  for sectors in 262144 393216; do
    while [ $(cat /sys/block/vda/size) != $sectors ]; do round 16; done
    echo "sectors $sectors"
    round $((sectors / 2048 - 16))
  done
  echo "all as written"
  sleep 3 # QEMU ends with the script: the one who resizes may still be talking to it
`;
