import { readFileSync } from 'node:fs';
import type { Logger } from '../base/log.js';
import { Counters, type CountersOptions } from '../control/watch/counters.js';
import { Exposition } from '../control/watch/exposition.js';
import { MetricsServer, type MetricsListening } from '../control/watch/metrics-server.js';
import type { ShardPool } from '../shard/pool.js';
import { VERSION } from './version.js';

/** Who watches this process finds here what it counts: the management API, and Prometheus where it is told to. */
export class Watch {
  readonly counters: Counters;
  readonly exposition: Exposition;
  #server: MetricsServer | null = null;

  constructor(
    pool: ShardPool,
    parts: Pick<CountersOptions, 'storage' | 'datapath'>,
    private readonly log: Logger,
  ) {
    const shards = { count: pool.count, cpuNs: (shard: number) => cpuNsOf(pool.threadId(shard)) };
    this.counters = new Counters({ version: VERSION, shards, ...parts });
    this.exposition = new Exposition(this.counters);
  }

  /** Also again, somewhere else; null: nowhere. */
  async listen(listening: MetricsListening | null): Promise<void> {
    if (sameListening(listening, this.#server?.listening ?? null)) return;
    const before = this.#server;
    this.#server = null;
    await before?.close();
    if (listening !== null) this.#server = await MetricsServer.listen(listening, this.exposition, this.log);
  }

  close(): Promise<void> {
    return this.listen(null);
  }
}

const sameListening = (a: MetricsListening | null, b: MetricsListening | null): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Time on a processor, by the scheduler's books: exact, where /proc/…/stat counts ticks. */
function cpuNsOf(threadId: number | null): number | null {
  if (threadId === null) return null;
  try {
    return Number(readFileSync(`/proc/self/task/${threadId}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    return null;
  }
}
