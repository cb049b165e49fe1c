import type { HandedOver } from 'nbd-server-ts';
import type { Hop } from '../base/probe.js';

/** Between the datapath's main thread and its shards: structured messages, rare. */
export const DatapathTopic = {
  /** main → shard: ExportDescription; answered by added */
  add: 'datapath.add',
  /** shard → main: ExportKey */
  added: 'datapath.added',
  /** main → shard: ExportKey; answered by removed when the last connection has gone and the session is closed */
  remove: 'datapath.remove',
  removed: 'datapath.removed',
  /** main → shard: ExportResize */
  resize: 'datapath.resize',
  /** shard → main: ExportResize. Its connections measure by it. */
  resized: 'datapath.resized',
  /** main → shard: ExportKey: the attachment holds the vdisk from now on; answered by activated when the sessions there are open so */
  activate: 'datapath.activate',
  activated: 'datapath.activated',
  /** main → shard: KnownNode[] */
  nodes: 'datapath.nodes',
  /** main → shard: KnownGroup, of an attached vdisk */
  group: 'datapath.group',
  /** main → shard: StatusRequest; answered by ShardStatus */
  status: 'datapath.status',
  statusReply: 'datapath.status-reply',
  /** shard → main: SessionProbesOpened */
  probes: 'datapath.probes',
  /** shard → main: Accusation */
  accused: 'datapath.accused',
  /** main → shard: HandOverRequest; answered by ShardHandedOver */
  handOver: 'datapath.hand-over',
  handedOver: 'datapath.handed-over',
  /** main → shard: ShardTaken: go on with what this or another process has handed over */
  takeOver: 'datapath.take-over',
  /** shard → accepting shard: a connection is there that nobody has placed there (ExportKey) */
  connectionTaken: 'datapath.connection-taken',
  /** shard → accepting shard: a connection that was placed there has gone (ExportKey) */
  connectionGone: 'datapath.connection-gone',
  /** shard → main: TlsHandover of nbd-server-ts */
  secure: 'datapath.secure',
  /** accepting shard → shard: MovedConnection of nbd-server-ts */
  connectionMoved: 'datapath.connection-moved',
} as const;

/** One attachment of one vdisk. */
export interface ExportKey {
  readonly vdiskId: string;
  readonly generation: number;
}

export interface ExportDescription extends ExportKey {
  readonly name: string;
  readonly sizeBytes: number;
  /** Not activated yet (rule 18). */
  readonly shared: boolean;
  /** Of {@link createTermFloor}. */
  readonly floor: SharedArrayBuffer;
}

export interface ExportResize extends ExportKey {
  readonly sizeBytes: number;
}

/** Two controllers have died while they had these requests, one after the other: it was one of them. The vdisk is held in all shards. */
export interface Accusation extends ExportKey {
  readonly requests: readonly { readonly op: string; readonly offsetBytes: number; readonly lengthBytes: number }[];
  /** Where they were, and their terms. */
  readonly nodes: readonly string[];
  readonly terms: readonly number[];
}

export interface HandOverRequest {
  readonly deadlineMs: number;
}

/** Where the requests of a session go on. */
export interface SessionPosition extends ExportKey {
  readonly nextSeq: number;
}

/** All of a shard that another process goes on with; null, and the shard serves on: `problem` says why. */
export interface ShardHandedOver {
  readonly handed: HandedOver | null;
  readonly problem: string;
  readonly sessions: readonly SessionPosition[];
}

export interface ShardTaken {
  readonly handed: HandedOver;
  /** Empty where the shard takes its own back. */
  readonly sessions: readonly SessionPosition[];
}

export interface StatusRequest {
  readonly request: number;
}

export interface SessionStatus extends ExportKey {
  readonly name: string;
  readonly state: 'disconnected' | 'opening' | 'open' | 'closed';
  readonly path: 'same-shard' | 'other-shard' | 'unix' | 'tcp' | null;
  /** Where the path leads, or led last; null: nowhere yet. */
  readonly node: string | null;
  /** Of the controller there. */
  readonly term: number;
  /** Since when the state is what it is. */
  readonly since: string;
  /** Longest time without an answer while requests were outstanding, since the path was last lost: that outage included. */
  readonly lastGapMs: number;
  readonly connections: number;
  readonly unanswered: number;
  /** Payload of the writes among them, which is kept to be sent again. */
  readonly heldBytes: number;
  readonly opened: number;
  readonly lost: number;
  readonly replayed: number;
  readonly staleEvents: number;
  readonly belowFloor: number;
  readonly givenUp: number;
  /** Why there is no path, in words; empty while there is one. */
  readonly problem: string;
}

export interface ShardStatus {
  readonly request: number;
  readonly sessions: readonly SessionStatus[];
}

/** The memory of SessionProbes, of the shard that sends it. */
export interface SessionProbesOpened extends ExportKey {
  readonly memory: SharedArrayBuffer;
}

export const DATAPATH_HOPS = ['nbd-receive', 'session', 'path', 'reply'] as const satisfies readonly Hop[];
