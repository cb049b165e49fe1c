// npm run crash [-- --rounds N --seed S --max-load-ms MS]: the long form of the crash rounds. Needs a built checkout.
import { parseArgs } from 'node:util';
import { GatepathUp } from '../../support/gatepath.js';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { runCrashRounds } from './rounds.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(seedFromEnvironment()) },
    'max-load-ms': { type: 'string', default: '1500' },
  },
});

const dir = makeTempDir('crash');
const seed = Number(values.seed);
console.log(`seed ${seed}, directory ${dir}`);
const system = new GatepathUp({ dataDir: dir, vdisk: 'crash', size: '1G' });
const result = await runCrashRounds({
  system,
  rounds: Number(values.rounds),
  seed,
  maxLoadMs: Number(values['max-load-ms']),
  log: line => console.log(line),
});
await system.stop();
const slowestMs = Math.max(...result.restartMs);
console.log(
  `${result.rounds} rounds, ${result.acknowledgedWrites} acknowledged writes, ${result.unanswered} unanswered, slowest start ${slowestMs} ms, ${result.faults.length} faults`,
);
for (const fault of result.faults) console.log(fault);
if (result.faults.length === 0) removeTempDir(dir);
else console.log(`kept for a look: ${dir}`);
process.exitCode = result.faults.length === 0 ? 0 : 1;
