/** Who waits for room in the budget. */
export interface BudgetWaiter {
  onProgress(): void;
}

/** READ bytes that all connections of a server have between submission and the end of the send. */
export class ReadBudget {
  usedBytes = 0;
  #waiters = new Set<BudgetWaiter>();

  constructor(private readonly maxBytes: number) {}

  has(bytes: number): boolean {
    return this.usedBytes + bytes <= this.maxBytes;
  }

  take(bytes: number): void {
    this.usedBytes += bytes;
  }

  /** Waiters are told at once, all of them: each looks again, in its own time. */
  give(bytes: number): void {
    this.usedBytes -= bytes;
    if (this.#waiters.size === 0) return;
    const told = this.#waiters;
    this.#waiters = new Set();
    for (const waiter of told) waiter.onProgress();
  }

  get isWaitedFor(): boolean {
    return this.#waiters.size > 0;
  }

  wait(waiter: BudgetWaiter): void {
    this.#waiters.add(waiter);
  }

  forget(waiter: BudgetWaiter): void {
    this.#waiters.delete(waiter);
  }
}
