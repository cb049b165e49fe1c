/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;
/** Unit in which the simulated file system gives out space. */
export const BLOCK_BYTES = 4096;
/** Most states of one unsynced block that a power cut chooses from. */
export const MAX_BLOCK_VERSIONS = 4;
/** Events that one call of `until`, `runUntil` or `runUntilIdle` may take before it is taken for a loop without end. */
export const MAX_EVENTS_PER_CALL = 20_000_000;
/** Events after which `run` lets Node's loop go round. */
export const EVENTS_PER_LOOP = 256;
/** Most completions told in one turn. */
export const MAX_COMPLETIONS_PER_TURN = 8;

/** Time that an operation takes, unless the disk's options say otherwise. */
export const MIN_LATENCY_NS = 2_000;
export const MAX_LATENCY_NS = 200_000;
/** Between a completion and the turn that tells it. */
export const MAX_TURN_DELAY_NS = 20_000;
/** Of so many transfers one is done in two steps: until its end, readers and a power cut find a part of it. */
export const ONE_IN_TWO_STEPS = 5;
/** Virtual time begins here: no time that is computed backwards from it is negative. */
export const START_NS = 1e9;
/** Size of a disk without a limit, as `space` reports it. */
export const UNLIMITED_BYTES = 2 ** 50;
