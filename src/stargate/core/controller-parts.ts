import type { Arena } from 'uring-engine';
import type { Probes } from '../../base/probe.js';
import type { BlockIndex } from './block-index.js';
import type { Controller } from './controller.js';
import type { DrainLimits } from './drainable.js';
import type { BlockStorePort, BufferPort, CachePort, CopyPort, ExtentPort, LayerId, OplogPort } from './ports.js';
import type { Blocker } from '../../wire/path.js';
import type { RoundEnds } from './round-ends.js';
import type { SessionTable } from './sessions.js';
import type { SpaceRule } from './space-rule.js';

/** The mechanisms of a shard that its controllers share. */
export interface ControllerPorts {
  readonly arena: Arena;
  readonly log: OplogPort;
  readonly extents: ExtentPort;
  readonly store: BlockStorePort;
  readonly cache: CachePort;
  readonly buffers: BufferPort;
  /** A block of zeroes in the arena, never written. */
  readonly zeroBlock: number;
  /** A place in the arena of MAX_CONTROL_BYTES for control records on their way to the log. */
  readonly controlScratch: number;
  readonly drains: DrainLimits;
  readonly probes: Probes;
  /** Time of the shard's turn. */
  readonly clock: { readonly nowNs: number };
}

export const MAX_CONTROL_BYTES = 1 << 20;

/**
 * When a change is answered: when it is on stable storage; or when it is in memory: what was not flushed then goes with the memory, and the next FLUSH of each
 * session fails once.
 */
export type Durability = 'always' | 'flush';

/** What a controller starts from: nothing, or what recovery has rebuilt. */
export interface VdiskState {
  readonly vdiskId: string;
  sizeBytes: number;
  readonly layer: LayerId;
  readonly term: number;
  readonly index: BlockIndex;
  readonly sessions: SessionTable;
  drainedSeq: number;
  drainedHash: number;
  /** Of what its log had at the start; missing: nothing. */
  readonly roundEnds?: RoundEnds;
  /** Other nodes hold the log too: whoever resumes a session is answered only when they have confirmed that this is still the controller (rule 17). */
  readonly isReplicated?: boolean;
  /** Rule 27; `always`, where it is missing. */
  readonly durability?: Durability;
  /** Missing: its changes wait when the log is full. */
  readonly rule?: SpaceRule;
}

/** What a controller tells whoever runs it. */
export interface ControllerHost {
  /** The log's disk failed (rule 6). */
  onLogFailed(errno: number): void;
  /** No good copy of these blocks is left, here or elsewhere: `errno` 0: they are damaged; else reads of them end so. */
  onBadBlock(vdiskId: string, offsetBytes: number, errno: number, lengthBytes: number): void;
  /** Who else has the blocks; absent: nobody. */
  readonly copies?: CopyPort;
  /** Something was committed: there is something to drain. */
  onCommitted(controller: Controller): void;
  /** The vdisk has another size: its RESIZE is committed. */
  onSized?(controller: Controller): void;
  /** The log has room again. */
  onLogRoom?(): void;
  /** Whether nothing that is going on will free a part of the log: the disk is full. */
  isOutOfSpace?(): boolean;
  /** What its oldest change waits for; absent: not known. */
  blockedBy?(): Blocker;
  /**
   * Rule 18: asks everyone whose ack a commit needs whether this is still its controller: soon, and `onConfirmBegun` says when; `onConfirmed` follows when all have said
   * so. One round at a time. Absent: there is nobody to ask.
   */
  confirm?(): void;
}

/** Planted bugs, for tests alone. */
export interface ControllerMutations {
  readonly indexBeforeDurable?: boolean;
  readonly noDedupe?: boolean;
  /** M13 */
  readonly sessionsMissingFromHead?: boolean;
  /** M14: a session that is being ended goes on until its end is committed. */
  readonly applyClosedSessions?: boolean;
  /** M19 */
  readonly sharedReadUnconfirmed?: boolean;
}
