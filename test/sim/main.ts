import { parseArgs } from 'node:util';
import { Piscina } from 'piscina';
import runBatch, { shapeOf, type BatchResult } from './batch.js';
import { hunt, MUTANTS, type Caught } from './mutants.js';
import { CLUSTER_MUTANTS, huntInCluster } from './nodes/mutants.js';
import { tell, tellCluster, Totals } from './report.js';

const USAGE = `npm run sim -- [--seeds N] [--from SEED] [--jobs N] [--cluster [--long]] [--flush] [--resize] [--full] [--mutant WORD]
  --cluster a cluster of nodes, instead of one that is alone
  --long    histories of some seconds, instead of many short ones and few long ones
  --flush   durability "flush": what is not flushed may be lost, and is told then
  --resize  vdisks of a cluster are resized in all runs, instead of in two of five
  --seeds   how many seeds to run; 1000
  --from    the first one; 1
  --jobs    threads that run them; 1
  --full    of a seed that fails, print everything that happened
  --mutant  hunt the planted bugs whose name holds the word, instead`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    full: { type: 'boolean', default: false },
    long: { type: 'boolean', default: false },
    flush: { type: 'boolean', default: false },
    resize: { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Failing seeds after which it is enough. */
const MAX_FAILED = 5;
/** Seeds that a thread is given at a time. */
const BATCH_SEEDS = 20;
const TELL_EVERY_SEEDS = 1_000;

async function runAll(seeds: number, from: number, jobs: number): Promise<number> {
  const { cluster: isCluster, long: isLong, flush: isFlush, resize: isResizing } = values;
  const shape = shapeOf({ isFlush, isResizing });
  const totals = new Totals<Readonly<Record<string, number>>>();
  const startedMs = performance.now();
  let failed = 0;
  const take = (result: BatchResult): void => {
    const before = totals.seeds;
    totals.addSums(result.seeds, result.sums);
    for (const seed of result.failed) {
      failed++;
      const text = isCluster ? tellCluster({ seed, isLong, ...shape }, values.full) : tell({ seed, ...shape }, values.full);
      console.log(
        `${text}\n\nagain: npm run sim --${isCluster ? ' --cluster' : ''}${isLong ? ' --long' : ''}${isFlush ? ' --flush' : ''}${isResizing ? ' --resize' : ''} --seeds 1 --from ${seed} --full\n`,
      );
    }
    if (Math.floor(before / TELL_EVERY_SEEDS) < Math.floor(totals.seeds / TELL_EVERY_SEEDS))
      console.log(`${totals.seeds} seeds, ${failed} failed, ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
  };
  let next = from;
  const pool =
    jobs === 1
      ? null
      : new Piscina({
          filename: new URL('batch.ts', import.meta.url).href,
          minThreads: jobs,
          maxThreads: jobs,
          resourceLimits: { maxYoungGenerationSizeMb: 48 },
        });
  const work = async (): Promise<void> => {
    while (next < from + seeds && failed < MAX_FAILED) {
      const batch = { from: next, seeds: Math.min(BATCH_SEEDS, from + seeds - next), isCluster, isLong, isFlush, isResizing };
      next += batch.seeds;
      take(pool === null ? runBatch(batch) : ((await pool.run(batch)) as BatchResult));
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  await pool?.destroy();
  const seconds = (performance.now() - startedMs) / 1_000;
  const { user, system } = process.cpuUsage();
  const cpuSeconds = (user + system) / 1e6;
  console.log(`${totals.seeds} seeds in ${seconds.toFixed(1)} s: ${(totals.seeds / seconds).toFixed(1)} seeds/s, ${failed} failed`);
  // On a machine that others use, too, it says more.
  console.log(`processor time ${cpuSeconds.toFixed(1)} s: ${(totals.seeds / cpuSeconds).toFixed(1)} seeds/s`);
  console.log(`per 1,000 seeds:\n${totals.text()}`);
  return failed;
}

function huntAll(word: string, seeds: number, from: number): number {
  let missed = 0;
  const say = (name: string, caught: Caught | null): void => {
    if (caught === null) missed++;
    console.log(`${name}: ${caught === null ? 'NOT FOUND' : `seed ${caught.seed}: ${caught.outcome}`}`);
  };
  if (values.cluster)
    for (const one of CLUSTER_MUTANTS.filter(({ name }) => name.includes(word))) say(one.name, huntInCluster(one, seeds, from));
  else for (const one of MUTANTS.filter(({ name }) => name.includes(word))) say(one.name, hunt(one, seeds, from));
  return missed;
}

if (values.help) console.log(USAGE);
else {
  const [seeds, from, jobs] = [Number(values.seeds), Number(values.from), Number(values.jobs)];
  const isRight = [seeds, jobs].every(n => Number.isInteger(n) && n > 0) && Number.isInteger(from) && from >= 0;
  if (!isRight) throw new Error(USAGE);
  const bad = values.mutant === undefined ? await runAll(seeds, from, jobs) : huntAll(values.mutant, seeds, from);
  process.exitCode = bad > 0 ? 1 : 0;
}
