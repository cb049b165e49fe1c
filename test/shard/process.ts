// A process with two shards, as `gatepath` runs them: started by pool.test.ts with the trouble and the engine.
import { fileURLToPath } from 'node:url';
import { createArena } from 'uring-engine';
import { createLogger } from '../../src/main/logger.js';
import { endNow } from '../../src/main/process.js';
import { ShardPool, ShardThreads } from '../../src/shard/pool.js';
import type { TestSettings } from './parts.js';

const [trouble, engine] = process.argv.slice(2) as [TestSettings['trouble'], TestSettings['engine']];
const log = await createLogger('info');
try {
  const pool = await ShardPool.start({
    threads: new ShardThreads(2, fileURLToPath(new URL('worker.mjs', import.meta.url))),
    arena: createArena(64 << 20).handle,
    settings: () => ({ settings: { trouble, engine } satisfies TestSettings }),
    parts: 1,
    log,
    onCrash: error => endNow(log, `a shard has crashed: ${error.message}`),
  });
  let answers = 0;
  pool.on('answer', () => ++answers === 2 && console.log('both shards answer'));
  pool.broadcast('ask', 1);
  process.on('SIGTERM', () => void pool.stop(500).then(() => process.exit(0)));
  setInterval(() => undefined, 1_000);
} catch (error) {
  console.log(`not started: ${(error as { code?: string }).code}: ${(error as Error).message}`);
  process.exit(1);
}
