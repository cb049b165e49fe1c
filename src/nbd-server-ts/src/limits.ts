import assert from 'node:assert/strict';

// ---- the protocol's own (proto.md, "Values"; "Size constraints")
/** Longest string of the protocol: export names, descriptions, context names. */
export const MAX_STRING_BYTES = 4_096;
/** Largest READ and payload of a WRITE; what is announced as the maximum block size at most. */
export const MAX_PAYLOAD_BYTES = 32 << 20;

// ---- the server's
/** READ and WRITE are cut into pieces of at most this before the export sees them. */
export const MAX_PIECE_BYTES = 1 << 20;
/** Option data up to this is looked at; above, it is drained and refused with ERR_TOO_BIG. */
export const MAX_OPTION_BYTES = 64 << 10;
/** Option data above this is not even drained: the connection is closed. */
export const MAX_DRAINED_OPTION_BYTES = 32 << 20;
/** A WRITE above MAX_PAYLOAD_BYTES is drained and refused up to this; above, the connection is closed. */
export const MAX_DRAINED_PAYLOAD_BYTES = 64 << 20;
/** Options of one connection, all kinds together. */
export const MAX_OPTIONS = 1_000;
/** Queries in one LIST_META_CONTEXT or SET_META_CONTEXT. */
export const MAX_META_QUERIES = 256;
/** Information requests in one INFO or GO. */
export const MAX_INFO_REQUESTS = 256;
/** Bytes of one LIST answer; more exports than fit are refused with ERR_TOO_BIG. */
export const MAX_LIST_BYTES = 4 << 20;
/** Extents in one answer to BLOCK_STATUS. */
export const MAX_EXTENTS = 1_000;
/** Metadata contexts of one export, base:allocation included. */
export const MAX_CONTEXTS = 16;
/** TRIM, WRITE_ZEROES and CACHE are cut into pieces of at most this (a multiple of every minimum block) before the export sees them; a BLOCK_STATUS is answered for at most this. */
export const MAX_EFFECT_BYTES = 2 ** 32 - 65_536;
/** Pieces of one such command at the export at once. */
export const MAX_EFFECT_PIECES = 4;

/** Most bytes of one recv: small enough that the client fills the next while this one is worked off. */
export const RECV_BYTES = 32 << 10;
/** Most bytes a request's payload may have to be received in the staging buffers. */
export const MAX_STAGED_PAYLOAD_BYTES = 64 << 10;
/** One staging buffer: what is received lies there until the export has taken the payloads in it. */
export const STAGING_BYTES = 256 << 10;
/** Staging buffers that one connection may hold beside its own. */
export const MAX_EXTRA_STAGING = 4;
/** Answers of a turn up to this do not wait for the end of their send: they fit in a socket's buffer, mostly. */
export const LAZY_SEND_BYTES = 256 << 10;
/** One of the two areas of a connection for reply headers: one is being filled while the other is being sent. */
export const REPLY_AREA_BYTES = 16 << 10;
/** Memory that belongs to one connection for its life: staging buffer and reply areas. With it alone it can go on, whatever the others do. */
export const CONNECTION_BYTES = STAGING_BYTES + 2 * REPLY_AREA_BYTES;
/** Requests of one connection that are being worked on or whose answer has not been sent. */
export const MAX_REQUESTS_PER_CONNECTION = 512;
/** READ bytes of one connection between submission and the end of the send. */
export const MAX_READ_BYTES_PER_CONNECTION = 8 << 20;
/** Large buffers that one connection may hold. */
export const MAX_LARGE_BUFFERS_PER_CONNECTION = 8;
/** Ranges of the lists of small requests (to SMALL_REQUEST_BYTES) and of all others: one for each 4 KiB page touched, and two. */
export const SMALL_REQUEST_BYTES = 64 << 10;
export const SMALL_REQUEST_RANGES = 20;
export const LARGE_REQUEST_RANGES = 260;

export interface ServerLimits {
  /** More wait in the listener's backlog. */
  readonly maxConnections: number;
  /** From accept to the transmission phase. */
  readonly handshakeTimeoutMs: number;
  /** A connection in the transmission phase on which for so long nothing came or went, and that did not wait for its export, is ended. 0: never. */
  readonly idleTimeoutMs: number;
  /** Buffers of 256 KiB that connections with many small writes share. */
  readonly extraStagingBuffers: number;
  /** Buffers of 1 MiB that connections with large writes share. Without one, a large write goes through the connection's own memory in small pieces. */
  readonly largeBuffers: number;
  /** READ bytes of all connections between submission and the end of the send; one with none under way may always submit one piece. */
  readonly maxReadBytes: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  maxConnections: 128,
  handshakeTimeoutMs: 10_000,
  idleTimeoutMs: 0,
  extraStagingBuffers: 32,
  largeBuffers: 24,
  maxReadBytes: 64 << 20,
};

/** Arena bytes that a server with these limits takes from its region. */
export function serverRegionBytes(limits: ServerLimits): number {
  return limits.maxConnections * CONNECTION_BYTES + limits.extraStagingBuffers * STAGING_BYTES + limits.largeBuffers * MAX_PIECE_BYTES;
}

export const MAX_CONNECTIONS = 65_536;

export function checkLimits(limits: ServerLimits): void {
  assert(Number.isInteger(limits.maxConnections) && limits.maxConnections >= 1 && limits.maxConnections <= MAX_CONNECTIONS);
  assert(limits.handshakeTimeoutMs >= 1 && limits.idleTimeoutMs >= 0 && limits.extraStagingBuffers >= 0 && limits.largeBuffers >= 0);
  assert(limits.maxReadBytes >= MAX_PIECE_BYTES);
}

// Relations that the code relies on.
assert(STAGING_BYTES >= 2 * (MAX_STAGED_PAYLOAD_BYTES + RECV_BYTES), 'a staged payload and one recv fit after what is left over was moved');
assert(MAX_OPTION_BYTES + RECV_BYTES <= STAGING_BYTES, 'an option fits in the staging buffer');
assert(REPLY_AREA_BYTES >= 40 + 16 * MAX_EXTENTS, 'an answer to BLOCK_STATUS fits in a reply area');
assert(MAX_STAGED_PAYLOAD_BYTES <= SMALL_REQUEST_BYTES && SMALL_REQUEST_RANGES >= SMALL_REQUEST_BYTES / 4096 + 2);
assert(LARGE_REQUEST_RANGES >= MAX_PIECE_BYTES / 4096 + 2);
