import { fuzz } from './fuzz.js';
import { startTargets } from './targets.js';

// npm run fuzz -- [--minutes N] [--seed N]        both phases and TLS records, by seed, on both engines by turns; an hour unless told otherwise
// The servers are threads of this process: what ends one of them ends it, and the memory is that of servers and clients together. Each thread has a heap of
// 64 MiB at most (package.json): without that V8 lets garbage lie while the machine has memory, and nobody could tell it from a leak.
function argument(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const MIB = 1 << 20;
const ROUND = 2_000;
/** Four servers with their disks of 65 MiB, their files and their limits (targets.ts), and what Node has for itself and for TLS. Hours change nothing about it. */
const MEMORY_BOUND = 768 * MIB;
/** Of a server's log: what a failure is explained by. */
const LOG_LINES = 100;

const startedAt = Date.now();
const end = startedAt + argument('--minutes', 60) * 60_000;
let seed = argument('--seed', Date.now() % 2 ** 31);
const totals = new Map<string, number>();
let mostBytes = 0;
const watch = setInterval(() => (mostBytes = Math.max(mostBytes, process.memoryUsage.rss())), 200);

function figures(): string {
  const cases = [...totals.values()].reduce((sum, count) => sum + count, 0);
  const minutes = ((Date.now() - startedAt) / 60_000).toFixed(1);
  const kinds = [...totals].map(([what, count]) => `${what} ${count}`).join(', ');
  return `${cases} cases (${kinds}) in ${minutes} minutes, memory at most ${Math.round(mostBytes / MIB)} MiB of ${MEMORY_BOUND / MIB}`;
}

// Once: the memory of an arena is the process's for its life.
const targetsOf = { io_uring: await startTargets('io_uring'), libuv: await startTargets('libuv') };
let failure = '';
for (let round = 0; failure === '' && Date.now() < end; round++) {
  const engine = round % 2 === 0 ? 'io_uring' : 'libuv';
  try {
    const counts = await fuzz(seed, targetsOf[engine], done => done < ROUND && Date.now() < end);
    for (const [what, count] of counts) totals.set(what, (totals.get(what) ?? 0) + count);
  } catch (error) {
    for (const { log } of [targetsOf[engine].plain, targetsOf[engine].tls]) console.log(log.slice(-LOG_LINES).join('\n'));
    failure = `${engine}: ${(error as Error).message} (keep the seed in fuzz.test.ts when it is repaired)`;
  }
  if (failure === '' && mostBytes > MEMORY_BOUND) failure = `${engine}: more memory than the bound, seeds from ${seed}`;
  for (const { log } of [targetsOf[engine].plain, targetsOf[engine].tls]) log.splice(0, log.length - LOG_LINES);
  console.log(`${engine}, seeds from ${seed}: so far ${figures()}`);
  seed += ROUND;
}
clearInterval(watch);
console.log(failure === '' ? `${figures()}; crashes 0, hangs 0` : `FAILED: ${failure}`);
process.exit(failure === '' ? 0 : 1);
