import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isBad, tellCluster, Totals } from '../report.js';
import { ClusterRun, type ClusterCounters, type ClusterRunOptions } from './run.js';
import { RESIZE_UNDECIDED } from './stories.js';

const SEEDS = 10;
const FIRST_SEED = Number(process.env['GATEPATH_SEED'] ?? 1);
const SCRIPT = new URL('scripts/resize-undecided.txt', import.meta.url);
const PAIR = { vdiskCount: 1, hotBlocks: 6, nodeCount: 2, replicationFactor: 2, minMembers: 1, resizes: true };

it(`a vdisk that is resized all the time has the size that was wanted, everywhere, and zeroes where it was cut off, over ${SEEDS} histories`, () => {
  const totals = new Totals<ClusterCounters>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const options = { seed, shape: { resizes: true, ...(seed % 2 === 0 && { durability: 'flush' as const }) } };
    const result = new ClusterRun(options).run();
    totals.add(result);
    if (isBad(result)) expect.fail(tellCluster(options, false));
  }
  // What it is for has happened.
  expect([totals.of('resizes') > 20, totals.of('takeovers') > 8, totals.of('unknownSizes') > 0], totals.text()).toEqual([true, true, true]);
});

/** As it reads: without disks, and without the times, which are the seed's. */
function toldBy(options: ClusterRunOptions): string {
  const { violations, exception, lines } = new ClusterRun({ ...options, isRead: true }).run();
  expect([violations, exception]).toEqual([[], null]);
  const end = lines.findIndex(line => line.includes('everything heals'));
  const isWanted = (line: string): boolean => / (client|resize|metadata|node \d+):? .*/.test(line) && !/ disk \d/.test(line);
  return `${lines
    .slice(0, end)
    .filter(isWanted)
    .map(line => line.replace(/^ *[\d.-]+ ms /, ''))
    .join('\n')}\n`;
}

it('a shrink that was undecided when its controller died, as a script: scripts/resize-undecided.txt', () => {
  const text = toldBy({ seed: 1, shape: PAIR, story: RESIZE_UNDECIDED });
  // After an intended change: UPDATE_SCRIPTS=1 npx vitest run test/sim/nodes/resizes.test.ts, and read the difference.
  if (process.env['UPDATE_SCRIPTS'] === '1') writeFileSync(SCRIPT, text);
  else expect(text).toBe(readFileSync(SCRIPT, 'utf8'));
  for (let seed = 2; seed <= 4; seed++) toldBy({ seed, shape: PAIR, story: RESIZE_UNDECIDED });
});
