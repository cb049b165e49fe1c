import type { ReplicaContext } from './effects.js';
import type { MemberId } from './entry.js';
import { LET_GO_PATIENCE_MS, RESEND_MS } from './limits.js';
import type { Member } from './member.js';
import type { LetGo } from './messages.js';
import type { Takeover } from './takeover.js';

/**
 * A replica that its group has no place for any more. Nobody will ever tell it whether the tail of its log was committed, so that would hold its node's log for ever; and where
 * others hold the vdisk as often as it is to be kept, nobody needs the copy at all. Either goes, but not on the word of a record that may be old: a controller that has taken
 * this replica for a learner meanwhile counts on what it has acknowledged. So it is asked, and nothing is heard or acknowledged from the question on: when the controller
 * grants it, no proposal of its own names this replica, and whoever makes it a learner later begins with what a seal finds then.
 *
 * ```
 *              ask                 granted: tail
 * following ─────────▶ asking ────────────────────▶ following, without the tail
 *     ▲                   │ │      granted: copy
 *     └───────────────────┘ └─────────────────────▶ gone: nothing is heard, and the runtime removes it
 *     no answer in time, or a takeover
 * ```
 */
export class Surplus {
  #state: 'following' | 'asking' | 'gone' = 'following';
  #question: Pick<LetGo, 'attempt' | 'what'> & { readonly controller: MemberId | null } = { attempt: 0, what: 'tail', controller: null };
  #sinceMs = 0;
  #askedMs = 0;

  constructor(
    readonly context: ReplicaContext,
    readonly member: Member,
    readonly takeover: Takeover,
  ) {}

  /** Nothing but the answer is heard. */
  get isAsking(): boolean {
    return this.#state === 'asking';
  }

  get isGone(): boolean {
    return this.#state === 'gone';
  }

  ask(controller: MemberId, what: LetGo['what']): void {
    const { self, nowMs, mutations } = this.context;
    if (this.#state !== 'following' || controller === self || !this.#mayGo(what)) return;
    this.#state = 'asking';
    // A late answer to an earlier question grants nothing.
    this.#question = { controller, what, attempt: this.#question.attempt + 1 };
    this.#sinceMs = nowMs;
    if (mutations.goesUnasked === true && what === 'copy') this.#goes(what);
    else this.#send();
  }

  granted({ from, term, attempt, what }: LetGo): void {
    const { controller, attempt: asked, what: wanted } = this.#question;
    if (!this.isAsking || from !== controller || attempt !== asked || what !== wanted || term < this.member.promisedTerm) return;
    this.#state = 'following';
    if (this.#mayGo(what)) this.#goes(what);
  }

  /** After each event. */
  follow(): void {
    if (!this.isAsking) return;
    const { nowMs } = this.context;
    if (this.takeover.state.kind !== 'idle' || nowMs - this.#sinceMs >= LET_GO_PATIENCE_MS) this.#state = 'following';
    else if (nowMs - this.#askedMs >= RESEND_MS) this.#send();
  }

  #mayGo(what: LetGo['what']): boolean {
    return this.takeover.state.kind === 'idle' && (what === 'copy' || this.member.hasUncommitted);
  }

  #goes(what: LetGo['what']): void {
    if (what === 'tail') return this.member.cutUncommitted();
    this.#state = 'gone';
    this.context.out.push({ kind: 'discard' });
  }

  #send(): void {
    const { self, nowMs, out } = this.context;
    const { controller, attempt, what } = this.#question;
    this.#askedMs = nowMs;
    out.push({
      kind: 'send',
      to: controller!,
      message: { kind: 'letGo', from: self, term: this.member.promisedTerm, attempt, what, isGranted: false },
    });
  }
}
