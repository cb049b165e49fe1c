import type { Entry, EntryBody, EntryMaker, LogBase, MemberId } from './entry.js';
import type { Message } from './messages.js';

/** The record of a group, as the metadata store has it: who serves a vdisk and who holds its log. `term` is the epoch of the last change of controller. */
export interface Group {
  readonly epoch: number;
  readonly term: number;
  readonly controller: MemberId;
  readonly members: readonly MemberId[];
  readonly nonce: string;
  /** Which history of the vdisk it is about: a replica of another one has no part in it (rule 11). */
  readonly historyId: number;
  /** Term of the last takeover from a log that may lack what its members held in memory alone (rule 27): until the log says that the sessions are to hear of it. */
  readonly lossTerm?: number | undefined;
}

/** What the metadata store shows beside a record, where members are starts of their nodes. */
export interface Seen {
  /** As what each node has registered last: that an earlier start of it has ended is certain. */
  readonly current: readonly MemberId[];
  /** Nodes that say they live: a hint. */
  readonly living: readonly string[];
}

/** What a member has promised, durably and before it acts on it. */
export interface TermPromise {
  readonly term: number;
  readonly controller: MemberId;
  /** Empty: it was lost with a part of the log, and what the record said at the start stands for it (rule 5). */
  readonly nonce: string;
}

/** What goes into the physical log, in this order: a cut is a record like an entry, and nothing behind it counts without it. */
export type LogRecord =
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'promise'; readonly promise: TermPromise }
  | { readonly kind: 'cut'; readonly afterSeq: number };

/** What comes of a log after a crash: see `recovery.ts`. */
export interface RecoveredLog {
  /** Where the entries begin. */
  readonly base: LogBase;
  readonly entries: readonly Entry[];
  /** Up to here the log is known to be the committed one. */
  readonly committedSeq: number;
  readonly promise: TermPromise | null;
  readonly committedHeard: number;
  /** Something at the end was damaged and is cut (rule 5). */
  readonly isTorn: boolean;
  /** The start before this one may have acknowledged what is not here (rule 27). */
  readonly mayHaveForgotten?: boolean;
}

export type CasOutcome =
  | { readonly kind: 'applied' }
  /** The epoch was another one; `group` is what is there now. */
  | { readonly kind: 'refused'; readonly group: Group }
  /** No answer: it may have been applied, or be applied later. */
  | { readonly kind: 'unknown' };

/** Node that is removed from the cluster → so many copies others have to have before its own goes; the replication factor is enough in any case. */
export type Removals = ReadonlyMap<string, number>;

export type ReplicaEvent =
  | { readonly kind: 'message'; readonly message: Message }
  /** All records up to this ticket are durable. */
  | { readonly kind: 'durable'; readonly ticket: number }
  | { readonly kind: 'ioFailed' }
  | { readonly kind: 'casResult'; readonly nonce: string; readonly outcome: CasOutcome }
  | { readonly kind: 'group'; readonly readId: number; readonly group: Group; readonly seen?: Seen | undefined }
  | { readonly kind: 'tick'; readonly nowMs: number }
  /** Somebody waits for this vdisk and its controller is silent: the one at `insteadOf`. If the record names another by now, that one has been faster. */
  | { readonly kind: 'takeOver'; readonly insteadOf?: string }
  /** Another member is to be the controller (rule 12), one that follows this one's log: it is asked to take over. */
  | { readonly kind: 'handOver'; readonly to: MemberId }
  /** The node is about to stop: its replica hands over what it controls, and leaves the group. */
  | { readonly kind: 'leave' }
  /** The record has no place for this replica, as far as is known: the controller is asked whether its tail may go, which holds the node's log, or all of it. */
  | { readonly kind: 'surplus'; readonly controller: MemberId; readonly what: 'tail' | 'copy' }
  /** Nodes that are to control nothing where another one can. */
  | { readonly kind: 'drained'; readonly nodes: readonly string[] }
  /** Nodes that are removed from the cluster: others take the place of their members. */
  | { readonly kind: 'removals'; readonly removals: Removals }
  | { readonly kind: 'addMember'; readonly member: MemberId }
  /** The metadata store has a record of this term: a controller of a lower one has been followed, perhaps by a process that has died since. */
  | { readonly kind: 'recordSeen'; readonly term: number }
  /** Whatever it was there: its process may have begun anew as another member, with an empty disk, before this is heard. */
  | { readonly kind: 'nodeClosed'; readonly node: string }
  /** Members whose nodes the metadata store shows alive: a hint. */
  | { readonly kind: 'alive'; readonly members: readonly MemberId[] }
  /** What of the log is not known to be committed is given up: another replica's extents take its place. */
  | { readonly kind: 'cutTail' }
  /** The vdisk has another history now, which perhaps begins with this replica: whatever it was about in this one is over. */
  | { readonly kind: 'endHistory' }
  | { readonly kind: 'write'; readonly body: EntryBody }
  /** Somebody wants to know that this is the controller still (rule 18): another round, which stands for those before it. */
  | { readonly kind: 'confirm' };

export type Effect =
  | { readonly kind: 'send'; readonly to: MemberId; readonly message: Message }
  | { readonly kind: 'persist'; readonly ticket: number; readonly record: LogRecord; readonly committedHeard: number }
  | { readonly kind: 'cas'; readonly expectedEpoch: number; readonly group: Group }
  | { readonly kind: 'readGroup'; readonly readId: number }
  /** The write has its place in the log; `seq` 0: it was refused, nothing of it is there. */
  | { readonly kind: 'admitted'; readonly seq: number; readonly body: EntryBody }
  | { readonly kind: 'committed'; readonly seq: number }
  /** With `durability: flush`: everyone whose ack a commit needs has it in memory, up to there. */
  | { readonly kind: 'held'; readonly seq: number }
  | { readonly kind: 'serving'; readonly term: number }
  /** Everyone whose ack a commit needs has said so, after the last round was asked for. */
  | { readonly kind: 'confirmed'; readonly term: number }
  /** `follower`: who controls the vdisk now, most likely; null: nobody has been asked to. */
  | { readonly kind: 'resigned'; readonly term: number; readonly reason: string; readonly follower: MemberId | null }
  /** The learner's log ends before this one begins: it needs what is in the extents. */
  | { readonly kind: 'resync'; readonly member: MemberId }
  /** Nobody needs this replica: all that the node has of it is to be removed. It hears nothing any more. */
  | { readonly kind: 'discard' }
  | { readonly kind: 'alarm'; readonly code: AlarmCode; readonly text: string };

export type AlarmCode = 'equal-term' | 'record-below-promise' | 'disk-failed' | 'amnesia' | 'divergence';

/** Planted bugs, for tests alone: those of the design's list that are in this core. */
export interface ReplicationMutations {
  readonly ackBeforeAllMembers?: boolean;
  readonly noSeal?: boolean;
  readonly tailBeforePromise?: boolean;
  readonly noUnion?: boolean;
  readonly assumeRemoved?: boolean;
  readonly controllerIsMe?: boolean;
  readonly sameTermAfterRestart?: boolean;
  readonly resendBySeqOnly?: boolean;
  readonly cutNotDurable?: boolean;
  /** What a member has beyond the end of a controller's log, which may have lost it, is cut. */
  readonly cutSurplus?: boolean;
  /** A replica that asks whether its tail may go still takes, and acknowledges, what comes. */
  readonly hearsWhileAsking?: boolean;
  /** A copy without a place in its group goes on the word of a record that may be old. */
  readonly goesUnasked?: boolean;
  /** A replica of another history takes part as if it were of this one. */
  readonly anyHistory?: boolean;
  /** With `durability: flush`: what the controller alone holds counts as held by all. */
  readonly heldByOne?: boolean;
  /** What all hold in memory counts as durable. */
  readonly heldIsDurable?: boolean;
  /** A takeover from a log that may lack something does not say so. */
  readonly lossUnmarked?: boolean;
  /** Who has lost its memory takes over at once, whoever still has the rest. */
  readonly takesOverCold?: boolean;
}

export interface ReplicaConfig {
  readonly self: MemberId;
  /** Of the vdisk, that this log is of. */
  readonly historyId: number;
  /** How many replicas the vdisk is to have. */
  readonly replicationFactor: number;
  /** With fewer members writes wait. */
  readonly minMembers: number;
  /** flush: a change is answered when all members hold it in memory (rule 27). `always`, where it is missing. */
  readonly durability?: 'always' | 'flush';
  readonly makeEntry: EntryMaker;
  /** A string that no proposal has had. */
  readonly newNonce: () => string;
  readonly mutations: ReplicationMutations;
}

/** What the machines of one replica share: who it is, what time it is, and where effects go. */
export interface ReplicaContext extends ReplicaConfig {
  nowMs: number;
  drained: ReadonlySet<string>;
  removals: Removals;
  historyId: number;
  readonly out: Effect[];
}
