import assert from 'node:assert/strict';
import { REISSUE_MS } from './limits.js';
import type { CasOutcome, Group, ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import { go, type Transitions } from './states.js';

export type ChangeKind = 'remove' | 'add' | 'takeover';

/**
 * Changes of the group record, one at a time (rules 7 and 13). A proposal is upon one epoch, so it is applied once at most, however often it is issued. That no answer
 * came says nothing; that the epoch has advanced does: then the nonce says whose proposal it was.
 *
 * ```
 *             propose                     result or record: epoch advanced, my nonce
 *   settled ───────────▶ proposed ──────────────────────────────────────────────────▶ settled (won)
 *                         │   ▲ │                                       another nonce ─▶ settled (lost)
 *                         │   └─┘ result unknown, tick: issued again
 * ```
 */
export type ChangeState =
  | { readonly kind: 'settled' }
  | { readonly kind: 'proposed'; readonly change: ChangeKind; readonly next: Group; readonly issuedMs: number };

type ChangeEvent = 'propose' | 'issue' | 'known';

const TRANSITIONS: Transitions<ChangeState['kind'], ChangeEvent> = {
  settled: { propose: 'proposed' },
  proposed: { issue: 'proposed', known: 'settled' },
};

/** Rule 13: what is allowed while the outcome of a proposal is unknown. What is not in the list is not. */
export const ALLOWED = {
  nothing: ['serve', 'seal', 'propose'],
  /** Acks need the old set, the removed one too. */
  remove: ['serve', 'seal'],
  /** Acks need the old set and the new one: the learner is not dropped. */
  add: ['serve', 'seal'],
  /** It is still a member of the old term, and no more. */
  takeover: [],
} as const satisfies Readonly<Record<ChangeKind | 'nothing', readonly string[]>>;

export type ChangeResult = 'unknown' | 'won' | 'lost';

export class GroupChange {
  #state: ChangeState = { kind: 'settled' };
  #group: Group;
  #commitSet: readonly MemberId[];

  constructor(
    readonly context: ReplicaContext,
    group: Group,
  ) {
    this.#group = group;
    this.#commitSet = group.members;
  }

  get state(): ChangeState {
    return this.#state;
  }

  /** The record as it is known to be, or to have been. */
  get group(): Group {
    return this.#group;
  }

  /** Whose acks a commit needs: every member of the record, and of the proposal whose outcome is unknown. */
  get commitSet(): readonly MemberId[] {
    return this.#commitSet;
  }

  allows(what: 'serve' | 'seal' | 'propose'): boolean {
    const outstanding = this.#state.kind === 'proposed' ? this.#state.change : 'nothing';
    return (ALLOWED[outstanding] as readonly string[]).includes(what);
  }

  propose(change: ChangeKind, wanted: Pick<Group, 'term' | 'controller' | 'members' | 'lossTerm'>): void {
    assert(this.allows('propose'));
    const { epoch, historyId, lossTerm } = this.#group;
    const next: Group = { lossTerm, ...wanted, epoch: epoch + 1, historyId, nonce: this.context.newNonce() };
    assert(next.members.includes(next.controller) && new Set(next.members).size === next.members.length);
    this.#state = go(TRANSITIONS, this.#state, 'propose', { kind: 'proposed', change, next, issuedMs: this.context.nowMs });
    if (this.context.mutations.assumeRemoved && change === 'remove') this.#group = { ...this.#group, members: next.members };
    this.#setCommitSet();
    this.#issue(next);
  }

  tick(): void {
    const state = this.#state;
    if (state.kind !== 'proposed' || this.context.nowMs - state.issuedMs < REISSUE_MS) return;
    this.#state = go(TRANSITIONS, state, 'issue', { ...state, issuedMs: this.context.nowMs });
    this.#issue(state.next);
  }

  /** The answer to a proposal; of another one than the outstanding: nothing. */
  result(nonce: string, outcome: CasOutcome): ChangeResult {
    const state = this.#state;
    if (state.kind !== 'proposed' || state.next.nonce !== nonce || outcome.kind === 'unknown') return 'unknown';
    return outcome.kind === 'applied' ? this.#known(state.next) : this.learn(outcome.group);
  }

  /** A record read from the store. It may be one of long ago: only an epoch that has advanced says something. */
  learn(found: Group): ChangeResult {
    if (found.epoch <= this.#group.epoch) return 'unknown';
    return this.#known(found);
  }

  #known(found: Group): ChangeResult {
    const state = this.#state;
    let result: ChangeResult = 'lost';
    if (state.kind === 'proposed') {
      const { next } = state;
      const isMine = this.context.mutations.controllerIsMe ? found.controller === this.context.self : found.nonce === next.nonce;
      if (isMine) result = 'won';
      this.#state = go(TRANSITIONS, state, 'known', { kind: 'settled' });
      this.#group = isMine ? next : found;
    } else {
      this.#group = found;
    }
    this.#setCommitSet();
    return result;
  }

  #issue(next: Group): void {
    this.context.out.push({ kind: 'cas', expectedEpoch: next.epoch - 1, group: next });
  }

  #setCommitSet(): void {
    const { members } = this.#group;
    const proposed = this.#state.kind === 'proposed' && !this.context.mutations.noUnion ? this.#state.next.members : [];
    this.#commitSet = [...members, ...proposed.filter(member => !members.includes(member))];
  }
}
