import type { DrainLimits } from '../core/drainable.js';

/** Rounds of drains under way at once on one stream. */
export const MAX_ROUNDS = 2;
/** Blocks of one run: what a transfer buffer of the middle class holds. */
export const MAX_RUN_BLOCKS = 16;
/**
 * How much is drained at a time. A round gives room back after a part of the log, wherever the rest is. Calm: a few runs at once, so that those whom the shard serves meanwhile
 * hardly notice. Hurried: a disk gives little to a few, and a log that random writes fill would be full before its round ends. A part costs the shard a turn of some 0.15 ms for a
 * thousand blocks, and the disk and the store thread a sync and a commit: smaller parts cost others more (measured by `npm run bench:drains`: 256 blocks twice the p99 of reads).
 */
export const DRAIN_LIMITS: DrainLimits = {
  roundsPerLog: 4,
  hurryFill: 0.5,
  calm: { lanes: 3, runBlocks: MAX_RUN_BLOCKS, blocks: 2048 },
  hurried: { lanes: 8, runBlocks: MAX_RUN_BLOCKS, blocks: 1024 },
};
/** From this share of the log on, rounds are started for space. */
export const DRAIN_FILL = 0.35;
/** A vdisk with changes is drained at the latest so long after its last round. */
export const DRAIN_AGE_NS = 5e9;
/** How often the scheduler looks when nothing calls it. */
export const DRAIN_TICK_NS = 250e6;
/** Wait after a round that could not be ended (no space). */
export const DRAIN_RETRY_NS = 1e9;
/** How long a node that stops waits for others to take over what it controls. */
export const LEAVE_NS = 0.8e9;
/** How long a clean stop drains before it leaves the rest in the log. */
export const STOP_DRAIN_NS = 1.0e9;
/** Transfer buffers of a shard's Stargate part: of 4 KiB, 64 KiB, 1 MiB. */
export const TRANSFER_BUFFERS = [256, 64, 24] as const;
/** Blocks that the scrubber reads at once: what a transfer buffer of the middle class holds. */
export const SCRUB_RUN_BLOCKS = 16;
/** Blocks whose states it looks up at once, and such look-ups in one turn: in a sparse segment there is little to read. */
export const SCRUB_BLOCKS = 64;
export const SCRUB_LOOKUPS = 64;
/** From a start, and from the end of a pass, to the next one. */
export const SCRUB_REST_NS = 60e9;
/** Wait before another attempt to remove a layer that found no space, or a file that cannot be deleted. */
export const REMOVE_RETRY_NS = 1e9;
/** How often whoever waits for the last use of a vdisk looks whether it has ended. */
export const QUIET_POLL_NS = 5e6;
