import type { ProbeSummary, Hop } from '../base/probe.js';
import type { VdiskDescription, VdiskProblem } from './runtime/vdisks.js';

/** Between the main thread and a shard's Stargate part: structured messages, rare. */
export const StargateTopic = {
  /** shard → main: VdiskProblem[]. The logs have been read; answered by serve. */
  recovered: 'stargate.recovered',
  /** main → shard: ServeRequest */
  serve: 'stargate.serve',
  /** shard → main: RecoveryProgress, while the log is read */
  progress: 'stargate.progress',
  /** shard → main: ServingReport, when every vdisk is served or refused */
  serving: 'stargate.serving',
  /** main → shard: VdiskDescription; answered by created */
  create: 'stargate.create',
  created: 'stargate.created',
  /** main → shard: { vdiskId }; answered by deleted */
  remove: 'stargate.remove',
  removed: 'stargate.removed',
  /** main → shard: { request }; answered by StargateStatus */
  status: 'stargate.status',
  statusReply: 'stargate.status-reply',
  /** shard → main: string. The node's store cannot be trusted any more (rule 6): the process has to end. */
  fatal: 'stargate.fatal',
  /** shard → main: BadBlock */
  badBlock: 'stargate.bad-block',
} as const;

export interface RecoveryProgress {
  readonly stream: number;
  readonly readBytes: number;
  readonly totalBytes: number;
}

export interface ServingReport {
  readonly problems: readonly VdiskProblem[];
  readonly streams: readonly {
    readonly stream: number;
    readonly clean: boolean;
    readonly entries: number;
    readonly bytes: number;
    readonly tornBytes: number;
  }[];
}

export interface ServeRequest {
  /** Of all shards, in the terms that were won for them. */
  readonly vdisks: readonly VdiskDescription[];
  readonly refused: readonly VdiskProblem[];
}

export interface CreatedReply {
  readonly vdiskId: string;
  /** Empty: served. */
  readonly problem: string;
}

export interface BadBlock {
  readonly vdiskId: string;
  readonly offsetBytes: number;
  /** 0: damaged; else how reads of it end. */
  readonly errno: number;
}

export interface VdiskStatus {
  readonly vdiskId: string;
  readonly allocatedBytes: number;
  readonly lastSeq: number;
  readonly drainedSeq: number;
  readonly sessions: number;
}

export interface StargateStatus {
  readonly request: number;
  readonly vdisks: readonly VdiskStatus[];
  readonly problems: readonly VdiskProblem[];
  readonly oplog: readonly { readonly stream: number; readonly usedBytes: number; readonly capacityBytes: number }[];
  readonly cache: { readonly pages: number; readonly usedPages: number; readonly hits: number; readonly misses: number };
  readonly hops: Readonly<Record<Hop, ProbeSummary>>;
}

export type { VdiskDescription, VdiskProblem };
