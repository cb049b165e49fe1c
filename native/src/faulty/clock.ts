import { DueHeap, type Due } from '../due-heap.js';
import { MAX_EVENTS_PER_CALL, START_NS } from './limits.js';
import { seededRandom, type Random } from './random.js';

/** Something that is to happen. */
export interface ClockEvent extends Due {
  readonly run: () => void;
}

/**
 * Virtual time, and everything that is to happen in it: engines, disks and whatever else belongs to one world share it. Time moves
 * only from one event to the next. Events at one time come in the order in which they were added; what is random comes from the seed.
 */
export class VirtualClock {
  nowNs = START_NS;
  readonly random: Random;
  /** Looked at before each event: those who can be called from outside the clock. */
  readonly watchers: (() => void)[] = [];
  /** Called when something was added: who waits for that goes on. */
  onAdded: (() => void) | null = null;
  readonly #heap = new DueHeap<ClockEvent>();
  #nextId = 0;

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
    const event: ClockEvent = { dueNs: Math.max(dueNs, this.nowNs), id: this.#nextId++, run, cancelled: false };
    this.#heap.add(event);
    this.onAdded?.();
    return event;
  }

  cancel(event: ClockEvent): void {
    event.cancelled = true;
  }

  /** When the next event is due, or Infinity. */
  nextNs(): number {
    return this.#heap.first()?.dueNs ?? Infinity;
  }

  /** The next event. False: there is none. */
  step(): boolean {
    this.#look();
    const event = this.#heap.take();
    if (event === undefined) return false;
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
    for (let i = 0; i < this.watchers.length; i++) this.watchers[i]!();
  }
}
