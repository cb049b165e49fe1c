import type { OplogStream, RecoveryReport } from '../oplog/index.js';
import type { DrainScheduler } from './drain-scheduler.js';

/** A stream that this shard runs. */
export interface ShardStream {
  readonly number: number;
  readonly log: OplogStream;
  readonly report: RecoveryReport;
  readonly scheduler: DrainScheduler;
}
