import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GatepathUp } from '../support/gatepath.js';
import { check } from '../support/process.js';
import { waitFor } from '../support/wait.js';
import { Guest } from './runner/guest.js';
import { diskOf, expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests();
const MIB = 1024 * 1024;
const WRITTEN_BYTES = 160 * MIB;
const DRAIN_TIMEOUT_MS = 60_000;

describe.skipIf(missing.skip)(`trim from a guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  it('fstrim gives the space of deleted files back: the data directory shrinks', async () => {
    const dataDir = join(dir, 'data');
    const system = new GatepathUp({ dataDir, vdisk: 'trim', size: '1G' });
    defer(() => system.kill());
    await system.start();
    const disks = [diskOf(system)];
    const write = `set -e; mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt; dd if=/dev/urandom of=/mnt/file bs=1M count=${WRITTEN_BYTES / MIB} 2>/dev/null; echo keep > /mnt/kept; umount /mnt`;
    expectHealthy(await Guest.run({ disks, script: write }));
    // Extents are written by drains, behind the writes. The log in front of them grows meanwhile, and keeps its segments for the next writes.
    await waitFor('the written data in the extents', DRAIN_TIMEOUT_MS, async () => {
      return (await usedBytes(join(dataDir, 'stargate', 'extents'))) >= WRITTEN_BYTES * 0.95;
    });
    const full = await usedBytes(dataDir);
    // ext4 frees the blocks of a deleted file when its journal commits: without the sync there would be nothing to trim yet.
    const trim = 'set -e; mount /dev/vda /mnt; rm /mnt/file; sync; fstrim -v /mnt; cat /mnt/kept; umount /mnt; fsck.ext4 -f -n /dev/vda';
    const trimmed = await Guest.run({ disks, script: trim });
    expectHealthy(trimmed);
    expect(trimmed.output).toContain('keep');
    await waitFor(
      `less in use than ${full} bytes by what was deleted`,
      DRAIN_TIMEOUT_MS,
      async () => (await usedBytes(dataDir)) <= full - WRITTEN_BYTES * 0.9,
    );
    await system.stop();
  });
});

async function usedBytes(path: string): Promise<number> {
  return Number((await check(['du', '-s', '--block-size=1', path])).split(/\s/)[0]);
}
