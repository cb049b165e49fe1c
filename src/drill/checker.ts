/** A value no write has: the unit is of nobody, or of two. */
export const DAMAGED = -1;

/**
 * One event of one block, which is one unit or several that are told apart: bit n of `mask` is unit n. A value is the number of the operation that wrote
 * the unit; 0: zeroes. `settled`: the operation was given up, and can take effect no more; whether it did is not known.
 *
 * Where memory may be `lost`, a write lasts when it was `wrote` so that it is durable (the default), or when a `flush` has begun after that and was `flushed`. What
 * lasted less may be gone after the loss, the latest first; then each of `clients` is told so by a flush before any of its flushes ends well: `notFlushed`.
 */
export type BlockEvent =
  | { readonly kind: 'write'; readonly op: number; readonly mask: number; readonly value: number; readonly at: number }
  | { readonly kind: 'wrote' | 'settled'; readonly op: number; readonly isDurable?: boolean; readonly at: number }
  | { readonly kind: 'read'; readonly op: number; readonly mask: number; readonly values: readonly number[]; readonly at: number }
  | { readonly kind: 'hasRead' | 'flush'; readonly op: number; readonly at: number }
  | { readonly kind: 'flushed' | 'notFlushed'; readonly op: number; readonly client: number; readonly at: number }
  | { readonly kind: 'lost'; readonly op: number; readonly clients: readonly number[]; readonly at: number };

/** What a block may not have shown. */
export interface Violation {
  readonly block: number;
  /** Number of the operation that saw it. */
  readonly op: number;
  readonly message: string;
}

/** Operations of one block that are open at once: a bit each. */
const MAX_OPEN = 30;
/** Ways that are followed at once before the check is given up. */
const MAX_WAYS = 20_000;

/** One way in which everything so far may have happened. Bits: slots of open operations. */
interface Way {
  readonly state: readonly number[];
  /** Open writes that have taken effect. */
  readonly applied: number;
  /** Open reads whose values the block has had since they began. */
  readonly seen: number;
  /** What a loss of memory may bring back: states of before. None where nothing is ever lost. */
  readonly former: readonly Former[];
  /** Writes were lost, and these clients have not been told so. */
  readonly untold: readonly number[];
}

interface Former {
  readonly state: readonly number[];
  readonly applied: number;
  /** The event that brought the next state. */
  readonly until: number;
}

interface Open {
  readonly slot: number;
  readonly event: Extract<BlockEvent, { kind: 'write' | 'read' }>;
}

/** In place of a value that no read to come sees: what differs only in such is the same. */
const FORGOTTEN = -2;

/**
 * Linearizability of one block, a register whose writes may cover a part of its units: there is an order in which each operation takes effect at once,
 * between its call and its end, and each read sees the block as it is then, whole. An operation without an end may take effect at any time or never, one that
 * was settled before that or never. An operation takes effect once.
 *
 * All possible ways are followed at once, and as lazily as can be: a write takes effect when something has ended that needs it to have. Writes that
 * no read to come sees are in nobody's way: one that is covered by another is said to have come just before it.
 */
export function checkBlock(block: number, events: readonly BlockEvent[], units: number): Violation | null {
  const checker = new BlockChecker(events, units, true);
  for (let i = 0; i < events.length; i++) {
    const message = checker.take(events[i]!, i);
    if (message !== null) return { block, op: events[i]!.op, message: inFull(events, units, i) ?? message };
    if (checker.ways.length > MAX_WAYS) throw new Error(`block ${block}: more than ${MAX_WAYS} ways to explain it`);
  }
  return null;
}

/** The message of the event at `last`, from a check that forgets nothing; null where that has too many ways. */
function inFull(events: readonly BlockEvent[], units: number, last: number): string | null {
  const checker = new BlockChecker(events, units, false);
  let message: string | null = null;
  for (let i = 0; i <= last && checker.ways.length <= MAX_WAYS; i++) message = checker.take(events[i]!, i);
  return message;
}

class BlockChecker {
  ways: Way[];
  readonly #open = new Map<number, Open>();
  /** Where the reads end that end at all. */
  readonly #ends = new Map<number, number>();
  /** Where the last read ends that sees the value. */
  readonly #lastSeen = new Map<number, number>();
  /** Flushes → the event at which they began. */
  readonly #flushes = new Map<number, number>();
  readonly #isVolatile: boolean;
  #at = 0;

  constructor(
    events: readonly BlockEvent[],
    units: number,
    readonly forgets: boolean,
  ) {
    this.#isVolatile = events.some(({ kind }) => kind === 'lost');
    this.ways = [{ state: new Array<number>(units).fill(0), applied: 0, seen: 0, former: [], untold: [] }];
    events.forEach((event, i) => event.kind === 'hasRead' && this.#ends.set(event.op, i));
    for (const event of events) {
      const end = this.#ends.get(event.op);
      if (event.kind !== 'read' || end === undefined) continue;
      for (const value of event.values) this.#lastSeen.set(value, Math.max(end, this.#lastSeen.get(value) ?? 0));
    }
  }

  /** Null, or what is wrong. */
  take(event: BlockEvent, at: number): string | null {
    this.#at = at;
    if (event.kind === 'write' || event.kind === 'read') return this.#begin(event);
    if (event.kind === 'flush') this.#flushes.set(event.op, at);
    else if (event.kind === 'flushed') return this.#flushed(event.op, event.client);
    else if (event.kind === 'notFlushed')
      this.ways = this.#distinct(this.ways.map(way => ({ ...way, untold: way.untold.filter(one => one !== event.client) })));
    else if (event.kind === 'lost') this.#lose(event.clients);
    if (event.kind !== 'wrote' && event.kind !== 'settled' && event.kind !== 'hasRead') return null;
    const one = this.#open.get(event.op)!;
    const bit = 1 << one.slot;
    const before = this.ways;
    if (event.kind === 'hasRead') this.ways = this.#reach(way => (way.seen & bit) !== 0);
    else if (event.kind === 'wrote') this.ways = this.#reach(way => (way.applied & bit) !== 0);
    else if (this.#isSeenLater(one))
      this.ways = [...before.filter(way => (way.applied & bit) === 0), ...this.#reach(way => (way.applied & bit) !== 0)];
    if (this.ways.length === 0) return explain(one, before, this.#open);
    this.#open.delete(event.op);
    const lasts = event.kind === 'wrote' && event.isDurable !== false;
    this.ways = this.#distinct(
      this.ways.map(way => ({
        ...way,
        applied: way.applied & ~bit,
        seen: way.seen & ~bit,
        former: way.former.filter(one => !lasts || (one.applied & bit) !== 0).map(one => ({ ...one, applied: one.applied & ~bit })),
      })),
    );
    return null;
  }

  /** What had ended when it began lasts. */
  #flushed(op: number, client: number): string | null {
    const began = this.#flushes.get(op) ?? -1;
    const told = this.ways.filter(({ untold }) => !untold.includes(client));
    if (told.length === 0) return `flush #${op} has ended well, though writes were lost of which client ${client} has not been told`;
    this.ways = this.#distinct(told.map(way => ({ ...way, former: way.former.filter(({ until }) => until > began) })));
    return null;
  }

  #lose(clients: readonly number[]): void {
    const reads = [...this.#open.values()].filter(({ event }) => event.kind === 'read');
    const ways = this.ways.flatMap((way): Way[] => [
      { ...way, former: [] },
      ...way.former.map(({ state, applied }) => noteReads({ state, applied, seen: way.seen, former: [], untold: clients }, reads)),
    ]);
    this.ways = this.#distinct(ways);
  }

  #begin(event: Open['event']): string | null {
    if (event.kind === 'read' && !this.#ends.has(event.op)) return null;
    if (event.kind === 'read' && event.values.some((value, unit) => value === DAMAGED && (event.mask & (1 << unit)) !== 0)) {
      return `#${event.op} read units that nobody wrote so: ${show(event.values, event.mask)}`;
    }
    const one: Open = { slot: freeSlot(this.#open), event };
    this.#open.set(event.op, one);
    if (event.kind === 'read') this.ways = this.ways.map(way => noteReads(way, [one]));
    return null;
  }

  #isSeenLater({ event }: Open): boolean {
    return event.kind === 'write' && (!this.forgets || (this.#lastSeen.get(event.value) ?? -1) >= this.#at);
  }

  /** From each way: itself if it has got there, else every way to get there by open writes that take effect now. */
  #reach(isThere: (way: Way) => boolean): Way[] {
    if (this.ways.every(isThere)) return this.ways;
    const open = [...this.#open.values()];
    const writes = open.filter(({ event }) => event.kind === 'write');
    const reads = open.filter(({ event }) => event.kind === 'read');
    const there: Way[] = [];
    const known = new Set<string>();
    const left = [...this.ways];
    for (let way = left.pop(); way !== undefined; way = left.pop()) {
      if (isThere(way)) {
        there.push(way);
        continue;
      }
      for (const write of writes) {
        if ((way.applied & (1 << write.slot)) !== 0) continue;
        const next = noteReads(this.#apply(way, write, writes), reads);
        const key = `${next.state.join()}|${next.applied}|${next.seen}|${next.untold.join()}|${next.former.map(keyOf).join()}`;
        if (known.has(key)) continue;
        known.add(key);
        left.push(next);
      }
    }
    return there;
  }

  /** The write takes effect, and just before it those that it covers and nobody sees. */
  #apply(way: Way, write: Open, writes: readonly Open[]): Way {
    const { mask } = write.event;
    const value = this.#isSeenLater(write) ? (write.event as { value: number }).value : FORGOTTEN;
    const covered = writes.filter(
      other => (way.applied & (1 << other.slot)) === 0 && (other.event.mask & ~mask) === 0 && !this.#isSeenLater(other) && other !== write,
    );
    let applied = way.applied | (1 << write.slot);
    for (const other of covered) applied |= 1 << other.slot;
    const former = this.#isVolatile ? this.#formerWith(way, covered) : way.former;
    return { ...way, state: written(way.state, mask, value), applied, former };
  }

  /** The state that is over now, and those that came in between. */
  #formerWith({ state, applied, former }: Way, covered: readonly Open[]): Former[] {
    const all = [...former, { state, applied, until: this.#at }];
    for (const { slot, event } of covered) {
      const last = all.at(-1)!;
      all.push({ state: written(last.state, event.mask, FORGOTTEN), applied: last.applied | (1 << slot), until: this.#at });
    }
    return all;
  }

  /** Without those that another one makes needless: the same for all who are to come, and nothing done that it has not done too. */
  #distinct(ways: readonly Way[]): Way[] {
    let seenLater = 0;
    for (const one of this.#open.values()) if (this.#isSeenLater(one)) seenLater |= 1 << one.slot;
    const groups = new Map<string, Way[]>();
    for (const { state, applied, seen, former, untold } of ways) {
      const way = { state: this.#remembered(state), applied, seen, former: this.#formers(former), untold };
      const key = `${way.state.join()}|${applied & seenLater}|${untold.join()}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [way]);
      else if (!group.some(other => covers(other, way))) groups.set(key, [...group.filter(other => !covers(way, other)), way]);
    }
    return [...groups.values()].flat();
  }

  #remembered(state: readonly number[]): readonly number[] {
    return state.map(value => (!this.forgets || (this.#lastSeen.get(value) ?? -1) > this.#at ? value : FORGOTTEN));
  }

  /** Each only once, as late as it was. */
  #formers(former: readonly Former[]): readonly Former[] {
    if (former.length === 0) return former;
    const latest = new Map<string, Former>();
    for (const one of former) {
      const state = this.#remembered(one.state);
      const key = `${state.join()}|${one.applied}`;
      if ((latest.get(key)?.until ?? -1) < one.until) latest.set(key, { ...one, state });
    }
    return [...latest.values()];
  }
}

const written = (state: readonly number[], mask: number, value: number): number[] =>
  state.map((old, unit) => ((mask & (1 << unit)) !== 0 ? value : old));

const keyOf = ({ state, applied, until }: Former): string => `${state.join()}/${applied}/${until}`;

function covers(a: Way, b: Way): boolean {
  const isAhead = (a.seen & b.seen) === b.seen && (a.applied & b.applied) === b.applied;
  if (!isAhead || b.former.length === 0) return isAhead;
  const has = new Set(a.former.map(keyOf));
  return b.former.every(one => has.has(keyOf(one)));
}

/** A read may have taken place as soon as the block is as it saw it: that costs nothing. */
function noteReads(way: Way, reads: readonly Open[]): Way {
  let { seen } = way;
  for (const { slot, event } of reads) {
    if (event.kind === 'read' && way.state.every((value, unit) => (event.mask & (1 << unit)) === 0 || value === event.values[unit]))
      seen |= 1 << slot;
  }
  return seen === way.seen ? way : { ...way, seen };
}

function freeSlot(open: ReadonlyMap<number, Open>): number {
  let used = 0;
  for (const { slot } of open.values()) used |= 1 << slot;
  for (let slot = 0; slot < MAX_OPEN; slot++) if ((used & (1 << slot)) === 0) return slot;
  throw new Error(`more than ${MAX_OPEN} operations on one block at once`);
}

function explain({ event }: Open, ways: readonly Way[], open: ReadonlyMap<number, Open>): string {
  const states = [...new Set(ways.map(way => show(way.state)))].slice(0, 4);
  const writes = [...open.values()].filter(one => one.event.kind === 'write').map(one => `#${one.event.op}`);
  const could = `it could be ${states.join(' or ')}, with ${writes.length === 0 ? 'no write' : writes.join(', ')} open`;
  if (event.kind === 'read') return `#${event.op} read ${show(event.values, event.mask)}; ${could}`;
  return `#${event.op} has ended, but cannot have taken effect; ${could}`;
}

/** One number where a block is of one write. */
function show(values: readonly number[], mask = -1): string {
  const shown = values.filter((_, unit) => (mask & (1 << unit)) !== 0);
  return shown.every(value => value === shown[0]) ? `[${shown[0]}]` : `[${shown.join(' ')}]`;
}
