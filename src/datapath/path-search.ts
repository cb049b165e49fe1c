import { HEDGE_AFTER_MS, MAX_HINT_JUMPS, OTHERS_EVERY_MS } from './limits.js';
import { backOffMs, isOther, isShunned, orderOf, type Candidate, type HealthTable, type Hint } from './paths.js';

/**
 * Looks for the node that serves a vdisk, for one session that has no path. Pure: connections, timer and time come through ports.
 *
 * ```
 *          start                              opened
 * idle ───────────▶ asking ─────────────────────────────────▶ idle (the owner has a path)
 *                   │    ▲
 *    all were asked │    │ back-off over                 stop: from each ──▶ idle
 *                   ▼    │
 *                   resting ──────── opened ────────────────▶ idle
 * ```
 *
 * A node that refuses, or to which no connection can be made, costs nothing: the next one is asked at once. One that does not answer is not given up:
 * opening a session at a member may be a takeover, which is allowed 250 ms after a killed controller, and what is left of 1.5 s after the 1 s in which a hung one
 * was found out. Giving up at 300 ms would cut off the very takeover that the session needs, and begin another one elsewhere against it. So after
 * HEDGE_AFTER_MS the next node is asked *beside* it, and the first that opens the session wins: a slow takeover goes on, while a hung member costs 300 ms and not
 * the 1.5 s. A node that was lost a moment ago has no such credit: it is asked beside the others, and nobody waits for it. Two members that take over at
 * once are told apart by the compare-and-swap; the loser answers with the winner's name.
 */
export interface SearchPorts {
  /** Asks for the session there; `opened`, `refused` or `lost` with this id follows, during the call or later. */
  ask(id: number, candidate: Candidate): void;
  abandon(id: number): void;
  /** Calls `search.onTimer()` after the delay; a timer before it is void. */
  startTimer(delayMs: number): void;
  nowNs(): number;
}

interface Asked {
  readonly candidate: Candidate;
  readonly atNs: number;
}

export class PathSearch {
  #state: 'idle' | 'asking' | 'resting' = 'idle';
  #candidates: readonly Candidate[] = [];
  #hint: Hint | null = null;
  /** Of the group record whose controller was taken for a hint. */
  #epoch = -1;
  readonly #asked = new Map<number, Asked>();
  #lastId = 0;
  /** In this round: when each node was asked. */
  readonly #round = new Map<string, number>();
  #rounds = 0;
  #jumps = 0;
  #othersNs = -Infinity;
  /** The next node may be asked now. */
  #due = false;
  #advancing = false;

  constructor(
    private readonly ports: SearchPorts,
    private readonly health: HealthTable,
  ) {}

  get isSearching(): boolean {
    return this.#state !== 'idle';
  }

  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  /** `controller`: as the group record of that epoch says; a record that was seen before says nothing new. */
  setCandidates(candidates: readonly Candidate[], controller: string | null, epoch: number): void {
    this.#candidates = candidates;
    const isNews = controller !== null && epoch > this.#epoch;
    if (isNews) {
      this.#epoch = epoch;
      this.hint(controller);
    }
    if (isNews || this.#state === 'resting') this.#wake();
  }

  hint(node: string): void {
    this.#hint = { node, atNs: this.ports.nowNs() };
  }

  start(): void {
    if (this.#state !== 'idle') return;
    this.#rounds = 0;
    this.#startRound();
    this.#advance();
  }

  /** Nobody wants a path any more, or it is known that none is to be had. */
  stop(): void {
    this.#state = 'idle';
    const ids = [...this.#asked.keys()];
    this.#asked.clear();
    for (const id of ids) this.ports.abandon(id);
  }

  onTimer(): void {
    if (this.#state === 'resting') this.#startRound();
    this.#wake();
  }

  // ---------------------------------------------------------------- answers

  /** Where the session is open now, or null: nobody waits for that answer any more. The others are abandoned. */
  opened(id: number): Candidate | null {
    const asked = this.#asked.get(id);
    if (asked === undefined) return null;
    this.#asked.delete(id);
    const health = this.health.of(asked.candidate.node);
    health.lostNs = -Infinity;
    health.latencyNs = this.ports.nowNs() - asked.atNs;
    this.stop();
    return asked.candidate;
  }

  /** False: nobody waits for that answer any more. */
  refused(id: number, hint?: string): boolean {
    const asked = this.#asked.get(id);
    if (asked === undefined) return false;
    this.health.of(asked.candidate.node).refusedNs = this.ports.nowNs();
    return this.#failed(id, hint);
  }

  lost(id: number): boolean {
    const asked = this.#asked.get(id);
    if (asked === undefined) return false;
    this.health.of(asked.candidate.node).lostNs = this.ports.nowNs();
    return this.#failed(id);
  }

  /** The path that was found is gone. Before the next `start`. */
  pathGone(candidate: Candidate, how: 'lost' | 'fenced', hint?: string): void {
    const health = this.health.of(candidate.node);
    if (how === 'lost') health.lostNs = this.ports.nowNs();
    else health.refusedNs = this.ports.nowNs();
    if (hint !== undefined) this.hint(hint);
    // What led there is used up.
    else if (this.#hint?.node === candidate.node) this.#hint = null;
  }

  #failed(id: number, hint?: string): true {
    this.#asked.delete(id);
    if (hint !== undefined) this.hint(hint);
    // While all have been asked, only a hint is worth more than the rest.
    if (this.#state === 'asking' || hint !== undefined) this.#wake();
    return true;
  }

  // ---------------------------------------------------------------- rounds

  #startRound(): void {
    this.#state = 'asking';
    this.#round.clear();
    this.#jumps = 0;
    this.#due = true;
  }

  #wake(): void {
    if (this.#state === 'idle') return;
    this.#due = true;
    this.#advance();
  }

  /** Answers may come while it asks: those are seen by this loop. */
  #advance(): void {
    if (this.#advancing) return;
    this.#advancing = true;
    while (this.#state !== 'idle' && this.#due) {
      this.#due = false;
      const nowNs = this.ports.nowNs();
      const patienceMs = this.#patienceMs(nowNs);
      if (patienceMs > 0) {
        this.ports.startTimer(patienceMs);
        break;
      }
      const candidate = this.#choose(nowNs);
      if (candidate !== null) this.#ask(candidate, nowNs);
      else if (this.#state === 'asking') {
        this.#state = 'resting';
        this.ports.startTimer(backOffMs(++this.#rounds));
      }
    }
    this.#advancing = false;
  }

  /** Whom the hint names has been asked, and may be taking over: the others would only send us there, and have better things to do. 0: nobody is waited for. */
  #patienceMs(nowNs: number): number {
    const node = this.#hint?.node;
    if (node === undefined || isShunned(this.health.of(node), nowNs)) return 0;
    for (const { candidate, atNs } of this.#asked.values())
      if (candidate.node === node) return Math.max(0, HEDGE_AFTER_MS - (nowNs - atNs) / 1e6);
    return 0;
  }

  #ask(candidate: Candidate, nowNs: number): void {
    const id = ++this.#lastId;
    this.#round.set(candidate.node, nowNs);
    if (isOther(candidate)) this.#othersNs = nowNs;
    this.#asked.set(id, { candidate, atNs: nowNs });
    const isLost = isShunned(this.health.of(candidate.node), nowNs);
    if (this.#state === 'asking') this.ports.startTimer(isLost ? backOffMs(this.#rounds + 1) : HEDGE_AFTER_MS);
    this.ports.ask(id, candidate);
  }

  #choose(nowNs: number): Candidate | null {
    const pending = new Set([...this.#asked.values()].map(({ candidate }) => candidate.node));
    const knowsMembers = this.#candidates.some(candidate => candidate.isMember);
    const asksOthers = !knowsMembers || nowNs - this.#othersNs >= OTHERS_EVERY_MS * 1e6;
    for (const candidate of orderOf(this.#candidates, this.#hint, this.health, nowNs)) {
      const { node } = candidate;
      if (pending.has(node)) continue;
      if (this.#round.has(node)) {
        if (this.#isNewHint(node)) return candidate;
        continue;
      }
      if (this.#state === 'resting' && this.#hint?.node !== node) continue;
      if (isOther(candidate) && !asksOthers && this.#hint?.node !== node) continue;
      return candidate;
    }
    return null;
  }

  /** Said after the node was asked in this round, and answered that it is not the one. Nodes that name each other do not go on for ever. */
  #isNewHint(node: string): boolean {
    const hint = this.#hint;
    const askedNs = this.#round.get(node)!;
    if (hint?.node !== node || hint.atNs <= askedNs || this.health.of(node).lostNs >= askedNs) return false;
    if (this.#jumps === MAX_HINT_JUMPS) return false;
    this.#jumps++;
    return true;
  }
}
