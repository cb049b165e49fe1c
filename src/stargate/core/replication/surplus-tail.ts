import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import { LET_GO_PATIENCE_MS, RESEND_MS } from './limits.js';
import type { Member } from './member.js';
import type { LetGo } from './messages.js';
import type { Takeover } from './takeover.js';

/**
 * The tail of a replica that its group has no place for any more. Nobody will ever tell it whether those entries were committed, so they would hold their node's log for ever.
 * They are cut, but not on the word of a record that may be old: a controller that has taken this replica for a learner meanwhile counts on what it has acknowledged. So it is
 * asked, and nothing is heard or acknowledged from the question on: when the controller grants it, no proposal of its own names this replica, and whoever makes it a learner
 * later begins with what a seal finds then.
 *
 * ```
 *              ask                 granted
 * following ─────────▶ asking ────────────────▶ following, without the tail
 *     ▲                   │ no answer in time, or a takeover
 *     └───────────────────┘
 * ```
 */
export class SurplusTail {
  /** Null: it asks nobody. */
  #controller: MemberId | null = null;
  /** A late answer to an earlier question grants nothing. */
  #attempt = 0;
  #sinceMs = 0;
  #askedMs = 0;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
    readonly takeover: Takeover,
  ) {}

  /** Nothing but the answer is heard. */
  get isAsking(): boolean {
    return this.#controller !== null;
  }

  ask(controller: MemberId): void {
    if (this.isAsking || controller === this.context.self || !this.#canCut) return;
    this.#controller = controller;
    this.#attempt++;
    this.#sinceMs = this.context.nowMs;
    this.#send();
  }

  granted({ from, term, attempt }: LetGo): void {
    if (from !== this.#controller || attempt !== this.#attempt || term < this.member.promisedTerm) return;
    this.#controller = null;
    if (this.#canCut) this.member.cutUncommitted();
  }

  /** After each event. */
  follow(): void {
    if (!this.isAsking) return;
    const { nowMs } = this.context;
    if (this.takeover.state.kind !== 'idle' || nowMs - this.#sinceMs >= LET_GO_PATIENCE_MS) this.#controller = null;
    else if (nowMs - this.#askedMs >= RESEND_MS) this.#send();
  }

  get #canCut(): boolean {
    return this.takeover.state.kind === 'idle' && this.member.hasUncommitted;
  }

  #send(): void {
    const { self, nowMs, out } = this.context;
    this.#askedMs = nowMs;
    const question: LetGo = { kind: 'letGo', from: self, term: this.member.promisedTerm, attempt: this.#attempt, isGranted: false };
    out.push({ kind: 'send', to: this.#controller!, message: question });
  }
}
