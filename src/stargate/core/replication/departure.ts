import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import type { Leader } from './leader.js';
import { HANDOVER_PATIENCE_MS, HANDOVER_RETRY_MS, RESEND_MS } from './limits.js';
import type { Member } from './member.js';
import type { LeaveReply } from './messages.js';
import { go, type Transitions } from './states.js';
import type { Takeover } from './takeover.js';

/**
 * How a replica leaves its group before its node stops, so that nobody has to find out that it is gone (rules 9 and 12). What it controls another member takes over, and
 * leaves it out in the same change of the record; where it only follows, it asks its controller to take it out, and acknowledges until that is done: writes wait for nothing.
 *
 * ```
 *            leave               it is no member
 *   staying ───────▶ leaving ─────────────────────▶ out
 *                       └──── too few would be left ──▶ needed
 * ```
 */
export type DepartureState =
  | { readonly kind: 'staying' }
  | { readonly kind: 'leaving' }
  /** Nothing that comes from others is heard any more: it would become a learner again. */
  | { readonly kind: 'out' }
  | { readonly kind: 'needed' };

type DepartureEvent = 'leave' | 'isOut' | 'isNeeded';

const TRANSITIONS: Transitions<DepartureState['kind'], DepartureEvent> = {
  staying: { leave: 'leaving' },
  leaving: { isOut: 'out', isNeeded: 'needed' },
  out: {},
  needed: {},
};

export class Departure {
  #state: DepartureState = { kind: 'staying' };
  /** Who was asked to take over, since when. */
  #successor: MemberId | null = null;
  #chosenMs = 0;
  /** Who was asked last, for what, and when. */
  #asked: MemberId | null = null;
  #wish: 'takeOver' | 'leave' = 'leave';
  #askedMs = 0;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
    readonly takeover: Takeover,
  ) {}

  get isLeaving(): boolean {
    return this.#state.kind !== 'staying';
  }

  get isOut(): boolean {
    return this.#state.kind === 'out';
  }

  /** There is somebody whose answer is worth waiting for. */
  get isUnderWay(): boolean {
    return this.#state.kind === 'leaving' && this.#asked !== null;
  }

  leave(): void {
    if (this.#state.kind === 'staying') this.#go('leave', { kind: 'leaving' });
  }

  replied({ from, isOut }: LeaveReply): void {
    if (this.#state.kind !== 'leaving' || from !== this.#asked || this.#wish !== 'leave' || this.takeover.state.kind !== 'idle') return;
    this.#go(isOut ? 'isOut' : 'isNeeded', { kind: isOut ? 'out' : 'needed' });
  }

  /** After each event: asks whoever can be asked now. */
  follow(): void {
    if (this.#state.kind !== 'leaving') return;
    const { leader, state } = this.takeover;
    if (state.kind === 'serving') this.#handOver();
    else if (state.kind === 'idle') this.#askToGo();
    else if (leader === null) this.takeover.resign('its node is about to stop');
  }

  #handOver(): void {
    const { leader } = this.takeover;
    const to = this.#chooseSuccessor(leader!);
    if (to === null) {
      this.#asked = null;
      return;
    }
    if (this.#isDue(to, 'takeOver', HANDOVER_RETRY_MS)) leader!.handOver(to, true);
  }

  /** Whose log is longer changes with every write. But of two that take over, the second ends the term of the first: so one is asked, and has its time. */
  #chooseSuccessor(leader: Leader): MemberId | null {
    const { nowMs } = this.context;
    const before = this.#successor;
    const isUp = before !== null && leader.peer(before)?.canFollow === true;
    if (isUp && nowMs - this.#chosenMs < HANDOVER_PATIENCE_MS) return before;
    this.#successor = leader.successor(before) ?? (isUp ? before : null);
    this.#chosenMs = nowMs;
    return this.#successor;
  }

  #askToGo(): void {
    const { self } = this.context;
    const promised = this.member.promise?.controller ?? null;
    const to = promised === self || promised === null ? this.#successor : promised;
    if (to === null) {
      this.#asked = null;
      return;
    }
    if (this.#isDue(to, 'leave', RESEND_MS))
      this.context.out.push({ kind: 'send', to, message: { kind: 'leave', from: self, term: this.member.promisedTerm } });
  }

  /** Whether it is to be asked, now or again. */
  #isDue(to: MemberId, wish: 'takeOver' | 'leave', everyMs: number): boolean {
    const { nowMs } = this.context;
    if (to === this.#asked && wish === this.#wish && nowMs - this.#askedMs < everyMs) return false;
    this.#asked = to;
    this.#wish = wish;
    this.#askedMs = nowMs;
    return true;
  }

  #go(event: DepartureEvent, to: DepartureState): void {
    this.#state = go(TRANSITIONS, this.#state, event, to);
  }
}
