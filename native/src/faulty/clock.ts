import { MAX_EVENTS_PER_CALL, START_NS } from './limits.js';
import { seededRandom, type Random } from './random.js';

/** Something that is to happen. */
export interface ClockEvent {
  readonly dueNs: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/**
 * Virtual time, and everything that is to happen in it: engines, disks and whatever else belongs to one world share it. Time moves
 * only from one event to the next. Events at one time come in the order in which they were added; what is random comes from the seed.
 */
export class VirtualClock {
  nowNs = START_NS;
  readonly random: Random;
  /** Looked at before each event: those who can be called from outside the clock. */
  readonly watchers = new Set<() => void>();
  /** Called when something was added: who waits for that goes on. */
  onAdded: (() => void) | null = null;
  readonly #heap: ClockEvent[] = [];
  #order = 0;

  constructor(readonly seed: number) {
    this.random = seededRandom(seed);
  }

  /** An integer, 0 ≤ x < limit. */
  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  after(delayNs: number, run: () => void): ClockEvent {
    return this.at(this.nowNs + delayNs, run);
  }

  at(dueNs: number, run: () => void): ClockEvent {
    const event: ClockEvent = { dueNs: Math.max(dueNs, this.nowNs), order: this.#order++, run, cancelled: false };
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
    this.onAdded?.();
    return event;
  }

  cancel(event: ClockEvent): void {
    event.cancelled = true;
  }

  /** When the next event is due, or Infinity. */
  nextNs(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.cancelled) this.#pop();
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.dueNs;
  }

  /** The next event. False: there is none. */
  step(): boolean {
    this.#look();
    if (this.nextNs() === Infinity) return false;
    const event = this.#pop();
    this.nowNs = event.dueNs;
    event.run();
    return true;
  }

  /** Steps until the condition holds. Throws when nothing is left to happen before. */
  until(done: () => boolean, what = 'the condition'): void {
    for (let events = 0; !done(); events++) {
      if (!this.step()) throw new Error(`nothing happens any more, waiting for ${what}`);
      if (events === MAX_EVENTS_PER_CALL) throw new Error(`${what} did not come about in ${MAX_EVENTS_PER_CALL} events`);
    }
  }

  /** Everything that is due up to then; afterwards it is that time. */
  runUntil(timeNs: number): void {
    this.#look();
    for (let events = 0; this.nextNs() <= timeNs; events++) {
      this.step();
      this.#look();
      if (events === MAX_EVENTS_PER_CALL) throw new Error(`more than ${MAX_EVENTS_PER_CALL} events until ${timeNs}`);
    }
    this.nowNs = Math.max(this.nowNs, timeNs);
  }

  #look(): void {
    for (const watch of this.watchers) watch();
  }

  #pop(): ClockEvent {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.#down();
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

  #down(): void {
    const heap = this.#heap;
    for (let index = 0; ;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2]) if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      if (least === index) return;
      [heap[least], heap[index]] = [heap[index]!, heap[least]!];
      index = least;
    }
  }
}

const before = (a: ClockEvent, b: ClockEvent): boolean => a.dueNs < b.dueNs || (a.dueNs === b.dueNs && a.order < b.order);
