import assert from 'node:assert/strict';
import { BLOCKS_PER_SEGMENT, RECORD_BLOCKS } from '../core/ports.js';

/** Blocks whose states one record holds. */
export const CHUNK_BLOCKS = RECORD_BLOCKS;
export const CHUNKS_PER_SEGMENT = BLOCKS_PER_SEGMENT / CHUNK_BLOCKS;
assert.equal(CHUNKS_PER_SEGMENT, 4096);

/** Sequence numbers take 48 bits on disk. */
export const MAX_SEQ = 2 ** 48 - 1;
/** Segments of a layer: 8 PiB of 1 GiB each. */
export const MAX_SEGMENTS = 1 << 23;
/** Layer numbers are uint32 on disk; int32 as keys of the cache. */
export const MAX_LAYER = 2 ** 31 - 1;
/** Bytes of a vdisk's id in UTF-8. */
export const MAX_VDISK_ID_BYTES = 256;

/** Decoded chunk records that each shard keeps by default: 16 Ki of 64 blocks, 4 GiB of address space, 14 MB. */
export const CHUNK_CACHE_SLOTS = 16_384;
/** Records that one transaction deletes on behalf of forgotten layers, so that drains do not wait for it. */
export const FORGET_RECORDS_PER_COMMIT = 4_096;
/** Runs of one drain commit. */
export const MAX_DRAIN_RUNS = BLOCKS_PER_SEGMENT;
/** Commands of all shards that one transaction carries out. */
export const MAX_COMMANDS_PER_COMMIT = 256;
/** Commands of one shard that wait for their answer. */
export const MAX_PENDING_COMMANDS = 4_096;
/** Address space reserved for the database; the file grows only as records do. About 900 bytes for 256 KiB of data: 75 TiB. */
export const MAP_BYTES = 2 ** 38;
/** Pages of the database that are checked at once: some ms of the main thread where they have to come from the disk. */
export const CHECK_PAGES = 64;
/** A start reads all of a database that is not larger: of 18 GiB of data, and some tenths of a second. Of a larger one what it needs itself. */
export const START_CHECK_BYTES = 64 << 20;
/** How often they are read again before what is wrong counts as damage. */
export const CHECK_REREADS = 3;
/** From the start to the first pass, and between passes. */
export const CHECK_START_MS = 1_000;
export const CHECK_REST_MS = 60_000;
/** Damaged pages and records that are told; more of them are no news. */
export const MAX_CHECK_TOLD = 1_000;
/** How long the store thread has to end. */
export const STORE_STOP_DEADLINE_MS = 5_000;
