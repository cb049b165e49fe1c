import { existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { SpaceReserve } from '../../src/main/space-reserve.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep, waitFor } from '../support/wait.js';

const BYTES = 3 << 20;

/** As a process that starts. */
function start(directory: string): void {
  const reserve = new SpaceReserve(directory, 'reserve-start', BYTES);
  reserve.keep();
  onTestFinished(() => reserve.close());
}

const inodeOf = (path: string): number => statSync(path).ino;

it('a reserve is made where there is none, is space and not a hole, and is left as it is by the next start', async () => {
  const directory = makeTempDir();
  onTestFinished(() => removeTempDir(directory));
  const path = join(directory, 'reserve-start');
  start(directory);
  await waitFor('the reserve', 30_000, () => existsSync(path));
  const { size, blocks, ino } = statSync(path);
  expect(size).toBe(BYTES);
  expect(blocks * 512).toBeGreaterThanOrEqual(BYTES);
  start(directory);
  await sleep(200);
  expect(inodeOf(path)).toBe(ino);
});

it('a reserve of another size is made anew', async () => {
  const directory = makeTempDir();
  onTestFinished(() => removeTempDir(directory));
  const path = join(directory, 'reserve-start');
  await writeFile(path, 'of an older version');
  start(directory);
  await waitFor('a whole reserve', 30_000, () => statSync(path).size === BYTES);
});
