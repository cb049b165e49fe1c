/**
 * Costs of the unified cache per call, without touching the pages. `npx tsx bench/micro/unified-cache.ts [pages]`; medians of 7 rounds.
 */
import { UnifiedCache } from '../../src/stargate/cache/unified-cache.js';

const pages = Number(process.argv[2] ?? 65_536);
const cache = new UnifiedCache(4096, pages);
const CALLS = 1_000_000;
const numbers = new Float64Array(CALLS);

function measure(name: string, fill: (i: number) => number, call: (block: number) => number): void {
  for (let i = 0; i < CALLS; i++) numbers[i] = fill(i);
  const rounds: number[] = [];
  let sum = 0;
  for (let round = 0; round < 7; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) sum += call(numbers[i]!);
    rounds.push(Number(process.hrtime.bigint() - start) / CALLS);
  }
  rounds.sort((a, b) => a - b);
  console.log(`${name.padEnd(28)} ${rounds[3]!.toFixed(1).padStart(7)} ns  (sum ${sum})`);
}

const random = (below: number) => Math.floor(Math.random() * below);
console.log(`${pages} pages`);
for (let block = 0; block < pages; block++) cache.insert(1, block);
measure(
  'find, hit, sequential',
  i => i % pages,
  block => cache.find(1, block),
);
measure(
  'find, hit, random',
  () => random(pages),
  block => cache.find(1, block),
);
measure(
  'find, miss, random',
  () => pages + random(2 ** 40),
  block => cache.find(1, block),
);
measure(
  'find + pin + unpin',
  () => random(pages),
  block => {
    const page = cache.find(1, block);
    cache.pin(page);
    cache.unpin(page);
    return page;
  },
);
measure(
  'insert, replaces in place',
  () => random(pages),
  block => cache.insert(1, block),
);
let next = pages;
measure(
  'insert, new, sequential',
  () => 0,
  () => cache.insert(1, next++),
);
measure(
  'insert, random, half hits',
  () => random(pages * 2),
  block => cache.insert(2, block),
);
