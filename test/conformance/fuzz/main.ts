import { fuzz } from './fuzz.js';
import { startTargets } from './targets.js';

// npm run fuzz -- [--minutes N] [--seed N]        both phases and TLS records, by seed, on both engines by turns
function argument(name: string, otherwise: number): number {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const minutes = argument('--minutes', 1);
const end = Date.now() + minutes * 60_000;
let seed = argument('--seed', Date.now() % 2 ** 31);
const totals = new Map<string, number>();
const ROUND = 2_000;
for (let round = 0; Date.now() < end; round++) {
  const engine = round % 2 === 0 ? 'io_uring' : 'libuv';
  const targets = await startTargets(engine);
  const counts = await fuzz(seed, targets, done => done < ROUND && Date.now() < end);
  await targets.stop();
  for (const [what, count] of counts) totals.set(what, (totals.get(what) ?? 0) + count);
  console.log(`${engine}: seeds from ${seed}; so far ${JSON.stringify(Object.fromEntries(totals))}`);
  seed += ROUND;
}
process.exit(0);
