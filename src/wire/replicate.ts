/**
 * What the members of a vdisk's group tell each other (replication.md's rules 1 to 12). Which member speaks is known from the connection,
 * which vdisk is meant from the frame. `term`: in which the sender speaks, for `fenced` and `needSeal` what the member has promised. Entries travel beside
 * `append` and `entries`, as bytes. Any message may be lost; on one connection they stay in order.
 */

/**
 * `node/storeUuid/incarnation`: who holds a replica of a log. Never a node alone: a store that was emptied is another member. Of a vdisk with `durability: flush`, whose
 * members acknowledge what is in memory, each start of the node is another one (rule 27): `#` and the number of the start follow.
 */
export type MemberId = string & { readonly __brand: 'MemberId' };

/** The entries of one creation term, which follow each other: up to `lastSeq`. */
export interface TermRun {
  readonly creationTerm: number;
  readonly lastSeq: number;
}

/** Promise me this term. `nonce`: that of the record with which the term was won. `attempt` is told back. */
export interface SealMessage {
  readonly kind: 'seal';
  readonly term: number;
  /** Of the vdisk: whose log is of another one does not answer. A term belongs to one history, so what follows the promise needs not to name it. */
  readonly history: number;
  readonly nonce: string;
  readonly attempt: number;
}

/** The promise is durable, and so is all of my log. `committedHeard`: the highest committed seq that I ever heard of. */
export interface SealReplyMessage {
  readonly kind: 'sealReply';
  readonly term: number;
  readonly attempt: number;
  readonly tailSeq: number;
  readonly tailHash: number;
  readonly tailTerm: number;
  readonly runs: readonly TermRun[];
  readonly committedHeard: number;
}

/** Entries that follow each other, beside it. None: an inquiry how far the member is. */
export interface AppendMessage {
  readonly kind: 'append';
  readonly term: number;
  readonly committed: number;
  /** Checksum of the header of that entry: whose log has another one there knows that nothing is said of its own. */
  readonly committedHash: number;
}

/** All up to `durableSeq` is durable here. The tail may be longer, on its way to the disk. */
export interface AppendAckMessage {
  readonly kind: 'appendAck';
  readonly term: number;
  readonly durableSeq: number;
  readonly durableHash: number;
  readonly tailSeq: number;
  readonly tailHash: number;
  /** False: what was sent does not follow the tail. */
  readonly fits: boolean;
}

/** Your log ends with (tailSeq, tailHash): cut it after (afterSeq, afterHash). */
export interface CutMessage {
  readonly kind: 'cut';
  readonly term: number;
  readonly tailSeq: number;
  readonly tailHash: number;
  readonly afterSeq: number;
  readonly afterHash: number;
}

/** All up to there is committed. */
export interface WatermarkMessage {
  readonly kind: 'watermark';
  readonly term: number;
  readonly committed: number;
  readonly committedHash: number;
}

/** Your term is over: I have promised `term`. */
export interface FencedMessage {
  readonly kind: 'fenced';
  readonly term: number;
}

/** I have not promised your term yet. */
export interface NeedSealMessage {
  readonly kind: 'needSeal';
  readonly term: number;
}

/** A controller whose tail was torn asks a sealed member for what it may have lost. */
export interface FetchMessage {
  readonly kind: 'fetch';
  readonly term: number;
  readonly fromSeq: number;
}

/** Answer to `fetch`: entries from there on, beside it. */
export interface EntriesMessage {
  readonly kind: 'entries';
  readonly term: number;
}

/** Take over in my place. `committed`: what I know to be committed. */
export interface StandInMessage {
  readonly kind: 'standIn';
  readonly term: number;
  /** My node is about to stop: leave me out of the members. */
  readonly isLeaving: boolean;
  readonly committed: number;
  readonly committedHash: number;
}

/** My node is about to stop: take me out of the members. */
export interface LeaveMessage {
  readonly kind: 'leave';
  readonly term: number;
}

/** Answer to `leave`: you are no member. Or, not `isOut`: you stay one, since too few would be left. */
export interface LeaveReplyMessage {
  readonly kind: 'leaveReply';
  readonly term: number;
  readonly isOut: boolean;
}

/** I have no place in the group: may what of my log is not committed go, or the whole copy? And, `isGranted`, the answer. */
export interface LetGoMessage {
  readonly kind: 'letGo';
  readonly term: number;
  readonly attempt: number;
  readonly what: 'tail' | 'copy';
  readonly isGranted: boolean;
}

/** Rule 18: is this still your term? */
export interface ConfirmMessage {
  readonly kind: 'confirm';
  readonly term: number;
  readonly round: number;
}

/** It was, when this was sent. */
export interface ConfirmedMessage {
  readonly kind: 'confirmed';
  readonly term: number;
  readonly round: number;
}

/** What brings a replica up that is too far behind for the log (rule 23); `data` is the two runtimes' own, at most a control record long. Blocks travel beside it, like entries. */
export interface ResyncMessage {
  readonly kind: 'resync';
  readonly term: number;
  readonly data: Uint8Array;
}

/** Asks for blocks that are damaged where they are wanted, and answers (rule 24); `data` as in `resync`. Found blocks travel beside it, like entries. */
export interface CopiesMessage {
  readonly kind: 'copies';
  readonly term: number;
  readonly data: Uint8Array;
}

/** Between members that are starts of their nodes: which one speaks, and which one is meant. */
export interface Boots {
  readonly from: number;
  readonly to: number;
}

export type ReplicaMessage = { readonly boots?: Boots } & ReplicaMessageBody;

type ReplicaMessageBody =
  | SealMessage
  | SealReplyMessage
  | AppendMessage
  | AppendAckMessage
  | CutMessage
  | WatermarkMessage
  | FencedMessage
  | NeedSealMessage
  | FetchMessage
  | EntriesMessage
  | StandInMessage
  | ConfirmMessage
  | ConfirmedMessage
  | LeaveMessage
  | LeaveReplyMessage
  | LetGoMessage
  | ResyncMessage
  | CopiesMessage;

export function memberId(node: string, storeUuid: string, incarnation: number): MemberId {
  return `${node}/${storeUuid}/${incarnation}` as MemberId;
}

/** What this start of the node is. */
export function bootedMember(member: MemberId, boot: number): MemberId {
  return `${member}#${boot}` as MemberId;
}

/** Who it is over all its starts. */
export function baseOfMember(member: MemberId): MemberId {
  return member.split('#', 1)[0]! as MemberId;
}

/** 0: of no certain start. */
export function bootOfMember(member: MemberId): number {
  return Number(member.split('#')[1] ?? 0);
}

/** The node of a member: names of nodes have no "/". */
export function nodeOfMember(member: MemberId): string {
  return member.split('/', 1)[0]!;
}
