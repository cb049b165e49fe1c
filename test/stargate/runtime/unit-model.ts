/** What is told apart: a change is named by the number that fills its units; 0 is a zero, and nothing. */
export const UNIT_BYTES = 512;
const UNIT_WORDS = UNIT_BYTES / 4;
/** A unit's changes are looked through for forgettable ones from this many on. */
const PRUNE_AT = 24;

export interface Change {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  readonly startedAt: number;
  endedAt: number;
}

/** Registers that several clients change and read at once, and what a read may give: what was or may have been there at some time between its start and its end. */
export class SharedUnits {
  readonly #changes: Change[][];
  readonly #seen: Seen[];
  readonly #reads = new Set<number>();
  #clock = 0;

  constructor(units: number) {
    this.#changes = Array.from({ length: units }, () => []);
    this.#seen = Array.from({ length: units }, () => new Seen());
  }

  changeStarted(id: number, from: number, to: number): Change {
    const change: Change = { id, from, to, startedAt: ++this.#clock, endedAt: Infinity };
    for (let unit = from; unit < to; unit++) this.#changes[unit]!.push(change);
    return change;
  }

  changeEnded(change: Change): void {
    change.endedAt = ++this.#clock;
    for (let unit = change.from; unit < change.to; unit++) if (this.#changes[unit]!.length >= PRUNE_AT) this.#prune(unit);
  }

  /** Returns the time that names the read. */
  readStarted(): number {
    this.#reads.add(++this.#clock);
    return this.#clock;
  }

  readEnded(startedAt: number): void {
    this.#reads.delete(startedAt);
  }

  /** Throws unless the content may have been there. */
  check(from: number, content: Int32Array, startedAt: number): void {
    this.readEnded(startedAt);
    const endedAt = ++this.#clock;
    for (let i = 0; i < content.length / UNIT_WORDS; i++) {
      const value = content[i * UNIT_WORDS]!;
      const unit = from + i;
      for (let word = 1; word < UNIT_WORDS; word++) {
        const other = content[i * UNIT_WORDS + word]!;
        if (other !== value) throw new Error(`unit ${unit} holds parts of ${value} and ${other}`);
      }
      this.#checkUnit(unit, value, startedAt);
      this.#seen[unit]!.take(value, startedAt, endedAt, unit);
    }
  }

  #checkUnit(unit: number, value: number, startedAt: number): void {
    const changes = this.#changes[unit]!;
    const replaced = (one: { readonly endedAt: number }): boolean =>
      changes.some(other => other.startedAt > one.endedAt && other.endedAt < startedAt);
    if (value === 0 && !replaced({ endedAt: 0 })) return;
    if (changes.some(one => one.id === value && !replaced(one))) return;
    const known = changes.map(one => `${one.id} (${one.startedAt} to ${one.endedAt})`).join(', ');
    throw new Error(`unit ${unit} gave ${value} to a read from ${startedAt} on; its changes: ${known}`);
  }

  /** Forgets what was certainly replaced before anything that may still be read began. */
  #prune(unit: number): void {
    const changes = this.#changes[unit]!;
    const oldestRead = this.#reads.size === 0 ? this.#clock : Math.min(...this.#reads);
    this.#changes[unit] = changes.filter(one => !changes.some(other => other.startedAt > one.endedAt && other.endedAt < oldestRead));
  }
}

/** What reads have shown of one unit: a value that gave way to another one does not come back, unless something was applied twice. */
class Seen {
  /** Value → end of the first read that gave it. */
  readonly #first = new Map<number, number>();
  /** Value → from then on another one was there. */
  readonly #gone = new Map<number, number>();

  take(value: number, startedAt: number, endedAt: number, unit: number): void {
    // Zeroes are many changes, and none.
    if (value !== 0 && (this.#gone.get(value) ?? Infinity) < startedAt)
      throw new Error(`unit ${unit}: ${value} came back after it was replaced`);
    for (const [other, at] of this.#first) {
      if (other === value || at >= startedAt) continue;
      this.#first.delete(other);
      this.#gone.set(other, endedAt);
    }
    if (value !== 0 && !this.#first.has(value)) this.#first.set(value, endedAt);
  }
}
