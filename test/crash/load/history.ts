import type { UnitContent } from './unit.js';

/** One write (or zeroing) of neighbouring units, from when it is sent. Its outcome is unknown until it is acknowledged. */
export interface WriteRecord {
  readonly seq: number;
  readonly firstUnit: number;
  readonly units: number;
  readonly zero: boolean;
  /** Tick of the acknowledgement; Infinity while there is none. */
  ackedAt: number;
}

/** What a read may give: what its units may hold when it is sent, and all that is written to them until it is answered. */
export interface ReadExpectation {
  readonly firstUnit: number;
  readonly units: number;
  readonly candidates: readonly (readonly WriteRecord[])[];
  /** Kept here, because a write may come and be overwritten again while the read is under way: the read may have met it. */
  readonly since: WriteRecord[];
}

/**
 * What each unit may hold. Writes to a unit may be in flight together, so their order is known only where one was
 * acknowledged before another was sent. A write is *out* once a write that was sent after its acknowledgement is
 * acknowledged itself; all others, unacknowledged ones included, are what a unit may hold: its last acknowledged content or a later one.
 */
export class History {
  readonly #candidates: WriteRecord[][];
  readonly #reads = new Set<ReadExpectation>();
  /** Advances with every send and acknowledgement; a write's tick of sending is its sequence number. */
  #tick = 0;

  constructor(readonly units: number) {
    const initial: WriteRecord = { seq: 0, firstUnit: 0, units, zero: true, ackedAt: 0 };
    this.#candidates = Array.from({ length: units }, () => [initial]);
  }

  send(firstUnit: number, units: number, zero: boolean): WriteRecord {
    const record: WriteRecord = { seq: ++this.#tick, firstUnit, units, zero, ackedAt: Infinity };
    for (let unit = firstUnit; unit < firstUnit + units; unit++) this.#at(unit).push(record);
    for (const read of this.#reads)
      if (firstUnit < read.firstUnit + read.units && read.firstUnit < firstUnit + units) read.since.push(record);
    return record;
  }

  acknowledge(record: WriteRecord): void {
    record.ackedAt = ++this.#tick;
    for (let unit = record.firstUnit; unit < record.firstUnit + record.units; unit++) {
      this.#candidates[unit] = this.#at(unit).filter(other => other.ackedAt > record.seq);
    }
  }

  /** To be ended by {@link endRead}. */
  sendRead(firstUnit: number, units: number): ReadExpectation {
    const candidates = this.#candidates.slice(firstUnit, firstUnit + units).map(list => [...list]);
    const read = { firstUnit, units, candidates, since: [] };
    this.#reads.add(read);
    return read;
  }

  endRead(read: ReadExpectation): void {
    this.#reads.delete(read);
  }

  /** The fault in what a read during the load gave, if there is one. */
  checkRead({ firstUnit, candidates, since }: ReadExpectation, unit: number, content: UnitContent): string | undefined {
    const sinceThen = since.filter(record => record.firstUnit <= unit && unit < record.firstUnit + record.units);
    return fault(unit, content, [...(candidates[unit - firstUnit] ?? []), ...sinceThen]);
  }

  /** The fault in what a unit holds now, with no write in flight, if there is one. */
  check(unit: number, content: UnitContent): string | undefined {
    return fault(unit, content, this.#at(unit));
  }

  /** After a crash: what was seen is what the unit holds from now on; writes without an answer have come to their end. */
  settle(unit: number, content: UnitContent): void {
    const seen = this.#at(unit).find(record => matches(record, content));
    if (seen === undefined) throw new Error(`unit ${unit}: settled on a content that check() refuses`);
    // Its seq stays; as acknowledged it is out as soon as a later write is acknowledged.
    this.#candidates[unit] = [{ ...seen, ackedAt: ++this.#tick }];
  }

  #at(unit: number): WriteRecord[] {
    const list = this.#candidates[unit];
    if (list === undefined) throw new RangeError(`unit ${unit} of ${this.units}`);
    return list;
  }
}

function matches(record: WriteRecord, content: UnitContent): boolean {
  if (content.kind === 'zero') return record.zero;
  return content.kind === 'written' && !record.zero && record.seq === content.seq;
}

function fault(unit: number, content: UnitContent, candidates: readonly WriteRecord[]): string | undefined {
  if (content.kind === 'garbage') return `unit ${unit}: ${content.why}`;
  if (content.kind === 'written' && content.unit !== unit) return `unit ${unit}: holds unit ${content.unit} of write ${content.seq}`;
  if (candidates.some(record => matches(record, content))) return undefined;
  const may = candidates.map(
    record => `${record.zero ? 'zeroes by ' : ''}${record.seq}${record.ackedAt === Infinity ? ' (unacknowledged)' : ''}`,
  );
  const holds = content.kind === 'zero' ? 'zeroes' : `write ${content.seq}`;
  return `unit ${unit}: holds ${holds}, which is older than what was acknowledged; may hold: ${may.join(', ')}`;
}
