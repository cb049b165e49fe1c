import { MAX_IO_BYTES, MAX_MAP_EXTENTS } from './path.js';

/** Bytes of every frame's header. */
export const HEADER_BYTES = 64;
/** Payload of a control frame (hello, session, heartbeat, error). */
export const MAX_CONTROL_BYTES = 16 * 1024;
/** Characters of a node's id. */
export const MAX_NODE_ID_LENGTH = 255;
/** Payload of a metadata frame: a range over 10,000 vdisks fits. */
export const MAX_META_BYTES = 8 << 20;
/** Characters of a key or prefix of the metadata store. */
export const MAX_META_KEY_LENGTH = 1_024;
/** Compares, and operations, of one metadata transaction: what etcd takes unless it is told otherwise (--max-txn-ops). */
export const MAX_META_TRANSACTION = 128;
/** One value of the metadata store, encoded. */
export const MAX_META_VALUE_BYTES = 256 * 1024;
/** Keys and encoded values of one metadata transaction. etcd takes requests up to 1.5 MiB. */
export const MAX_META_TRANSACTION_BYTES = 1 << 20;
/** Requests of a metadata client that wait for an answer or a connection. */
export const MAX_META_REQUESTS = 1_024;
/** Watches of one metadata connection. */
export const MAX_META_WATCHES = 256;
/** Changed keys that one hint of a watch names; of more it names none. */
export const MAX_META_HINT_KEYS = 64;

/** Bytes of one extent in the payload of a MAP reply: length and flags. */
export const MAP_EXTENT_BYTES = 16;
/** Length of a TRIM, ZERO, PREFETCH or MAP: what NBD's 32 bits can name. */
export const MAX_RANGE_BYTES = 0xffff_ffff;
/** Last byte a request may name: offsets are exact numbers. */
export const MAX_OFFSET_BYTES = Number.MAX_SAFE_INTEGER;

/** I/O requests that one connection may have outstanding. The server grants them in SESSION_OPENED; a client that exceeds them is not read until some are answered. */
export const MAX_CONNECTION_REQUESTS = 256;
/** Payload of writes, and data of reads, that one connection may have outstanding. */
export const MAX_CONNECTION_BYTES = 8 << 20;

/** Between two heartbeats of a client. */
export const HEARTBEAT_INTERVAL_MS = 250;
/** A connection from which nothing has come for so long is suspect: the client drops it and opens another one. */
export const SUSPECT_AFTER_MS = 1_000;
/** A server drops a connection that has not opened its session, or not sent anything, for so long. */
export const IDLE_CONNECTION_MS = 10_000;

/**
 * clientSeqs of one session between the lowest unsettled one and the next: the size of the table in which a controller recognises
 * what it has seen before (rule 15). A session does not send beyond it.
 */
export const SESSION_WINDOW = 4_096;

/** Header of a log entry: opaque to the transports. */
export const ENTRY_HEADER_BYTES = 128;
/** Entries of one message between members. */
export const MAX_APPEND_ENTRIES = 16;
/** Their payloads together. */
export const MAX_APPEND_PAYLOAD_BYTES = MAX_IO_BYTES;
/** Before each entry's header in a frame: the length of its payload. */
export const ENTRY_LENGTH_BYTES = 8;
/** Payload of a frame between members. */
export const MAX_REPLICA_BYTES =
  MAX_APPEND_PAYLOAD_BYTES + MAX_APPEND_ENTRIES * (ENTRY_LENGTH_BYTES + ENTRY_HEADER_BYTES) + MAX_CONTROL_BYTES;
/** Controllers in a row that have written into one log since its last HEAD: of more, the newest are told. */
export const MAX_TERM_RUNS = 512;
export const UUID_BYTES = 16;
/** Vdisks that have a number on one connection between Stargates. */
export const MAX_PEER_VDISKS = 65_536;
/** Heartbeats between Stargates. */
export const PEER_HEARTBEAT_MS = 200;
/** A Stargate from which nothing has come for so long has lost the connection: as long as a member may be silent (rule 9). */
export const PEER_SILENCE_MS = 700;

if (MAX_MAP_EXTENTS * MAP_EXTENT_BYTES > MAX_CONTROL_BYTES) throw new Error('limits: a MAP reply has to fit a control frame');
if (MAX_CONNECTION_BYTES < 2 * MAX_IO_BYTES) throw new Error('limits: two of the largest requests have to fit one connection');
if (SESSION_WINDOW < 2 * MAX_CONNECTION_REQUESTS) throw new Error('limits: the window has to be wider than what is outstanding');
if (2 * MAX_META_TRANSACTION_BYTES > MAX_META_BYTES) throw new Error('limits: a metadata transaction has to fit a frame');
if (3 * PEER_HEARTBEAT_MS > PEER_SILENCE_MS) throw new Error('limits: two lost heartbeats must not cost a connection');
