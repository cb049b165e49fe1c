/**
 * One question to several members, not to all at once: to the next one when the last one is late or has failed. Which answers settle it is
 * the caller's decision.
 */

export type Verdict =
  /** It is the answer. */
  | 'settles'
  /** Only if no other attempt can still come to another end: none is out, and of none is the end unknown. */
  | 'doubtful';

export interface RacePlan<Member, Answer> {
  /** In the order in which they are asked. */
  readonly members: readonly Member[];
  readonly ask: (member: Member, timeoutMs: number) => Promise<Answer>;
  readonly judge: (answer: Answer) => Verdict;
  /** The error to end with, where it says that the question was certainly not carried out and never will be; null: another attempt may do better. */
  readonly refusal: (member: Member, error: unknown) => Error | null;
  /** Attempts whose end is unknown do not matter: a read. */
  readonly harmless: boolean;
  /** What it is rejected with when it cannot be settled in time, or any more. */
  readonly giveUp: (lastError: unknown) => Error;
  readonly timeoutMs: number;
  /** An attempt that takes longer gets a second one beside it. */
  readonly hedgeAfterMs: number;
  /** In all; default: as many as the time allows. */
  readonly attempts?: number;
}

export interface Won<Member, Answer> {
  readonly member: Member;
  readonly answer: Answer;
}

/** A member that has failed is asked again after so long, twice as long each time. */
const PAUSE_FIRST_MS = 50;
const PAUSE_LAST_MS = 500;
/** With a doubtful answer, attempts that are still out have so long. */
const DOUBT_MS = 500;

interface Runner<Member> {
  readonly member: Member;
  running: boolean;
  pauseMs: number;
  notBeforeMs: number;
}

export function race<Member, Answer>(plan: RacePlan<Member, Answer>): Promise<Won<Member, Answer>> {
  return new Promise((resolve, reject) => new Race(plan, resolve, reject).go());
}

class Race<Member, Answer> {
  readonly #runners: Runner<Member>[];
  readonly #endMs: number;
  readonly #deadline: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #doubt: NodeJS.Timeout | undefined;
  #doubtful: Won<Member, Answer> | null = null;
  #lastError: unknown = new Error('no answer in time');
  /** Attempts that have failed and may have been carried out all the same. */
  #lost = 0;
  #attemptsLeft: number;
  #over = false;

  constructor(
    private readonly plan: RacePlan<Member, Answer>,
    private readonly resolve: (won: Won<Member, Answer>) => void,
    private readonly reject: (error: Error) => void,
  ) {
    this.#runners = plan.members.map(member => ({ member, running: false, pauseMs: PAUSE_FIRST_MS, notBeforeMs: 0 }));
    this.#attemptsLeft = plan.attempts ?? Infinity;
    this.#endMs = performance.now() + plan.timeoutMs;
    this.#deadline = setTimeout(() => this.#finish(() => this.reject(plan.giveUp(this.#lastError))), plan.timeoutMs);
  }

  /** Asks one more member, if there is one that may be asked now; comes back when the next one may be. */
  go(): void {
    clearTimeout(this.#timer);
    if (this.#over || this.#doubtful !== null || this.#attemptsLeft === 0) return;
    const nowMs = performance.now();
    const idle = this.#runners.filter(runner => !runner.running);
    const next = idle.find(runner => runner.notBeforeMs <= nowMs);
    if (next !== undefined) this.#start(next);
    if (idle.length === 0) return;
    const waitMs = next !== undefined ? this.plan.hedgeAfterMs : Math.min(...idle.map(runner => runner.notBeforeMs)) - nowMs;
    this.#timer = setTimeout(() => this.go(), Math.max(1, waitMs));
  }

  #start(runner: Runner<Member>): void {
    this.#attemptsLeft--;
    runner.running = true;
    const timeoutMs = Math.max(1, this.#endMs - performance.now());
    this.plan.ask(runner.member, timeoutMs).then(
      answer => this.#onAnswer(runner, answer),
      (error: unknown) => this.#onError(runner, error),
    );
  }

  #onAnswer(runner: Runner<Member>, answer: Answer): void {
    runner.running = false;
    if (this.#over) return;
    const won = { member: runner.member, answer };
    if (this.plan.judge(answer) === 'settles') return this.#finish(() => this.resolve(won));
    this.#doubtful = won;
    this.#doubt ??= setTimeout(() => this.#finish(() => this.reject(this.plan.giveUp(this.#lastError))), DOUBT_MS);
    this.#resolveDoubt();
  }

  #onError(runner: Runner<Member>, error: unknown): void {
    runner.running = false;
    if (this.#over) return;
    this.#lastError = error;
    const refusal = this.plan.refusal(runner.member, error);
    if (refusal === null) {
      if (!this.plan.harmless) this.#lost++;
    } else if (!this.#isBusy()) {
      return this.#finish(() => this.reject(this.#lost === 0 ? refusal : this.plan.giveUp(refusal)));
    }
    runner.notBeforeMs = performance.now() + runner.pauseMs;
    runner.pauseMs = Math.min(2 * runner.pauseMs, PAUSE_LAST_MS);
    if (this.#doubtful !== null) this.#resolveDoubt();
    else if (this.#attemptsLeft === 0 && !this.#isBusy()) this.#finish(() => this.reject(this.plan.giveUp(error)));
    else this.go();
  }

  #resolveDoubt(): void {
    const won = this.#doubtful!;
    if (this.#isBusy()) return;
    this.#finish(() => (this.#lost === 0 ? this.resolve(won) : this.reject(this.plan.giveUp(this.#lastError))));
  }

  #isBusy(): boolean {
    return this.#runners.some(runner => runner.running);
  }

  #finish(settle: () => void): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    clearTimeout(this.#doubt);
    settle();
  }
}
