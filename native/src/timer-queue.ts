import { EngineError } from './errors.js';
import { MAX_TIMERS } from './engine.js';

/** Cancelled timers that may wait in the heap in any case. */
const FEW = 64;

/**
 * Timers of one engine: a binary heap by due time, then by order of arming. A cancelled timer stays in the heap until it is due, or
 * until most of the heap is such. Timers are few and rare; the engines wait for the next one with the time-out of their blocking call.
 */
export class TimerQueue {
  readonly #heap: Timer[] = [];
  readonly #armed = new Map<number, Timer>();
  #nextId = 1;

  add(dueNs: number, client: number, tag: number): number {
    if (this.#armed.size >= MAX_TIMERS) throw new EngineError('ERR_LIMIT', `more than ${MAX_TIMERS} timers armed`);
    const timer: Timer = { id: this.#nextId++, dueNs, client, tag, cancelled: false };
    this.#armed.set(timer.id, timer);
    this.#heap.push(timer);
    this.#up(this.#heap.length - 1);
    return timer.id;
  }

  cancel(id: number): void {
    const timer = this.#armed.get(id);
    if (timer === undefined) return;
    timer.cancelled = true;
    this.#armed.delete(id);
    if (this.#heap.length > 2 * this.#armed.size + FEW) this.#compact();
  }

  /** Entries of the heap, cancelled ones that are still in it included. */
  get length(): number {
    return this.#heap.length;
  }

  /** Timers armed from now on have this id or a higher one. */
  get nextId(): number {
    return this.#nextId;
  }

  /** When the next timer is due, or Infinity. */
  nextNs(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.cancelled) this.#pop();
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.dueNs;
  }

  /** Takes one timer that is due at `nowNs` and was armed before `beforeId`, or returns null. */
  takeDue(nowNs: number, beforeId = Infinity): Timer | null {
    if (this.nextNs() > nowNs || this.#heap.length === 0 || this.#heap[0]!.id >= beforeId) return null;
    const timer = this.#pop();
    this.#armed.delete(timer.id);
    return timer;
  }

  clear(): void {
    this.#heap.length = 0;
    this.#armed.clear();
  }

  #compact(): void {
    const live = [...this.#armed.values()].sort((a, b) => (before(a, b) ? -1 : 1));
    this.#heap.length = 0;
    // A sorted row is a heap.
    this.#heap.push(...live);
  }

  #pop(): Timer {
    const top = this.#heap[0]!;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#down(0);
    }
    return top;
  }

  #up(index: number): void {
    const heap = this.#heap;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (before(heap[parent]!, heap[index]!)) return;
      [heap[parent], heap[index]] = [heap[index]!, heap[parent]!];
      index = parent;
    }
  }

  #down(index: number): void {
    const heap = this.#heap;
    for (;;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2]) {
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      }
      if (least === index) return;
      [heap[least], heap[index]] = [heap[index]!, heap[least]!];
      index = least;
    }
  }
}

export interface Timer {
  readonly id: number;
  readonly dueNs: number;
  readonly client: number;
  readonly tag: number;
  cancelled: boolean;
}

function before(a: Timer, b: Timer): boolean {
  return a.dueNs < b.dueNs || (a.dueNs === b.dueNs && a.id < b.id);
}
