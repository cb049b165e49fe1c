import assert from 'node:assert/strict';
import type { LogRecord, RecoveredLog, ReplicaContext, TermPromise } from './effects.js';
import { isSameEntry, LogTail, type LogBase, type Entry, type MemberId } from './entry.js';
import { MAX_SENT_ENTRIES } from './limits.js';
import type { Append, Confirm, Cut, Fetch, Message, Seal } from './messages.js';
import { go, type Transitions } from './states.js';

/**
 * One replica of the log, as its controller sees it (rules 1, 3, 6): promises a term, then takes entries of exactly this term.
 *
 * ```
 *             seal, own promise          stored, and all before it
 *   settled ─────────────────▶ promising ─────────────────────────▶ settled
 *      │                        │  ▲ │ seal (of a higher term, or again)
 *      │                        │  └─┘
 *      └───▶ poisoned ◀─────────┘ I/O error        from settled and promising: record below promise ──▶ halted
 * ```
 */
export type MemberState =
  | { readonly kind: 'settled' }
  /** `ticket`: when it is durable, so is the promise and every entry that was accepted before (the barrier of rule 3). `attempt` 0: the own promise, nobody waits. */
  | { readonly kind: 'promising'; readonly ticket: number; readonly attempt: number }
  | { readonly kind: 'poisoned' }
  | { readonly kind: 'halted' };

type MemberEvent = 'promise' | 'stored' | 'ioFailed' | 'belowPromise';

const TRANSITIONS: Transitions<MemberState['kind'], MemberEvent> = {
  settled: { promise: 'promising', ioFailed: 'poisoned', belowPromise: 'halted' },
  promising: { promise: 'promising', stored: 'settled', ioFailed: 'poisoned', belowPromise: 'halted' },
  poisoned: {},
  halted: { ioFailed: 'poisoned' },
};

export class Member {
  readonly log: LogTail;
  promise: TermPromise | null;
  /** Highest committed seq heard of, whether this log has it or not. */
  committedHeard: number;
  /** What is committed of this log: up to here it is the one that the controller committed. */
  committedSeq: number;
  /** When the controller of the promised term was heard of last. */
  heardMs = 0;
  /** The log up to here is on disk. */
  durableSeq: number;
  /** Its log may have lost its end; until another replica's takes its place, or there is none to compare with. */
  isTorn: boolean;
  /** What the last start of this node held in memory alone may be missing. */
  readonly mayHaveForgotten: boolean;
  #state: MemberState = { kind: 'settled' };
  #lastTicket = 0;
  #durableTicket = 0;
  /** Entries on their way to the disk, oldest first: tickets and seqs. */
  readonly #underWay: { readonly ticket: number; readonly seq: number }[] = [];

  constructor(
    readonly context: ReplicaContext,
    recovered: RecoveredLog,
  ) {
    this.log = new LogTail(recovered.base);
    for (const entry of recovered.entries) this.log.append(entry);
    this.promise = recovered.promise;
    this.committedHeard = recovered.committedHeard;
    this.committedSeq = recovered.committedSeq;
    this.isTorn = recovered.isTorn;
    this.mayHaveForgotten = recovered.mayHaveForgotten === true;
    this.durableSeq = this.log.lastSeq;
  }

  get state(): MemberState {
    return this.#state;
  }

  get promisedTerm(): number {
    return this.promise?.term ?? 0;
  }

  get isWorking(): boolean {
    return this.#state.kind === 'settled' || this.#state.kind === 'promising';
  }

  step(message: Message): void {
    if (!this.isWorking) return;
    switch (message.kind) {
      case 'seal':
        return this.#seal(message);
      case 'append':
        return this.#append(message);
      case 'cut':
        return this.#cut(message);
      case 'watermark':
        if (message.term === this.promisedTerm && message.from === this.promise!.controller)
          this.#hear(message.committed, message.committedHash);
        return;
      case 'confirm':
        return this.#confirm(message);
      case 'fetch':
        if (message.term !== this.promisedTerm) return;
        return this.#sendEntries(message);
      default:
        assert.fail(`${message.kind} is not for a member`);
    }
  }

  // ---------------------------------------------------------------- the disk

  durable(ticket: number): void {
    if (!this.isWorking || ticket <= this.#durableTicket) return;
    this.#durableTicket = ticket;
    const durableBefore = this.durableSeq;
    while (this.#underWay.length > 0 && this.#underWay[0]!.ticket <= ticket) this.durableSeq = this.#underWay.shift()!.seq;
    const state = this.#state;
    if (state.kind === 'promising') {
      // No ack leaves before the promise is durable, and none of an older term after it.
      if (state.ticket > ticket) return;
      this.#state = go(TRANSITIONS, state, 'stored', { kind: 'settled' });
      if (state.attempt > 0) this.#replySealed(this.promise!.controller, state.attempt);
    } else if (this.durableSeq !== durableBefore && this.promise !== null) {
      this.#ack(this.promise.controller, true);
    }
  }

  /** Rule 6: nothing of this store is acknowledged any more. */
  ioFailed(): void {
    if (this.#state.kind === 'poisoned') return;
    this.#state = go(TRANSITIONS, this.#state, 'ioFailed', { kind: 'poisoned' });
    this.context.out.push({ kind: 'alarm', code: 'disk-failed', text: 'a write or sync of the log failed' });
  }

  /** Rule 13: the metadata store was brought back from a copy. */
  recordBelowPromise(epoch: number): void {
    if (!this.isWorking) return;
    this.#state = go(TRANSITIONS, this.#state, 'belowPromise', { kind: 'halted' });
    const text = `the group record is at epoch ${epoch}, and term ${this.promisedTerm} was promised: was the metadata store restored?`;
    this.context.out.push({ kind: 'alarm', code: 'record-below-promise', text });
  }

  // ---------------------------------------------------------------- promises

  /** For a takeover of its own. False: a higher term is promised already. */
  promiseOwn(promise: TermPromise): boolean {
    assert.equal(promise.controller, this.context.self);
    if (!this.isWorking || promise.term < this.promisedTerm || (promise.term === this.promisedTerm && !this.#isPromised(promise)))
      return false;
    this.#promise(promise, 0);
    return true;
  }

  #seal({ from, term, history, nonce, attempt }: Seal): void {
    // Of another history of the vdisk: what it has under the same numbers is something else (rule 11).
    if (history !== this.context.historyId && this.context.mutations.anyHistory !== true) return;
    const promise = { term, controller: from, nonce };
    if (term < this.promisedTerm) return this.#send(from, { kind: 'fenced', ...this.#speaker });
    if (term === this.promisedTerm && !this.#isPromised(promise)) {
      const { controller } = this.promise!;
      this.context.out.push({ kind: 'alarm', code: 'equal-term', text: `${from} and ${controller} both claim term ${term}` });
      return;
    }
    this.#promise(promise, attempt);
  }

  #isPromised({ controller, nonce }: TermPromise): boolean {
    return this.promise?.controller === controller && (this.promise.nonce === nonce || this.promise.nonce === '');
  }

  /** A promise that was made before waits for the accepted appends again: the answer says that the whole tail is durable. */
  #promise(promise: TermPromise, attempt: number): void {
    if (promise.term > this.promisedTerm) {
      this.promise = promise;
      this.heardMs = this.context.nowMs;
      this.#persist({ kind: 'promise', promise });
    }
    this.#state = go(TRANSITIONS, this.#state, 'promise', { kind: 'promising', ticket: this.#lastTicket, attempt });
    if (this.#durableTicket < this.#lastTicket) return;
    this.#state = go(TRANSITIONS, this.#state, 'stored', { kind: 'settled' });
    if (attempt > 0) this.#replySealed(promise.controller, attempt);
  }

  #replySealed(to: MemberId, attempt: number): void {
    const { lastSeq: tailSeq, lastHash: tailHash, lastTerm: tailTerm } = this.log;
    const { committedHeard } = this;
    this.#send(to, { kind: 'sealReply', attempt, tailSeq, tailHash, tailTerm, runs: this.log.runs(), committedHeard, ...this.#speaker });
  }

  // ---------------------------------------------------------------- entries

  #append(message: Append): void {
    const { from, term, entries, committed, committedHash } = message;
    if (term < this.promisedTerm) return this.#send(from, { kind: 'fenced', ...this.#speaker });
    if (term > this.promisedTerm) {
      if (!this.context.mutations.noSeal) return this.#send(from, { kind: 'needSeal', ...this.#speaker });
      this.#promise({ term, controller: from, nonce: '' }, 0);
    }
    // Late or doubled: it comes again.
    if (this.#state.kind !== 'settled' || this.promise!.controller !== from) return;
    let fits = true;
    for (let i = 0; fits && i < entries.length; i++) fits = this.#accept(entries[i]!);
    this.#hear(committed, committedHash);
    // What was new is acknowledged when it is durable; where it counts that it is held, at once too.
    if (!fits || this.durableSeq === this.log.lastSeq || this.context.durability === 'flush') this.#ack(from, fits);
  }

  /** A promise that is not durable yet counts against the older term, and not for its own. */
  #confirm({ from, term, round }: Confirm): void {
    if (term < this.promisedTerm) return this.#send(from, { kind: 'fenced', ...this.#speaker });
    if (term > this.promisedTerm) return this.#send(from, { kind: 'needSeal', ...this.#speaker });
    if (this.#state.kind !== 'settled' || this.promise!.controller !== from) return;
    this.heardMs = this.context.nowMs;
    this.#send(from, { kind: 'confirmed', round, ...this.#speaker });
  }

  #accept(entry: Entry): boolean {
    const { log } = this;
    // Sent again: known by its identity, not by its number alone.
    if (entry.seq <= log.base.seq) return true;
    if (entry.seq <= log.lastSeq) return this.context.mutations.resendBySeqOnly === true || isSameEntry(entry, log.at(entry.seq));
    if (!log.fits(entry)) return false;
    log.append(entry);
    this.#persist({ kind: 'entry', entry });
    this.#underWay.push({ ticket: this.#lastTicket, seq: entry.seq });
    return true;
  }

  #cut({ from, term, tailSeq, tailHash, afterSeq, afterHash }: Cut): void {
    if (term !== this.promisedTerm || this.promise!.controller !== from || this.#state.kind !== 'settled') return;
    const { log } = this;
    const isMine = log.lastSeq === tailSeq && log.lastHash === tailHash && log.holds(afterSeq, afterHash);
    if (isMine && afterSeq < this.committedSeq) return this.#divergence(afterSeq);
    if (isMine) this.cutAfter(afterSeq);
    this.#ack(from, true);
  }

  /** Whether there is something of which nobody has said that it is committed. */
  get hasUncommitted(): boolean {
    return this.isWorking && this.log.lastSeq > this.committedSeq;
  }

  cutUncommitted(): void {
    this.cutAfter(this.committedSeq);
  }

  cutAfter(seq: number): void {
    assert(seq >= 0 && seq < this.log.lastSeq);
    this.log.cutAfter(seq);
    while ((this.#underWay.at(-1)?.seq ?? 0) > seq) this.#underWay.pop();
    this.durableSeq = Math.min(this.durableSeq, seq);
    if (!this.context.mutations.cutNotDurable) this.#persist({ kind: 'cut', afterSeq: seq });
  }

  /** The extents have been given to it: its log goes on behind what they hold, and that is durable. */
  restart(base: LogBase): void {
    this.log.reset(base);
    this.#underWay.length = 0;
    this.durableSeq = this.committedSeq = base.seq;
    this.committedHeard = Math.max(this.committedHeard, base.seq);
    this.isTorn = false;
  }

  /** Its history is over: with nobody left to say what of its log was committed, all that is durable counts as that. To be asked again until the whole log is. */
  takeAll(): void {
    if (this.isWorking) this.committedSeq = this.committedHeard = Math.max(this.committedSeq, this.durableSeq);
  }

  #sendEntries({ from, fromSeq }: Fetch): void {
    const toSeq = Math.min(this.durableSeq, fromSeq + MAX_SENT_ENTRIES - 1);
    this.#send(from, { kind: 'entries', entries: this.log.slice(fromSeq, toSeq), ...this.#speaker });
  }

  // ---------------------------------------------------------------- answers

  get #speaker(): { readonly from: MemberId; readonly term: number } {
    return { from: this.context.self, term: this.promisedTerm };
  }

  #ack(to: MemberId, fits: boolean): void {
    const { durableSeq, log } = this;
    const { lastSeq: tailSeq, lastHash: tailHash } = log;
    this.#send(to, { kind: 'appendAck', durableSeq, durableHash: log.hashAt(durableSeq), tailSeq, tailHash, fits, ...this.#speaker });
  }

  #send(to: MemberId, message: Message): void {
    if (to !== this.context.self) this.context.out.push({ kind: 'send', to, message });
  }

  /** Committed is what the controller says of a log that is this one: a tail that has not been cut yet may have other entries there. */
  #hear(committed: number, hash: number): void {
    this.heardMs = this.context.nowMs;
    if (committed > this.committedHeard) this.committedHeard = committed;
    if (committed > this.committedSeq && this.log.holds(committed, hash)) this.committedSeq = committed;
  }

  #divergence(seq: number): void {
    const text = `a controller wants the log cut after ${seq}, and ${this.committedSeq} is committed`;
    this.context.out.push({ kind: 'alarm', code: 'divergence', text });
  }

  /** The controller of this replica has committed it. */
  committed(seq: number): void {
    this.#hear(seq, this.log.hashAt(seq));
  }

  /** The controller's own replica: the same entries, the same promise, without a message. */
  appendOwn(term: number, entry: Entry): void {
    assert(
      term === this.promisedTerm && this.promise!.controller === this.context.self,
      'a controller that its own replica has not promised',
    );
    assert(this.#accept(entry));
  }

  #persist(record: LogRecord): void {
    this.context.out.push({ kind: 'persist', ticket: ++this.#lastTicket, record, committedHeard: this.committedHeard });
  }

  check(): void {
    assert(this.durableSeq <= this.log.lastSeq);
    assert(this.promisedTerm >= this.log.lastTerm, 'an entry of a term that was not promised');
    assert(this.#durableTicket <= this.#lastTicket);
    assert(this.#underWay.length > 0 || this.durableSeq === this.log.lastSeq, 'entries that are neither durable nor under way');
  }
}
