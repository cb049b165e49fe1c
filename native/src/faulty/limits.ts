/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;
/** Unit in which the simulated file system gives out space. */
export const BLOCK_BYTES = 4096;
/** Most states of one unsynced sector that a crash chooses from. */
export const MAX_SECTOR_VERSIONS = 4;
/** Turns that one call of `until`, `runUntil` or `runUntilIdle` may take before it is taken for a loop without end. */
export const MAX_TURNS_PER_CALL = 5_000_000;
/** Turns after which `run` lets Node's loop go round. */
export const TURNS_PER_LOOP = 256;
/** Most completions told in one turn. */
export const MAX_COMPLETIONS_PER_TURN = 8;
