import type { ProbeSnapshot } from '../base/probe.js';
import type { DatapathCounters } from './watch/counters.js';
import type { DatapathShardView, ExportView, SessionView } from './schemas.js';

/** The datapath that the management API tells of, as much of it as the API needs. The process that runs one provides it. */
export interface ManagedDatapath {
  readonly host: string;
  /** New at each start. */
  readonly uuid: string;
  readonly nbdSocket: string;
  readonly startedAt: string;
  status(): Promise<DatapathState>;
  /** What it has counted, by export. */
  counters(): Promise<DatapathCounters>;
  /** What its part of a shard has written down, without asking it. */
  hops(shard: number): Readonly<Record<string, ProbeSnapshot>>;
}

export interface DatapathState {
  readonly exports: readonly ExportView[];
  readonly sessions: readonly SessionView[];
  readonly shards: readonly DatapathShardView[];
  /** Shards that did not answer in time. */
  readonly silentShards: number;
}
