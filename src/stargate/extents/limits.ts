import assert from 'node:assert/strict';
import { MAX_SLOTS, MAX_TAG } from 'uring-engine';

/** Segment files that one shard keeps open. */
export const MAX_OPEN_EXTENT_FILES = 512;
/** Reads, writes, punches and syncs of one shard under way or waiting for a file to be opened. */
export const MAX_EXTENT_OPERATIONS = 65_536;
/** Time between two files that the removal of a layer deletes: a deletion holds up the shard for as long as the file system takes. */
export const REMOVE_INTERVAL_NS = 1_000_000;
/** Layer numbers in a file's key. */
export const MAX_EXTENT_LAYER = 2 ** 30;

assert(MAX_OPEN_EXTENT_FILES < MAX_SLOTS / 2, 'sockets need slots too');
assert(MAX_EXTENT_OPERATIONS < MAX_TAG, 'an operation is told by its tag');
