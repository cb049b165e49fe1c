import { parseArgs } from 'node:util';
import { hunt, MUTANTS } from './mutants.js';
import { ClusterRun } from './nodes/run.js';
import { isBad, tell, tellCluster, Totals, type AnyResult } from './report.js';
import { Run } from './run.js';

const USAGE = `npm run sim -- [--seeds N] [--from SEED] [--full] [--cluster] [--mutant WORD]
  --cluster a cluster of nodes, instead of one that is alone
  --seeds   how many seeds to run; 1000
  --from    the first one; 1
  --full    of a seed that fails, print everything that happened
  --mutant  hunt the planted bugs whose name holds the word, instead`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    full: { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Failing seeds after which it is enough. */
const MAX_FAILED = 5;

function runAll(seeds: number, from: number): number {
  const totals = new Totals<Readonly<object>>();
  const run = (seed: number): AnyResult => (values.cluster ? new ClusterRun({ seed }) : new Run({ seed })).run();
  const again = values.cluster ? ' --cluster' : '';
  const startedMs = performance.now();
  let failed = 0;
  for (let seed = from; seed < from + seeds && failed < MAX_FAILED; seed++) {
    const result = run(seed);
    totals.add(result);
    if (isBad(result)) {
      failed++;
      const text = values.cluster ? tellCluster({ seed }, values.full) : tell({ seed }, values.full);
      console.log(`${text}\n\nagain: npm run sim --${again} --seeds 1 --from ${seed} --full\n`);
    }
    if (totals.seeds % 1_000 === 0) console.log(`${totals.seeds} seeds, ${failed} failed`);
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  console.log(`${totals.seeds} seeds in ${seconds.toFixed(1)} s: ${(totals.seeds / seconds).toFixed(1)} seeds/s, ${failed} failed`);
  console.log(`per 1,000 seeds:\n${totals.text()}`);
  return failed;
}

function huntAll(word: string, seeds: number, from: number): number {
  let missed = 0;
  for (const mutant of MUTANTS.filter(({ name }) => name.includes(word))) {
    const caught = hunt(mutant, seeds, from);
    if (caught === null) missed++;
    console.log(`${mutant.name}: ${caught === null ? 'NOT FOUND' : `seed ${caught.seed}: ${caught.outcome}`}`);
  }
  return missed;
}

if (values.help) console.log(USAGE);
else {
  const [seeds, from] = [Number(values.seeds), Number(values.from)];
  if (!(Number.isInteger(seeds) && seeds > 0 && Number.isInteger(from) && from >= 0)) throw new Error(USAGE);
  const bad = values.mutant === undefined ? runAll(seeds, from) : huntAll(values.mutant, seeds, from);
  process.exitCode = bad > 0 ? 1 : 0;
}
