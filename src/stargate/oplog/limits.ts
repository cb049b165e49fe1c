import assert from 'node:assert/strict';

/** The device page: batches, payloads and segment headers start at multiples of it. */
export const PAGE_BYTES = 4096;
/** Size of a segment file unless the options say otherwise. */
export const DEFAULT_SEGMENT_BYTES = 64 << 20;
export const MIN_SEGMENT_BYTES = 64 << 10;
export const MAX_SEGMENT_BYTES = 1 << 30;
/** Fewest segments of a stream: one in use, one that data may not take, two to turn over. */
export const MIN_SEGMENTS = 4;
export const MAX_SEGMENTS = 65_536;
/** Segments that data must leave free (a start makes them at once, all others are made in the background), so that a full log still has room for the HEADs which free it. */
export const RESERVED_SEGMENTS = 1;
/**
 * Of the last segment, the share that each must leave. Records of sessions (opens, closes, confirms): datapaths that come again and again while nothing can be drained
 * would take the room without which no head frees the log, and no promise lets another controller in. Trims and zeroes, so that sessions are opened also behind many of them.
 * Heads and promises: a replica that has been brought up needs a reset, and may be the one that holds all of the log.
 */
export const RESERVE_SHARES = { session: 1 / 2, freeing: 3 / 4, vital: 1 / 8 } as const;
/** Free segments that are kept ready ahead of the log, as far as the capacity allows. */
export const READY_SEGMENTS = 3;

/** Longest payload of one entry, data or control record. */
export const MAX_ENTRY_PAYLOAD_BYTES = 1 << 20;
/** Payload of one batch: the longest entry fits an empty one. */
export const MAX_BATCH_PAYLOAD_BYTES = 1 << 20;
/** Pages of entry headers behind the payload, for entries that do not fit the batch's first page. */
export const MAX_TRAILER_PAGES = 8;
/** Batch buffers of a stream: two in flight, one open, the others take up what arrives meanwhile. */
export const BATCH_BUFFERS = 6;
/** Batches in flight at once. */
export const MAX_IN_FLIGHT = 2;
/** A second batch goes out beside one in flight only when it has at least this many entries … */
export const SECOND_BATCH_ENTRIES = 6;
/** … or this much payload: splitting a small load costs more than it gains. */
export const SECOND_BATCH_PAYLOAD_BYTES = 128 << 10;

/** After this long without a batch, the durable position is written down by itself. */
export const IDLE_MARKER_DELAY_NS = 50_000_000;
/** Wait before another attempt to make a segment after the file system refused (no space). */
export const PREPARE_RETRY_DELAY_NS = 1_000_000_000;
/** Bytes written at once when a segment is filled with zeroes. */
export const PREPARE_CHUNK_BYTES = 1 << 20;
/** Reads of payloads under way in one stream. */
export const MAX_PAYLOAD_READS = 65_536;
/** Vdisks whose entries one stream holds. */
export const MAX_STREAM_VDISKS = 65_536;
/** Damaged ranges listed one by one in a report; more are counted. */
export const MAX_REPORTED_ROT = 1_000;

assert(MAX_ENTRY_PAYLOAD_BYTES <= MAX_BATCH_PAYLOAD_BYTES);
assert(BATCH_BUFFERS > MAX_IN_FLIGHT + 1);
assert(MIN_SEGMENTS > 2 * RESERVED_SEGMENTS + 1);
