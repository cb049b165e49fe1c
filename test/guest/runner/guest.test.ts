import { afterEach, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { TestProcess } from '../../support/process.js';
import { missingNote, missingPrograms, program } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { waitFor } from '../../support/wait.js';
import { GUEST_PROGRAMS } from '../../../src/drill/guest/initramfs.js';
import { Guest, GUEST_TOOLS } from './guest.js';

const missing = missingPrograms(...GUEST_PROGRAMS, ...GUEST_TOOLS, 'nbdkit');

// The runner itself, against a server that is not ours: a failure here is the harness's, not the product's.
describe.skipIf(missing.length > 0)(`guest runner${missingNote(missing)}`, () => {
  const dir = makeTempDir('runner');
  let server: TestProcess | undefined;

  afterEach(async () => {
    await server?.kill();
    removeTempDir(dir);
  });

  it('gives output, exit status and kernel log of a script on an NBD disk, and can cut the power', async () => {
    const socket = join(dir, 's');
    server = TestProcess.start([program('nbdkit'), '-f', '-U', socket, 'memory', '64M']);
    await waitFor('nbdkit', 5000, () => existsSync(socket));
    const disks = [{ kind: 'nbd', socket, exportName: '' }] as const;
    const first = await Guest.boot({
      disks,
      script:
        'echo "disk $(cat /sys/block/vda/size)"; mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && echo hello > /mnt/f && sync; echo ready; sleep 100',
    });
    await first.waitForOutput(/ready/);
    const cut = await first.powerCut();
    expect(cut).toMatchObject({ ended: 'killed', exitStatus: null });
    expect(cut.output).toContain('disk 131072');
    const second = await Guest.run({ disks, script: 'mount /dev/vda /mnt && cat /mnt/f; exit 7' });
    expect(second).toMatchObject({ ended: 'exit', exitStatus: 7 });
    expect(second.output).toContain('hello');
    expect(second.kernelLog).toContain('EXT4-fs (vda): recovery complete');
  });
});
