import { FAILBACK_KEPT_MS, MAX_FAILBACK_HOLD_MS } from './limits.js';

const MS = 1e6;

/**
 * When a session whose vdisk is served elsewhere asks for it to come back to the local node. Pure; asked at each tick. Hysteresis: the local Stargate has to have been
 * well, and the session away, for the whole hold; a return that does not last doubles the hold, one that lasts sets it back.
 */
export class Failback {
  #holdMs: number;
  #isLocal = true;
  /** Elsewhere, and the local node could serve it: since then. */
  #awayNs: number | null = null;
  #askedNs = -Infinity;
  /** Back at the local node because it was asked for: since then. */
  #backNs: number | null = null;

  /** `afterMs`: null: never. */
  constructor(private readonly afterMs: number | null) {
    this.#holdMs = afterMs ?? 0;
  }

  get holdMs(): number {
    return this.#holdMs;
  }

  /** Worth finding out whether the local Stargate is well. */
  get wantsToKnow(): boolean {
    return this.afterMs !== null && this.#awayNs !== null;
  }

  /** A path has opened. `canReturn`: the local node is a member of the group. */
  opened(isLocal: boolean, canReturn: boolean, nowNs: number): void {
    this.#isLocal = isLocal;
    if (!isLocal) {
      this.#ended(nowNs);
      this.canReturn(canReturn, nowNs);
      return;
    }
    if (this.#awayNs !== null && this.#askedNs > this.#awayNs) this.#backNs = nowNs;
    this.#awayNs = null;
  }

  /** The group has changed: a local node that was away is removed from it, and comes back into it as a new member. */
  canReturn(canReturn: boolean, nowNs: number): void {
    if (this.#isLocal || !canReturn) this.#awayNs = null;
    else this.#awayNs ??= nowNs;
  }

  /** True: ask now. `wellSinceNs`: the local Stargate; null: it is not. */
  tick(nowNs: number, wellSinceNs: number | null): boolean {
    if (this.#backNs !== null && nowNs - this.#backNs >= this.#keptNs) {
      this.#backNs = null;
      this.#holdMs = this.afterMs ?? 0;
    }
    if (!this.wantsToKnow || wellSinceNs === null) return false;
    const sinceNs = Math.max(this.#awayNs!, wellSinceNs, this.#askedNs);
    if (nowNs - sinceNs < this.#holdMs * MS) return false;
    this.#askedNs = nowNs;
    return true;
  }

  /** A return has to last so long to count. */
  get #keptNs(): number {
    return Math.max(FAILBACK_KEPT_MS, 2 * this.#holdMs) * MS;
  }

  #ended(nowNs: number): void {
    if (this.#backNs === null) return;
    const kept = nowNs - this.#backNs >= this.#keptNs;
    this.#backNs = null;
    this.#holdMs = kept ? (this.afterMs ?? 0) : Math.min(MAX_FAILBACK_HOLD_MS, Math.max(1_000, 2 * this.#holdMs));
  }
}
