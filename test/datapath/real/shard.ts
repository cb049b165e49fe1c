import { DatapathShard } from '../../../src/datapath/service.js';
import type { ShardTask } from '../../../src/shard/pool.js';
import { runShard, type EngineChoice } from '../../../src/shard/run.js';
import { ShardTransport } from '../../../src/transport/shard-transport.js';
import { MemoryServing, MemoryStore } from '../../transport/memory-serving.js';

export interface TestShardSettings {
  readonly engine: EngineChoice;
  readonly nbdSocket: string;
  readonly datapathUuid: string;
  readonly vdisk: { readonly id: string; readonly sizeBytes: number; readonly shard: number };
}

const PAGES = 4_096;

/** A shard with a datapath part and, in the place of a Stargate part, a vdisk in memory. */
export function runTestShard(task: ShardTask): Promise<void> {
  const { engine: kind, nbdSocket, datapathUuid, vdisk } = task.settings as TestShardSettings;
  return runShard(task, kind, context => {
    const { engine, region } = context;
    const store = new MemoryStore();
    store.term = 1;
    store.add(vdisk.id, vdisk.sizeBytes, vdisk.shard);
    const random = (below: number): number => Math.floor(Math.random() * below);
    const serving = new MemoryServing({
      engine,
      store,
      shard: context.index,
      base: region.take(PAGES * 4_096),
      pages: PAGES,
      random,
      delayNs: 0,
    });
    const transport = new ShardTransport({ context, software: 'test' });
    transport.serve(serving, null);
    const listeners = context.index === 0 ? [engine.listen({ family: 'unix', path: nbdSocket })] : [];
    const targets = [{ kind: 'in-process' }] as const;
    const datapath = DatapathShard.start({ context, transport, datapathUuid, targets, serving, listeners, acceptingShard: 0 });
    return [datapath, { close: done => transport.close(done) }];
  });
}
