import type { Entry, MemberId, TermRun } from './entry.js';

/**
 * What the members of one vdisk's group tell each other: plain data. `term` is the term in which the sender speaks, for `fenced` and `needSeal` what the
 * member has promised; the terms in which entries were made are in the entries. Any message may be lost, late, doubled or out of order.
 */
interface Common {
  readonly from: MemberId;
  readonly term: number;
}

/** Promise me this term (rule 3). `nonce`: that of the record with which the term was won. `attempt` is told back. */
export interface Seal extends Common {
  readonly kind: 'seal';
  readonly history: number;
  readonly nonce: string;
  readonly attempt: number;
}

/** The promise is durable, and so is all of my log. `committedHeard`: the highest committed seq that I ever heard of. */
export interface SealReply extends Common {
  readonly kind: 'sealReply';
  readonly attempt: number;
  readonly tailSeq: number;
  readonly tailHash: number;
  readonly tailTerm: number;
  readonly runs: readonly TermRun[];
  readonly committedHeard: number;
}

/** Entries that follow each other. None: an inquiry how far the member is. */
export interface Append extends Common {
  readonly kind: 'append';
  readonly entries: readonly Entry[];
  readonly committed: number;
  readonly committedHash: number;
}

/** All up to `durableSeq` is durable here: the log whose entry there has this hash. The tail may be longer, on its way to the disk. */
export interface AppendAck extends Common {
  readonly kind: 'appendAck';
  readonly durableSeq: number;
  readonly durableHash: number;
  readonly tailSeq: number;
  readonly tailHash: number;
  /** False: what was sent does not follow the tail. */
  readonly fits: boolean;
}

/** Your log ends with (tailSeq, tailHash): cut it after (afterSeq, afterHash). Of a log that ends elsewhere nothing is cut: the message is late. */
export interface Cut extends Common {
  readonly kind: 'cut';
  readonly tailSeq: number;
  readonly tailHash: number;
  readonly afterSeq: number;
  readonly afterHash: number;
}

/** All up to there is committed: the log whose entry there has this hash. Comes now and then without news, as a sign of life. */
export interface Watermark extends Common {
  readonly kind: 'watermark';
  readonly committed: number;
  readonly committedHash: number;
}

/** Your term is over: I have promised `term`. */
export interface Fenced extends Common {
  readonly kind: 'fenced';
}

/** I have not promised your term yet. */
export interface NeedSeal extends Common {
  readonly kind: 'needSeal';
}

/** A controller whose tail was torn asks a sealed member for what it may have lost. */
export interface Fetch extends Common {
  readonly kind: 'fetch';
  readonly fromSeq: number;
}

export interface Entries extends Common {
  readonly kind: 'entries';
  readonly entries: readonly Entry[];
}

/** Take over in my place. `committed` and its hash: what I have committed, or know to be. */
export interface StandIn extends Common {
  readonly kind: 'standIn';
  /** My node is about to stop: leave me out of the members. */
  readonly isLeaving: boolean;
  readonly committed: number;
  readonly committedHash: number;
}

/** Is this still your term? (rule 18) Rounds are numbered within a term. */
export interface Confirm extends Common {
  readonly kind: 'confirm';
  readonly round: number;
}

/** It was, when this was sent. */
export interface Confirmed extends Common {
  readonly kind: 'confirmed';
  readonly round: number;
}

/** My node is about to stop: take me out of the members. I acknowledge what comes until you answer. */
export interface Leave extends Common {
  readonly kind: 'leave';
}

export interface LeaveReply extends Common {
  readonly kind: 'leaveReply';
  /** You are no member. False: you stay one, since too few would be left. */
  readonly isOut: boolean;
}

/**
 * I have no place in the group, and my tail is of no use, or all of my copy: may it go? From now on I hear nothing until you grant it, or I give up asking. `isGranted`: the
 * answer; there is no other one. `attempt` and `what` are told back.
 */
export interface LetGo extends Common {
  readonly kind: 'letGo';
  readonly attempt: number;
  readonly what: 'tail' | 'copy';
  readonly isGranted: boolean;
}

export type Message =
  | Seal
  | SealReply
  | Append
  | AppendAck
  | Cut
  | Watermark
  | Fenced
  | NeedSeal
  | Fetch
  | Entries
  | StandIn
  | Leave
  | LeaveReply
  | LetGo
  | Confirm
  | Confirmed;
