/** Seeded random numbers (mulberry32), so that a failing run can be run again. */
export class Random {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ x < 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** An integer, 0 ≤ x < limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** An integer, low ≤ x ≤ high. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }
}

/** From GATEPATH_SEED, or a new one; the caller prints it. */
export function seedFromEnvironment(): number {
  const given = process.env['GATEPATH_SEED'];
  return given === undefined ? (Date.now() ^ (process.pid << 16)) >>> 0 : Number(given);
}
