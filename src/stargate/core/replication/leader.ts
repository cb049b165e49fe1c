import assert from 'node:assert/strict';
import { nodeOfMember } from '../../../wire/replicate.js';
import { ConfirmRounds } from './confirm-rounds.js';
import type { ReplicaContext } from './effects.js';
import { commonSeq, type EntryBody, type MemberId, type TermRun } from './entry.js';
import type { GroupChange } from './group-change.js';
import {
  HEARTBEAT_MS,
  MAX_APPEND_ENTRIES,
  MAX_PEERS,
  MAX_SENT_ENTRIES,
  MAX_UNCOMMITTED_ENTRIES,
  RESEND_MS,
  SEAL_PATIENCE_MS,
} from './limits.js';
import type { Member } from './member.js';
import { Membership } from './membership.js';
import type { AppendAck, Entries, Message, SealReply, StandIn } from './messages.js';
import { Peer } from './peer.js';

/** Why the controller gives up, and who is to take over, if it knows. */
export interface LeaderEnd {
  readonly reason: string;
  readonly standIn: MemberId | null;
}

/**
 * The controller's side of one term: makes the other replicas' logs equal to its own (rule 3), then gives writes their place and counts who has
 * them (rule 2). Its log is that of the member on its own node.
 */
export class Leader {
  committedSeq: number;
  /** Everyone whose ack a commit needs holds the log up to here. Means something only with `durability: flush`. */
  heldSeq: number;
  isServing = false;
  end: LeaderEnd | null = null;
  /** Who was asked to take over: when this one's term ends, it has most likely come to that. */
  asked: MemberId | null = null;
  /** The record is of this term, which is not mine, and since when that is known. */
  #later: { readonly term: number; readonly sinceMs: number } | null = null;
  readonly #peers = new Map<MemberId, Peer>();
  readonly #membership: Membership;
  readonly #rounds: ConfirmRounds;
  /** A member whose tail was torn does not go on alone before it has compared with another one (rule 5). */
  #isCompared: boolean;
  /** Own runs, as of `#runsSeq`. */
  #runs: readonly TermRun[] = [];
  #runsSeq = -1;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
    readonly changes: GroupChange,
    readonly term: number,
    readonly nonce: string,
  ) {
    this.committedSeq = this.heldSeq = member.log.base.seq;
    // With `durability: flush` its equals may never come back, being starts of their nodes: what the record names has been compared, or is told to be lost (rule 27).
    this.#isCompared = !member.isTorn || changes.group.members.length === 1 || context.durability === 'flush';
    this.#membership = new Membership(context, changes, term, this.#peers);
    this.#rounds = new ConfirmRounds(context, changes, term, this.#peers);
    for (const id of changes.group.members) if (id !== context.self) this.#addPeer(id, false);
  }

  peer(id: MemberId): Peer | undefined {
    return this.#peers.get(id);
  }

  /** Members and learners. */
  get peerIds(): readonly MemberId[] {
    return [...this.#peers.keys()];
  }

  // ---------------------------------------------------------------- events

  step(message: Message): void {
    if (this.end !== null) return;
    if (message.kind === 'fenced') {
      if (message.term > this.term) this.#giveUp(`${message.from} has promised term ${message.term}`);
      return;
    }
    if (message.kind === 'letGo') return this.#membership.letGo(message, this.isServing);
    if (message.kind === 'leave') return this.#membership.leave(message.from, this.isServing);
    const peer = this.#peers.get(message.from);
    if (peer === undefined) return;
    peer.isClosed = false;
    if (message.kind === 'needSeal') {
      if (peer.state.kind !== 'sealing') this.#seal(peer);
      return;
    }
    if (message.term !== this.term) return;
    if (message.kind === 'sealReply') this.#sealed(peer, message);
    else if (message.kind === 'appendAck') this.#acked(peer, message);
    else if (message.kind === 'entries') this.#fetched(peer, message);
    else if (message.kind === 'confirmed') this.#rounds.answered(peer, message.round, this.member.log.lastSeq);
    else assert.fail(`${message.kind} is not for a controller`);
  }

  /** After whatever may have changed what is durable where. */
  advance(): void {
    if (this.end !== null) return;
    let seq = this.member.durableSeq;
    let held = this.member.log.lastSeq;
    let isEqual = this.#isCompared && seq === this.member.log.lastSeq;
    const { commitSet } = this.changes;
    const { mutations, durability } = this.context;
    for (let i = 0; i < commitSet.length; i++) {
      if (commitSet[i] === this.context.self) continue;
      const peer = this.#peers.get(commitSet[i]!);
      assert(peer !== undefined, `${commitSet[i]} is a member that nothing is sent to`);
      if (!mutations.ackBeforeAllMembers) seq = Math.min(seq, peer.confirmedSeq);
      if (mutations.heldByOne !== true) held = Math.min(held, peer.heldSeq);
      isEqual &&= peer.confirmedSeq >= this.member.log.lastSeq && peer.state.kind === 'attached';
    }
    const begins = !this.isServing;
    if (begins) {
      if (!isEqual || !this.changes.allows('serve')) return;
      this.isServing = true;
      this.context.out.push({ kind: 'serving', term: this.term });
    }
    if (mutations.heldIsDurable === true) seq = Math.min(held, this.member.durableSeq);
    if (durability === 'flush' && held > this.heldSeq && (begins || this.#hasEnoughMembers)) this.#hold(held);
    // What was there at the beginning may have been acknowledged before, and is readable however few the members are.
    if (seq > this.committedSeq && (begins || this.#hasEnoughMembers)) this.#commit(seq);
    this.#rounds.advance();
    this.#membership.admitLearners(this.committedSeq, this.heldSeq);
  }

  /** Rule 18: whether this is the controller still. */
  confirm(): void {
    this.#rounds.begin();
  }

  /** Asks a member to take over. This one serves on until it is sealed: what is in flight then has an unknown outcome, and comes again there. */
  handOver(to: MemberId, isLeaving: boolean): void {
    const peer = this.#peers.get(to);
    if (!this.isServing || peer?.canFollow !== true) return;
    this.asked = to;
    this.context.out.push({ kind: 'send', to, message: this.standInMessage(isLeaving) });
  }

  standInMessage(isLeaving: boolean): StandIn {
    return { kind: 'standIn', isLeaving, committed: this.committedSeq, committedHash: this.#committedHash, ...this.#speaker };
  }

  successor(not: MemberId | null = null): MemberId | null {
    return this.#membership.successor(not);
  }

  get mayWrite(): boolean {
    return this.isServing && this.#hasEnoughMembers && this.member.log.lastSeq - this.committedSeq < MAX_UNCOMMITTED_ENTRIES;
  }

  /** The oldest entry that somebody may still have to be sent comes behind this one. */
  get sentToAllSeq(): number {
    let seq = this.committedSeq;
    for (const peer of this.#peers.values()) if (peer.isPlaced) seq = Math.min(seq, peer.confirmedSeq);
    return seq;
  }

  write(body: EntryBody): void {
    const { log } = this.member;
    if (!this.mayWrite) return void this.context.out.push({ kind: 'admitted', seq: 0, body });
    const entry = this.context.makeEntry(log.lastSeq + 1, this.term, log.lastHash, body);
    this.member.appendOwn(this.term, entry);
    this.context.out.push({ kind: 'admitted', seq: entry.seq, body });
    for (const peer of this.#peers.values()) this.#send(peer);
  }

  tick(): void {
    if (this.end !== null) return;
    const { nowMs } = this.context;
    if (this.#yieldToLater()) return;
    this.#membership.forgiveSleep();
    for (const peer of this.#peers.values()) {
      if (peer.state.kind === 'attached' && peer.confirmedSeq === this.member.log.lastSeq) this.#sendWatermark(peer);
      else if (nowMs - peer.lastSentMs >= RESEND_MS) this.#sendAgain(peer);
    }
    this.#rounds.ask();
    if (this.#membership.isCutOff) this.#giveUp('it is I who am cut off');
    else if (this.changes.allows('propose')) this.#membership.removeSilent(this.#isCompared);
    if (this.isServing) this.#membership.releaseRemoved();
  }

  addLearner(id: MemberId): void {
    if (this.#peers.has(id) || id === this.context.self || this.#peers.size >= MAX_PEERS || !this.isServing) return;
    this.#addPeer(id, true);
  }

  /**
   * Somebody has won a later term. One that was asked seals this one as soon as its own tail is frozen; until then all members hold what is answered here, as before its
   * proposal was known.
   */
  recordSeen(term: number): void {
    if (term <= this.term) return;
    this.#later = { term, sinceMs: this.#later?.sinceMs ?? this.context.nowMs };
    this.#yieldToLater();
  }

  #yieldToLater(): boolean {
    if (this.#later === null) return false;
    const { term, sinceMs } = this.#later;
    if (this.asked !== null && this.context.nowMs - sinceMs < SEAL_PATIENCE_MS) return false;
    this.#giveUp(`the record is of term ${term}`);
    return true;
  }

  nodeClosed(node: string): void {
    for (const peer of this.#peers.values()) if (nodeOfMember(peer.id) === node) peer.isClosed = true;
  }

  alive(members: readonly MemberId[]): void {
    this.#membership.alive(members);
  }

  /** A proposal of this controller is known to be the record now. */
  groupChanged(): void {
    this.#membership.groupChanged();
  }

  /** Why somebody was to be taken out last. */
  get removalReason(): string {
    return this.#membership.removalReason;
  }

  // ---------------------------------------------------------------- rule 3: equal tails

  #addPeer(id: MemberId, isLearner: boolean): void {
    const peer = new Peer(this.context, id, isLearner);
    this.#peers.set(id, peer);
    if (!this.context.mutations.noSeal) return this.#seal(peer);
    peer.sentSeq = peer.confirmedSeq = peer.heldSeq = this.member.log.lastSeq;
    peer.go('isPrefix', { kind: 'attached' });
  }

  #seal(peer: Peer): void {
    peer.go('again', { kind: 'sealing', attempt: ++peer.attempts, ahead: null });
    peer.send({ kind: 'seal', history: this.context.historyId, nonce: this.nonce, attempt: peer.attempts, ...this.#speaker });
  }

  #sealed(peer: Peer, reply: SealReply): void {
    if (peer.state.kind !== 'sealing' || peer.state.attempt !== reply.attempt) return;
    const { log } = this.member;
    const common = commonSeq(this.#ownRuns(), reply.runs);
    if (!this.isServing && !this.#compare(peer, reply, common)) return;
    // Entries that it lacks are in the log no more: it needs the extents.
    if (common < log.base.seq) return this.#farBehind(peer);
    peer.sentSeq = common;
    this.#progress(peer, common);
    const { tailSeq, tailHash } = reply;
    if (common < tailSeq) {
      peer.go('hasMore', {
        kind: 'cutting',
        cut: { kind: 'cut', tailSeq, tailHash, afterSeq: common, afterHash: log.hashAt(common), ...this.#speaker },
      });
      this.#sendAgain(peer);
    } else {
      if (!log.holds(tailSeq, tailHash)) return this.#diverged(peer, tailSeq);
      peer.go('isPrefix', { kind: 'attached' });
      this.#send(peer);
    }
  }

  /** Whether this member's log may be made equal to mine. Not if it knows of more than I have. */
  #compare(peer: Peer, reply: SealReply, common: number): boolean {
    const { log } = this.member;
    const { committedHeard, tailSeq, tailTerm } = reply;
    if (committedHeard > log.lastSeq) {
      this.context.out.push({
        kind: 'alarm',
        code: 'amnesia',
        text: `${peer.id} heard of ${committedHeard} committed, mine are ${log.lastSeq}`,
      });
      this.#giveUp(`my log ends before what is committed`, peer.id);
      return false;
    }
    // What goes on from my end may have been acknowledged, and I may have lost it; or nobody was answered, and it may take effect all the same. Nothing else
    // can have been committed in its place: that would have needed me.
    const isAhead = tailTerm > log.lastTerm || (tailTerm === log.lastTerm && tailSeq > log.lastSeq);
    if (isAhead && common === log.lastSeq && !this.context.mutations.cutSurplus) {
      this.#fetch(peer, reply);
      return false;
    }
    if (isAhead && this.member.isTorn) {
      this.#giveUp('my log was torn, and another one is newer', peer.id);
      return false;
    }
    this.#isCompared = true;
    return true;
  }

  /** A learner starts from the extents; a member that has lost so much is no member, and is removed as one that makes no progress. */
  #farBehind(peer: Peer): void {
    if (peer.isLearner && this.isServing) this.context.out.push({ kind: 'resync', member: peer.id });
  }

  #fetch(peer: Peer, reply: SealReply): void {
    const { lastSeq } = this.member.log;
    peer.go('again', { kind: 'sealing', attempt: reply.attempt, ahead: { reply, toSeq: lastSeq + MAX_SENT_ENTRIES } });
    peer.send({ kind: 'fetch', fromSeq: lastSeq + 1, ...this.#speaker });
  }

  /** It may come in pieces. Its log stands still since it has promised: when all is here, its answer of then is looked at again. */
  #fetched(peer: Peer, { entries }: Entries): void {
    const { state } = peer;
    if (state.kind !== 'sealing' || state.ahead === null || this.isServing) return;
    const { log } = this.member;
    const { reply, toSeq } = state.ahead;
    for (const entry of entries) if (log.fits(entry)) this.member.appendOwn(this.term, entry);
    if (log.lastSeq >= reply.tailSeq) this.#sealed(peer, reply);
    else if (log.lastSeq === toSeq) this.#fetch(peer, reply);
  }

  #acked(peer: Peer, ack: AppendAck): void {
    const { log } = this.member;
    const { bySeqOnly } = this;
    if (log.holds(ack.tailSeq, ack.tailHash)) peer.heldSeq = Math.max(peer.heldSeq, ack.tailSeq);
    if (log.holds(ack.durableSeq, ack.durableHash)) this.#progress(peer, ack.durableSeq);
    else if (bySeqOnly) this.#progress(peer, Math.min(ack.durableSeq, log.lastSeq));
    const isPrefix = log.holds(ack.tailSeq, ack.tailHash) || (bySeqOnly && ack.fits);
    const { state } = peer;
    if (state.kind === 'sealing') return;
    if (state.kind === 'cutting') {
      if (!isPrefix) {
        if (ack.tailHash !== state.cut.tailHash) this.#seal(peer);
        return;
      }
      peer.go('isCut', { kind: 'attached' });
    } else if (!isPrefix) return this.#seal(peer);
    if (!ack.fits) peer.sentSeq = Math.min(peer.sentSeq, ack.tailSeq);
    this.#send(peer);
  }

  get bySeqOnly(): boolean {
    return this.context.mutations.resendBySeqOnly === true;
  }

  #diverged(peer: Peer, seq: number): void {
    const text = `entry ${seq} at ${peer.id} has the term of mine, and is another one`;
    this.context.out.push({ kind: 'alarm', code: 'divergence', text });
  }

  // ---------------------------------------------------------------- rule 2: commit

  get #hasEnoughMembers(): boolean {
    return this.changes.group.members.length >= this.context.minMembers;
  }

  #hold(seq: number): void {
    this.heldSeq = seq;
    this.context.out.push({ kind: 'held', seq });
  }

  #commit(seq: number): void {
    this.committedSeq = seq;
    this.member.committed(seq);
    this.context.out.push({ kind: 'committed', seq });
  }

  #progress(peer: Peer, seq: number): void {
    if (seq > peer.confirmedSeq) {
      peer.confirmedSeq = seq;
      peer.heldSeq = Math.max(peer.heldSeq, seq);
      peer.waitingSinceMs = this.context.nowMs;
    }
    peer.settle(this.member.log.lastSeq);
  }

  // ---------------------------------------------------------------- sending

  get #speaker(): { readonly from: MemberId; readonly term: number } {
    return { from: this.context.self, term: this.term };
  }

  get #committedHash(): number {
    return this.member.log.hashAt(this.committedSeq);
  }

  /**
   * What it has not been sent, as far as its window goes. One that is behind gets whole messages: with each ack as many entries as it says would be many small
   * ones, each of which is read from the log by itself.
   */
  #send(peer: Peer): void {
    if (peer.state.kind === 'sealing') return;
    const { log } = this.member;
    while (peer.sentSeq < log.lastSeq) {
      const room = MAX_SENT_ENTRIES - (peer.sentSeq - peer.confirmedSeq);
      if (room < Math.min(MAX_APPEND_ENTRIES, log.lastSeq - peer.sentSeq)) return;
      const entries = log.slice(peer.sentSeq + 1, Math.min(log.lastSeq, peer.sentSeq + MAX_APPEND_ENTRIES));
      peer.sentSeq += entries.length;
      peer.watermark = this.committedSeq;
      peer.send({ kind: 'append', entries, committed: this.committedSeq, committedHash: this.#committedHash, ...this.#speaker });
    }
  }

  #sendAgain(peer: Peer): void {
    if (peer.state.kind === 'sealing') return this.#seal(peer);
    if (peer.state.kind === 'cutting') peer.send(peer.state.cut);
    peer.sentSeq = peer.confirmedSeq;
    this.#send(peer);
  }

  #sendWatermark(peer: Peer): void {
    const isDue = this.context.nowMs - peer.lastSentMs >= HEARTBEAT_MS;
    if (peer.watermark === this.committedSeq && !isDue) return;
    peer.watermark = this.committedSeq;
    peer.send({ kind: 'watermark', committed: this.committedSeq, committedHash: this.#committedHash, ...this.#speaker });
  }

  #ownRuns(): readonly TermRun[] {
    const { log } = this.member;
    if (this.#runsSeq !== log.lastSeq) this.#runs = log.runs();
    this.#runsSeq = log.lastSeq;
    return this.#runs;
  }

  #giveUp(reason: string, standIn: MemberId | null = null): void {
    this.end ??= { reason, standIn };
  }

  check(): void {
    assert(this.term === this.member.promisedTerm, 'a controller whose own replica has promised another term');
    assert(this.committedSeq <= this.member.durableSeq, 'more is committed than is durable here');
    for (const peer of this.#peers.values())
      assert(peer.confirmedSeq <= peer.heldSeq && peer.heldSeq <= this.member.log.lastSeq && peer.sentSeq <= this.member.log.lastSeq);
    const { state } = this.changes;
    const isAdding = state.kind === 'proposed' && state.change === 'add';
    if (isAdding) assert(this.#peers.has(state.next.members.at(-1)!), 'the learner is kept until the outcome is known');
  }
}
