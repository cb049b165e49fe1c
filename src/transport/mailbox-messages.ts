import type { OpenedSession, SessionEnd, SessionRefusal, SessionRequest } from '../wire/serving.js';

/** Structured messages between shards about paths: rare, may allocate. `path` is the requester's number of the path, never used twice. */
export const Topic = {
  /** OpenMessage; answered by opened or refused */
  open: 'path.open',
  opened: 'path.opened',
  refused: 'path.refused',
  ended: 'path.ended',
  /** CloseSessionMessage; answered by sessionClosed */
  closeSession: 'path.close-session',
  sessionClosed: 'path.session-closed',
  /** A connection of the Stargate's socket moves to the shard it is for. */
  moved: 'wire.moved',
  /** MovedMeta, to the main thread: a connection that wants the metadata store. */
  meta: 'wire.meta',
  /** DialRequest to the main thread, DialReply back: a connection over TLS. */
  dial: 'tls.dial',
  dialed: 'tls.dialed',
  /** AcceptedConnection, from the main thread: over TLS. */
  accepted: 'tls.accepted',
  /** From the main thread: readonly PeerNode[], all nodes there are. */
} as const;

export interface OpenMessage {
  readonly path: number;
  readonly session: SessionRequest;
}
export interface OpenedMessage {
  readonly path: number;
  readonly session: OpenedSession;
}
export interface RefusedMessage {
  readonly path: number;
  readonly reason: SessionRefusal;
  readonly message: string;
  readonly node?: string | undefined;
}
export interface EndedMessage {
  readonly path: number;
  readonly reason: SessionEnd;
  readonly node?: string | undefined;
}
export interface CloseSessionMessage {
  readonly path: number;
  readonly session: SessionRequest;
}
export interface SessionClosedMessage {
  readonly path: number;
}

/**
 * Layout of the mailbox messages, by cell (0 is the kind):
 *
 * ```
 * ioSubmit      1 path  2 tag  3 op, + SUBMIT_FUA with FUA  4 offsetBytes  5 lengthBytes  6 clientSeq  7 lowWater  8 ranges  9… payload ranges
 * ioReply       1 path  2 tag  3 status  4 term  5 values  6… data ranges (READ) or extents (MAP)
 * ioRelease     1 path  2 tag                 the data of an answered READ is not used any more
 * closeSession  1 path                        the path is given up; answered by sessionClosed, behind which nothing follows
 * ```
 */
export const SUBMIT_FIRST_RANGE = 9;
export const SUBMIT_FUA = 256;
export const REPLY_FIRST_VALUE = 6;
