import type { Hop } from '../base/probe.js';
import type { CasOutcome, Group, Seen } from './core/replication/effects.js';
import type { ResyncProgress } from './runtime/group/resync-source.js';
import type { RotCounters } from './runtime/rot.js';
import type { ScrubProgress } from './runtime/scrubber.js';
import type { VdiskSpace } from './runtime/space-rules.js';
import type { VdiskAnswer, VdiskCommand } from './runtime/management.js';
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
  /** main → shard: StatusRequest; answered by StargateStatus */
  status: 'stargate.status',
  statusReply: 'stargate.status-reply',
  /** main → shard: CommandRequest; answered by CommandReply */
  command: 'stargate.command',
  commandReply: 'stargate.command-reply',
  /** shard → main: SizedVdisk. To be brought into the metadata. */
  sized: 'stargate.sized',
  /** shard → main: string. The node's store cannot be trusted any more (rule 6): the process has to end. */
  fatal: 'stargate.fatal',
  /** shard → main: BadBlock */
  badBlock: 'stargate.bad-block',
  /** shard → main: GroupCasRequest; answered by groupCasDone */
  groupCas: 'stargate.group-cas',
  groupCasDone: 'stargate.group-cas-done',
  /** shard → main: GroupReadRequest; answered by groupRead */
  readGroup: 'stargate.read-group',
  groupRead: 'stargate.group-read',
  /** main → shard: GroupHint. The record has changed. */
  groupHint: 'stargate.group-hint',
  /** main → shard: VdiskSpace[]. Of its vdisks, also of those that are still to come */
  space: 'stargate.space',
  /** main → shard: { request }; answered by UsageReply */
  usage: 'stargate.usage',
  usageReply: 'stargate.usage-reply',
  /** shard → main: { vdiskId }. A controller wants this node to hold a replica; answered by create, perhaps. */
  replicaWanted: 'stargate.replica-wanted',
  /** main → shard: number. How fast its extents are read and checked, bytes a second; 0: not at all */
  scrub: 'stargate.scrub',
  /** main → shard: null. The process is about to stop: hand over what others can take; answered by left */
  leave: 'stargate.leave',
  left: 'stargate.left',
  /** main → shard: Candidate[]. Nodes that say in the metadata that they live */
  living: 'stargate.living',
  /** main → shard: string[]. Nodes that are to control nothing: this one too, perhaps */
  draining: 'stargate.draining',
  /** main → shard: Removals */
  removals: 'stargate.removals',
  /** main → shard: PeerNode[] */
  nodes: 'stargate.nodes',
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

export interface CommandRequest {
  readonly request: number;
  readonly vdiskId: string;
  readonly command: VdiskCommand;
}

export interface CommandReply {
  readonly request: number;
  readonly answer: VdiskAnswer;
}

export interface GroupCasRequest {
  readonly vdiskId: string;
  readonly expectedEpoch: number;
  readonly group: Group;
}

export interface GroupCasDone {
  readonly vdiskId: string;
  readonly nonce: string;
  readonly outcome: CasOutcome;
}

export interface GroupReadRequest {
  readonly vdiskId: string;
  readonly readId: number;
}

export interface GroupRead extends GroupReadRequest {
  readonly group: Group;
  /** Where members are starts of their nodes. */
  readonly seen: Seen | undefined;
}

export interface GroupHint {
  readonly vdiskId: string;
  readonly controllerNode: string;
  readonly term: number;
  readonly memberNodes: readonly string[];
}

export interface BadBlock {
  readonly vdiskId: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** 0: damaged; else how reads of it end. */
  readonly errno: number;
}

/** Of a vdisk that is controlled here: what its data takes at the most, and what was ever counted for its quota by then. */
export interface VdiskUsage {
  readonly vdiskId: string;
  readonly usedBytes: number;
  readonly takenBytes: number;
}

export interface UsageReply {
  readonly request: number;
  readonly vdisks: readonly VdiskUsage[];
}

export interface VdiskStatus {
  readonly vdiskId: string;
  readonly allocatedBytes: number;
  /** Of its data, what is in the log and not in the extents yet, at the most. */
  readonly logBytes: number;
  readonly lastSeq: number;
  readonly drainedSeq: number;
  readonly sessions: number;
}

/** One replica of a vdisk that several nodes hold. */
export interface ReplicaStatus {
  readonly vdiskId: string;
  /** How far its office is: idle, reading, proposing, promising, equalizing, serving. */
  readonly office: string;
  readonly term: number;
  /** Node that controls the vdisk, as far as this one knows. */
  readonly controllerNode: string;
  /** Of its controller: a replica that is being brought up from the extents. */
  readonly resync: ResyncProgress | null;
  /** Of its controller: the members of the record. */
  readonly members: readonly string[];
  readonly historyId: number;
  readonly lastSeq: number;
  readonly lastTerm: number;
  /** No resync has ended early: nothing of it is further than the rest. */
  readonly isWhole: boolean;
  /** The end of its log may be missing. */
  readonly isTorn: boolean;
  readonly appliedSeq: number;
  readonly drainedSeq: number;
  readonly allocatedBytes: number;
  readonly logBytes: number;
  readonly sessions: number;
}

export interface StatusRequest {
  readonly request: number;
  /** What the vdisks are is to be told of this one alone. */
  readonly vdiskId?: string;
}

export interface StargateStatus {
  readonly request: number;
  readonly vdisks: readonly VdiskStatus[];
  readonly replicas: readonly ReplicaStatus[];
  readonly problems: readonly VdiskProblem[];
  /** Layers of deleted vdisks whose files or states are not gone yet. */
  readonly removing: number;
  /** Data in their files. */
  readonly removingBytes: number;
  readonly oplog: readonly { readonly stream: number; readonly usedBytes: number; readonly capacityBytes: number }[];
  readonly rot: RotCounters;
  /** Null: it is off. */
  readonly scrub: ScrubProgress | null;
  readonly cache: { readonly pages: number; readonly usedPages: number; readonly hits: number; readonly misses: number };
}

/** Those that a Stargate has. */
export const STARGATE_HOPS = ['controller', 'read-miss', 'oplog', 'drain'] as const satisfies readonly Hop[];

export type { VdiskDescription, VdiskProblem, VdiskSpace };
