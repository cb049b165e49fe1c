import assert from 'node:assert/strict';
import { ColdTakeover } from './cold-takeover.js';
import type { CasOutcome, Group, ReplicaContext, Seen } from './effects.js';
import { GroupChange, type ChangeResult } from './group-change.js';
import { Leader } from './leader.js';
import { REISSUE_MS } from './limits.js';
import { nodeOfMember } from '../../../wire/replicate.js';
import type { MemberId } from './entry.js';
import type { Member } from './member.js';
import type { StandIn } from './messages.js';
import { go, type Transitions } from './states.js';

/**
 * How a member becomes the controller, and stops being it (rules 3 and 11). The order is the safety: the compare-and-swap is known to have won → the own promise is
 * durable, and with it what was accepted before → the own tail is frozen → the others are sealed and their tails made equal → serve.
 *
 * ```
 *         take over          a member of it           won               promise and tail durable
 *   idle ──────────▶ reading ─────────────▶ proposing ────▶ promising ──────────────────────────▶ equalizing
 *    ▲                  │ no member,            │ lost            │ resign                            │  │ all equal
 *    └──────────────────┴──────────────────────┴─────────────────┴──────────────── resign ───────────┘  ▼
 *    └───────────────────────────────────────────────────────────────────────────── resign ───────── serving
 * ```
 */
export type OfficeState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'reading'; readonly readId: number; readonly sinceMs: number }
  | { readonly kind: 'proposing'; readonly changes: GroupChange; readonly tailSeq: number }
  | { readonly kind: 'promising'; readonly changes: GroupChange; readonly tailSeq: number; readonly term: number; readonly nonce: string }
  | { readonly kind: 'equalizing'; readonly leader: Leader }
  | { readonly kind: 'serving'; readonly leader: Leader };

type OfficeEvent = 'takeOver' | 'again' | 'notMember' | 'tooLate' | 'propose' | 'lost' | 'won' | 'frozen' | 'equal' | 'resign';

const TRANSITIONS: Transitions<OfficeState['kind'], OfficeEvent> = {
  idle: { takeOver: 'reading' },
  // Won at once: the mutant alone, which takes the record's word for its being the controller.
  reading: { again: 'reading', notMember: 'idle', tooLate: 'idle', propose: 'proposing', won: 'promising', resign: 'idle' },
  proposing: { won: 'promising', lost: 'idle', resign: 'idle' },
  promising: { frozen: 'equalizing', resign: 'idle' },
  equalizing: { equal: 'serving', resign: 'idle' },
  serving: { resign: 'idle' },
};

export class Takeover {
  #state: OfficeState = { kind: 'idle' };
  #reads = 0;
  #promisedAtRead = 0;
  /** Node of the controller that was found silent; null: whoever it is. */
  #insteadOf: string | null = null;
  /** The controller that has asked for it. */
  #asked: StandIn | null = null;
  #former: MemberId | null = null;
  readonly #cold: ColdTakeover;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
  ) {
    this.#cold = new ColdTakeover(context, member);
  }

  get state(): OfficeState {
    return this.#state;
  }

  /** Node of the controller that was followed; empty: none yet. */
  get formerNode(): string {
    return this.#former === null ? '' : nodeOfMember(this.#former);
  }

  /** Why this one takes over, or has. */
  get reason(): 'asked' | 'leaving' | 'restart' | 'wanted' {
    if (this.#asked !== null) return this.#asked.isLeaving ? 'leaving' : 'asked';
    return this.#insteadOf === nodeOfMember(this.context.self) ? 'restart' : 'wanted';
  }

  get leader(): Leader | null {
    return this.#state.kind === 'equalizing' || this.#state.kind === 'serving' ? this.#state.leader : null;
  }

  takeOver(insteadOf: string | null = null, asked: StandIn | null = null): void {
    if (this.#state.kind !== 'idle' || !this.member.isWorking) return;
    this.#insteadOf = insteadOf;
    this.#asked = asked;
    this.#read('takeOver');
  }

  /** The controller asks for it (rule 12). */
  standIn(message: StandIn): void {
    this.takeOver(null, message);
  }

  tick(): void {
    const state = this.#state;
    if (state.kind === 'reading' && this.context.nowMs - state.sinceMs >= REISSUE_MS) this.#read('again');
    if (state.kind === 'proposing') state.changes.tick();
    this.leader?.changes.tick();
    this.leader?.tick();
  }

  groupRead(readId: number, group: Group, seen?: Seen): void {
    // What was promised before the record was read is in it, or the metadata store has forgotten something.
    if (readId === this.#reads && group.epoch < this.#promisedAtRead) this.member.recordBelowPromise(group.epoch);
    if (this.#state.kind !== 'reading' || readId !== this.#state.readId || !this.member.isWorking) return;
    const { self, mutations } = this.context;
    const isOfHistory = group.historyId === this.context.historyId || mutations.anyHistory === true;
    const isMember = group.members.includes(self);
    const cold = isMember || !isOfHistory ? null : this.#cold.takeover(group, seen);
    if ((!isMember && cold === null) || !isOfHistory) return this.#go('notMember', { kind: 'idle' });
    const isOther = this.#insteadOf !== null && nodeOfMember(group.controller) !== this.#insteadOf && group.controller !== self;
    if (isOther) return this.#go('tooLate', { kind: 'idle' });
    const changes = new GroupChange(this.context, group);
    const tailSeq = this.member.log.lastSeq;
    if (mutations.sameTermAfterRestart && group.controller === self) {
      this.#go('won', { kind: 'promising', changes, tailSeq, term: group.term, nonce: group.nonce });
      return this.#promise();
    }
    this.#former = group.controller;
    if (cold !== null) {
      this.#go('propose', { kind: 'proposing', changes, tailSeq });
      return changes.propose('takeover', { term: group.epoch + 1, controller: self, ...cold });
    }
    const rest = group.members.filter(id => id !== group.controller);
    const members = group.controller !== self && this.#mayDrop(group.controller, rest.length) ? rest : group.members;
    this.#go('propose', { kind: 'proposing', changes, tailSeq });
    changes.propose('takeover', { term: group.epoch + 1, controller: self, members });
  }

  /**
   * The failed controller goes, but not while this member may need it to compare its torn tail with. One that has asked stays; if it is about to stop it goes too,
   * where enough are left, and this log holds all that it had committed when it asked: what it commits from then on is acknowledged by this process.
   */
  #mayDrop(controller: MemberId, rest: number): boolean {
    const asked = this.#asked;
    if (this.member.isTorn) return false;
    if (asked === null) return true;
    const { log } = this.member;
    const isWhole = log.holds(asked.committed, asked.committedHash);
    return asked.isLeaving && asked.from === controller && isWhole && rest >= this.context.minMembers;
  }

  casResult(nonce: string, outcome: CasOutcome): void {
    const state = this.#state;
    if (state.kind === 'proposing') return this.#proposed(state.changes.result(nonce, outcome));
    const { leader } = this;
    if (leader === null) return;
    const result = leader.changes.result(nonce, outcome);
    if (result === 'won') leader.groupChanged();
    else if (result === 'lost') this.resign(`the record of epoch ${leader.changes.group.epoch} is not mine`);
  }

  #proposed(result: ChangeResult): void {
    const state = this.#state;
    assert(state.kind === 'proposing');
    if (result === 'unknown') return;
    if (result === 'lost') return this.#go('lost', { kind: 'idle' });
    const { term, nonce } = state.changes.group;
    this.#go('won', { kind: 'promising', changes: state.changes, tailSeq: state.tailSeq, term, nonce });
    this.#promise();
  }

  #promise(): void {
    const state = this.#state;
    assert(state.kind === 'promising');
    const promise = { term: state.term, controller: this.context.self, nonce: state.nonce };
    if (!this.member.promiseOwn(promise)) this.resign('a higher term is promised');
  }

  /** After each event: goes on where something that this waited for has come, and ends what is over. */
  follow(): void {
    const state = this.#state;
    if (state.kind === 'idle') return;
    if (!this.member.isWorking) return this.resign('the own replica has failed');
    if (state.kind === 'proposing') {
      const { state: change } = state.changes;
      if (change.kind === 'proposed' && this.member.promisedTerm >= change.next.term) this.#go('lost', { kind: 'idle' });
    } else if (state.kind === 'promising') this.#freeze();
    else if (state.kind !== 'reading') this.#lead(state.leader);
  }

  #freeze(): void {
    const state = this.#state;
    assert(state.kind === 'promising');
    if (this.member.promisedTerm !== state.term) return this.resign('a higher term is promised');
    if (this.member.state.kind !== 'settled') return;
    const { context, member } = this;
    if (context.mutations.tailBeforePromise && member.log.lastSeq > state.tailSeq) member.cutAfter(state.tailSeq);
    const leader = new Leader(context, member, state.changes, state.term, state.nonce);
    this.#go('frozen', { kind: 'equalizing', leader });
    this.#tellLeaver(state.term, state.nonce);
    this.#lead(leader);
  }

  /** The controller that has left with this proposal hears that its term is over, and whose the next one is. Nobody waits for it. */
  #tellLeaver(term: number, nonce: string): void {
    const asked = this.#asked;
    if (asked === null || this.leader!.changes.group.members.includes(asked.from)) return;
    const { out, self, historyId: history } = this.context;
    out.push({ kind: 'send', to: asked.from, message: { kind: 'seal', from: self, term, history, nonce, attempt: 0 } });
  }

  #lead(leader: Leader): void {
    if (this.member.promisedTerm !== leader.term) return this.resign(`term ${this.member.promisedTerm} is promised`);
    leader.advance();
    if (leader.end !== null) return this.resign(leader.end.reason);
    if (leader.isServing && this.#state.kind === 'equalizing') this.#go('equal', { kind: 'serving', leader });
  }

  /** Ends whatever this was about. What is in flight is neither acknowledged nor refused: its outcome is unknown. */
  resign(reason: string): void {
    if (this.#state.kind === 'idle') return;
    const { leader } = this;
    const { out } = this.context;
    this.#go('resign', { kind: 'idle' });
    if (leader === null) return;
    const to = leader.end?.standIn ?? null;
    out.push({ kind: 'resigned', term: leader.term, reason, follower: to ?? leader.asked });
    if (to !== null) out.push({ kind: 'send', to, message: leader.standInMessage(false) });
  }

  #read(event: 'takeOver' | 'again'): void {
    this.#promisedAtRead = this.member.promisedTerm;
    this.#go(event, { kind: 'reading', readId: ++this.#reads, sinceMs: this.context.nowMs });
    this.context.out.push({ kind: 'readGroup', readId: this.#reads });
  }

  #go(event: OfficeEvent, to: OfficeState): void {
    this.#state = go(TRANSITIONS, this.#state, event, to);
  }
}
