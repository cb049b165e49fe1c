import type { Gather } from 'uring-engine';
import type { IoStatus } from './status.js';

/**
 * The interface between a datapath session and the controller of its vdisk, whichever way lies between:
 * a function call in the same shard, the mailbox to another shard, a Unix socket, TCP. No promises; the
 * requests are pooled by the session and owned by the path from `submit` to the reply.
 */
export interface StargatePath {
  readonly kind: 'same-shard' | 'other-shard' | 'unix' | 'tcp';
  /** Starts one request; the answer comes to `request.owner.onReply(request)`, during this call at the earliest. Order of submission is order of arrival. */
  submit(request: PathRequest): void;
  /** The reader is done with `request.data` (READ answered with status ok). Called exactly once per such answer. */
  release(request: PathRequest): void;
  /** Where another process serves the vdisk: asks it to hand the vdisk over to the node. A wish; what comes of it ends the session with a hint. */
  handover?(toNode: string): void;
  /** What holds up the controller's oldest request of this path: the controller says it, heartbeats carry it. Absent means unknown. */
  blockedBy?(): Blocker;
  /** Over a connection: age in µs of the oldest request at the controller, as the last heartbeat told it. */
  oldestAgeUs?(): number;
  /** Gives up the path: nothing more is replied. Outstanding requests have an unknown outcome. */
  close(): void;
}

/** itself: its own disk, which a takeover can get around. member: one that it removes by itself. */
export const Blocker = { unknown: 0, itself: 1, member: 2, space: 3 } as const;
export type Blocker = (typeof Blocker)[keyof typeof Blocker];

export const IoOp = { read: 0, write: 1, flush: 3, trim: 4, prefetch: 5, zero: 6, map: 7 } as const;
export type IoOp = (typeof IoOp)[keyof typeof IoOp];

/** One I/O between a datapath session and a controller. Allocated once, reused for ever. */
export interface PathRequest {
  op: IoOp;
  offsetBytes: number;
  lengthBytes: number;
  /** Number of this request in its session, from 1, never reused (replication rule 14). Reads and maps have one too. */
  clientSeq: number;
  /** Every request of the session with a number below this one is settled: answered, or given up for ever. */
  lowWater: number;
  /** Of a change: it is answered when it is on stable storage, whatever the durability of its vdisk. */
  fua: boolean;
  /** WRITE: arena ranges with the payload; `payloadTaken` is set by a path that has copied it and needs it no more. */
  readonly payload: Gather;
  // ---- the answer
  status: IoStatus;
  /** Term of the controller that answered (rule 17). */
  term: number;
  /** READ: arena ranges with the data until `release`. */
  readonly data: Gather;
  /** MAP: pairs of (lengthBytes, flags) from `offsetBytes`; flags as NBD's base:allocation. At most MAX_MAP_EXTENTS. */
  readonly extents: Float64Array;
  extentCount: number;
  /** For the path's own use between submit and release (an index, a pin list). */
  pathTag: number;
  /** For the controller's own use: when it came there, by its shard's clock. */
  submittedNs: number;
  readonly owner: PathRequestOwner;
}

export interface PathRequestOwner {
  onReply(request: PathRequest): void;
}

export const MAX_MAP_EXTENTS = 128;
/** Largest read or write that crosses a path in one request. */
export const MAX_IO_BYTES = 1 << 20;
