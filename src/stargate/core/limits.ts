import assert from 'node:assert/strict';
import { SESSION_WINDOW } from '../../wire/limits.js';
import { MAX_IO_BYTES } from '../../wire/path.js';
import { BLOCK_BYTES } from './ports.js';

/** Blocks of one WRITE entry: its payload is the log's longest. */
export const MAX_ENTRY_BLOCKS = 256;
/** Log entries of one vdisk between append and commit. */
export const MAX_IN_FLIGHT_ENTRIES = 4096;
/** Reads of one vdisk that have to go to the log or the extents, at a time; more wait in order. */
export const MAX_MISS_READS = 512;
/** How often a block whose checksum differs is looked up and read anew: a drain or a trim may have overtaken the read. */
export const MAX_REREADS = 4;
/** Numbers above a session's low-water mark that are told apart. A session keeps fewer requests outstanding. */
export const DEDUPE_WINDOW = SESSION_WINDOW;
/** Sessions of one vdisk: shards of a datapath, and some that have ended without saying so. */
export const MAX_SESSIONS = 256;
/** Changes of one vdisk that wait for the log, for earlier ones, or for a block to merge with; and reads that wait for others: what all windows hold. */
export const MAX_WAITING_REQUESTS = MAX_SESSIONS * DEDUPE_WINDOW;
/** Opens and closes of one vdisk's sessions that wait for another one to be committed. */
export const MAX_WAITING_SESSION_CHANGES = 1_024;
/** Changes of one session of which only some parts are in the log. A datapath that replays in order leaves one at a time. */
export const MAX_PARTIAL_REQUESTS = 16;
/** Datapaths whose sessions were ended within one generation: remembered, so that they do not come back. */
export const MAX_ENDED_DATAPATHS = 64;
/** Blocks of ranges that one MAP request looks at (256 MiB); what lies behind is for the next request. */
export const MAX_MAP_BLOCKS = 65_536;
/** Zeroed ranges of at most so many blocks are kept block by block; longer ones as ranges. */
export const SMALL_ZERO_BLOCKS = 16;

assert.equal(MAX_ENTRY_BLOCKS * BLOCK_BYTES, MAX_IO_BYTES);
assert(DEDUPE_WINDOW % 8 === 0, 'a HEAD has a bit for each number of the window');
