import { MAIN } from '../../src/shard/context.js';
import type { ShardTask } from '../../src/shard/pool.js';
import { runShard, type EngineChoice } from '../../src/shard/run.js';

export interface TestSettings {
  readonly engine: EngineChoice;
  /** What goes wrong, in shard 1; shard 0 is always well, and blocked in its engine. */
  readonly trouble: 'none' | 'does not mount' | 'crashes' | 'does not close';
}

const CRASH_DELAY_NS = 50e6;

export function runTestShard(task: ShardTask): Promise<void> {
  const { engine: kind, trouble } = task.settings as TestSettings;
  const isTroubled = task.index === 1;
  return runShard(task, kind, context => {
    if (isTroubled && trouble === 'does not mount') throw Object.assign(new Error('the directory is damaged'), { code: 'ERR_DAMAGED' });
    const client = context.engine.register({
      onCompletion: () => {
        throw new Error('a bug');
      },
    });
    if (isTroubled && trouble === 'crashes') context.engine.timer(CRASH_DELAY_NS, client, 0);
    context.onMessage('ask', message => context.send(MAIN, 'answer', message));
    return [{ close: done => (isTroubled && trouble === 'does not close' ? undefined : done()) }];
  });
}
