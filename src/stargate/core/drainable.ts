import type { BlockIndex } from './block-index.js';
import type { ControllerHost, ControllerPorts } from './controller.js';
import type { DrainBounds } from './drain-planner.js';
import type { LayerId } from './ports.js';
import type { RoundEnd } from './round-ends.js';

/** How a part of one segment is drained: its bounds, and how many of its runs are read or written at once. */
export interface DrainPace extends DrainBounds {
  readonly lanes: number;
}

/** How much is drained at a time. */
export interface DrainLimits {
  /** A round takes such a part of the log's capacity. */
  readonly roundsPerLog: number;
  /** From this share of the log on it is drained hurriedly. */
  readonly hurryFill: number;
  readonly calm: DrainPace;
  readonly hurried: DrainPace;
}

/** A vdisk whose committed changes go from the log to the extents: served here, or held for another node's controller. */
export interface Drainable {
  readonly ports: ControllerPorts;
  readonly state: { readonly vdiskId: string; readonly layer: LayerId };
  readonly index: BlockIndex;
  /** Number of the vdisk in the shard's cache; -1: nothing of it is there. */
  readonly cacheOwner: number;
  readonly host: Pick<ControllerHost, 'onBadBlock' | 'copies'>;
  /** What the index has. */
  readonly committedSeq: number;
  /** Up to here everything is committed, and on stable storage here: no more than that goes to the extents. */
  readonly drainableSeq: number;
  /** There is more in the log than the last round has drained. */
  readonly isDirty: boolean;
  /** Nothing but its last HEAD holds the oldest part of the log that it needs: another HEAD lets go of that. */
  readonly isHeldByHead: boolean;
  /** Everything up to here is in the extents. */
  readonly drainedSeq: number;
  /** Up to where a round goes that begins now; it waits until that is drainable. `toEnd`: to the end of the log, be it ever so far. */
  beginRound(toEnd: boolean): RoundEnd;
  /** Puts the HEAD into the log that says so; `done` when it is durable, and the log before is needed no more. False: not now. */
  endRound(end: RoundEnd, done: () => void): boolean;
  /** The disk is full: what waits for room in the log is told so. */
  onOutOfSpace(): void;
}
