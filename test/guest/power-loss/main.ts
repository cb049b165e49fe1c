// npm run power-loss [-- --rounds N --seed S]: the long form of the power-loss rounds. Needs a built checkout.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { buildAppImage } from './app-image.js';
import { gatepathInGuest } from './gatepath-in-guest.js';
import { runPowerLossRounds } from './rounds.js';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '10' }, seed: { type: 'string', default: String(seedFromEnvironment()) } },
});

const dir = makeTempDir('app');
try {
  const image = join(dir, 'app.img');
  await buildAppImage(image);
  console.log(`seed ${values.seed}`);
  const result = await runPowerLossRounds({
    server: gatepathInGuest(image),
    rounds: Number(values.rounds),
    seed: Number(values.seed),
    kinds: ['volatile', 'direct'],
    log: line => console.log(line),
  });
  console.log(
    `${result.rounds} power cuts, ${result.acknowledgedWrites} acknowledged writes, ${result.unanswered} unanswered, ${result.faults.length} faults`,
  );
  for (const fault of result.faults) console.log(fault);
  process.exitCode = result.faults.length === 0 ? 0 : 1;
} finally {
  removeTempDir(dir);
}
