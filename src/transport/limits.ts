import { HEADER_BYTES, MAX_CONNECTION_REQUESTS, MAX_CONTROL_BYTES, MAX_REPLICA_BYTES, PEER_SILENCE_MS } from '../wire/limits.js';
import { MAX_IO_BYTES } from '../wire/path.js';

/** Connections of one shard, both directions together. */
export const MAX_CONNECTIONS = 1_024;

/** Memory that a connection receives into. */
export const CHUNK_BYTES = 64 << 10;
/** Most bytes of one receive: so client and server work side by side. */
export const RECV_BYTES = 32 << 10;
/** Payload up to this length stays where it was received; a longer one is received straight into a buffer of its own. */
export const INLINE_BYTES = 16 << 10;
/** Headers, control frames and extents of one send. */
export const SEND_AREA_BYTES = 32 << 10;
/** Control frames that wait to be sent on one connection. More: the peer asks without reading the answers; it is dropped. */
export const MAX_CONTROL_FRAMES = 64;

/** The largest buffer: the data of one request, or what one message between Stargates carries. */
export const LARGE_BYTES = MAX_IO_BYTES + (32 << 10);
/** Buffers of a shard's transports by class (4 KiB, 64 KiB, 256 KiB, LARGE_BYTES), and connections' send areas. */
export const DEFAULT_MEMORY = { sendAreas: 128, small: 1_024, chunks: 256, medium: 32, large: 16 } as const;

/** From the start of a connection to SESSION_OPENED. Opening includes a log entry of the controller. */
export const OPEN_TIMEOUT_MS = 5_000;
/** A SESSION_CLOSE is told to a Stargate for so long, then given up: the next exclusive attachment ends the session anyway. */
export const CLOSE_TIMEOUT_MS = 2_000;

/** What waits to be sent to one shard of another Stargate. */
export const MAX_PEER_QUEUE_CHUNKS = 128;
/** Between two attempts to reach another Stargate. */
export const PEER_RETRY_MIN_MS = 20;
export const PEER_RETRY_MAX_MS = 250;
/** From the start of a connection to PEER_OPENED. */
export const PEER_OPEN_TIMEOUT_MS = PEER_SILENCE_MS;
/** A connection that broke is made again without being asked for as long as it was used so recently. */
export const PEER_WANTED_MS = 5_000;
/** Attempts to one shard of another Stargate that the system has not given up yet. */
export const MAX_PEER_ATTEMPTS = 4;

/** Sessions of other shards that one shard serves. */
export const MAX_MAILBOX_SESSIONS = 65_536;

if (INLINE_BYTES < MAX_CONTROL_BYTES) throw new Error('limits: a control frame has to fit where it was received');
if (HEADER_BYTES + INLINE_BYTES > CHUNK_BYTES / 2) throw new Error('limits: a frame that is not received straight has to fit half a chunk');
if (SEND_AREA_BYTES < HEADER_BYTES * MAX_CONNECTION_REQUESTS || SEND_AREA_BYTES < HEADER_BYTES + MAX_CONTROL_BYTES) {
  throw new Error('limits: the headers of all outstanding requests, or a control frame, have to fit one send');
}
if (MAX_REPLICA_BYTES > LARGE_BYTES) throw new Error('limits: what a message between Stargates carries has to fit a buffer');
if (CHUNK_BYTES * MAX_PEER_QUEUE_CHUNKS < 4 * MAX_REPLICA_BYTES)
  throw new Error('limits: the largest messages have to fit the queue of a peer');
if (CHUNK_BYTES > MAX_IO_BYTES) throw new Error('limits: classes of buffers ascend');
