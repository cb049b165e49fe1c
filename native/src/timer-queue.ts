import { DueHeap, type Due } from './due-heap.js';
import { EngineError } from './errors.js';
import { MAX_TIMERS } from './engine.js';

/** Cancelled timers that may wait in the heap in any case. */
const FEW = 64;

/**
 * Timers of one engine: by due time, then by order of arming. A cancelled timer stays in the heap until it is due, or until most of
 * the heap is such. Timers are few and rare; the engines wait for the next one with the time-out of their blocking call.
 */
export class TimerQueue {
  readonly #heap = new DueHeap<Timer>();
  readonly #armed = new Map<number, Timer>();
  #nextId = 1;

  add(dueNs: number, client: number, tag: number): number {
    if (this.#armed.size >= MAX_TIMERS) throw new EngineError('ERR_LIMIT', `more than ${MAX_TIMERS} timers armed`);
    const timer: Timer = { id: this.#nextId++, dueNs, client, tag, cancelled: false };
    this.#armed.set(timer.id, timer);
    this.#heap.add(timer);
    return timer.id;
  }

  cancel(id: number): void {
    const timer = this.#armed.get(id);
    if (timer === undefined) return;
    timer.cancelled = true;
    this.#armed.delete(id);
    if (this.#heap.length > 2 * this.#armed.size + FEW) this.#heap.retain(this.#armed.values());
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
    return this.#heap.first()?.dueNs ?? Infinity;
  }

  /** Takes one timer that is due at `nowNs` and was armed before `beforeId`, or returns null. */
  takeDue(nowNs: number, beforeId = Infinity): Timer | null {
    const timer = this.#heap.first();
    if (timer === undefined || timer.dueNs > nowNs || timer.id >= beforeId) return null;
    this.#heap.take();
    this.#armed.delete(timer.id);
    return timer;
  }

  clear(): void {
    this.#heap.retain([]);
    this.#armed.clear();
  }
}

export interface Timer extends Due {
  readonly client: number;
  readonly tag: number;
}
