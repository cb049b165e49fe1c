import type { VirtualClock } from 'uring-engine/faulty';

export const MS = 1e6;

/** Between 0 and 1: how often. */
export interface Weather {
  loss: number;
  doubled: number;
  /** A message takes so long at most; one of twenty ten times longer. */
  delayMs: number;
}

/** Who can reach whom. The metadata store is the last number. Messages are lost, late, doubled and out of order. */
export class SimNetwork {
  readonly #blocked: Uint8Array;
  isCalm = false;

  constructor(
    readonly clock: VirtualClock,
    readonly size: number,
    readonly weather: Weather,
  ) {
    this.#blocked = new Uint8Array(size * size);
  }

  /** One way. */
  block(from: number, to: number, isBlocked: boolean): void {
    this.#blocked[from * this.size + to] = isBlocked ? 1 : 0;
  }

  heal(): void {
    this.#blocked.fill(0);
    this.isCalm = true;
  }

  chance(probability: number): boolean {
    return this.clock.random() < probability;
  }

  send(from: number, to: number, deliver: () => void): void {
    const { weather } = this;
    if (this.#blocked[from * this.size + to] === 1) return;
    if (!this.isCalm && this.chance(weather.loss)) return;
    this.#later(deliver);
    if (!this.isCalm && this.chance(weather.doubled)) this.#later(deliver);
  }

  #later(deliver: () => void): void {
    const delay = this.clock.random() * this.weather.delayMs * (!this.isCalm && this.chance(0.05) ? 10 : 1);
    this.clock.after(Math.ceil(delay * MS), deliver);
  }
}
