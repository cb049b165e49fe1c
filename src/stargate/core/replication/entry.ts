import assert from 'node:assert/strict';

/** Who holds a replica of a log: `(node, storeUuid, incarnation)` in one string. Never a node alone: a store that was emptied is another member. */
export type MemberId = string & { readonly __brand: 'MemberId' };

/**
 * An entry of the replicated log. Its identity never changes, whoever sends it again; the term of the sender is told apart from it, in the
 * message. `hash` is the checksum of its header, which contains all the rest; the next entry names it as `prevHash`. So two entries with
 * one hash are the ends of two equal logs.
 */
export interface Entry {
  readonly seq: number;
  readonly creationTerm: number;
  readonly crc: number;
  readonly prevHash: number;
  readonly hash: number;
  /** What the entry says: opaque here. */
  readonly body: unknown;
}

/** What is not an entry yet. */
export interface EntryBody {
  readonly crc: number;
  readonly body: unknown;
}

/** The codec's part: gives a body its place in the log. */
export type EntryMaker = (seq: number, creationTerm: number, prevHash: number, body: EntryBody) => Entry;

export function isSameEntry(a: Entry, b: Entry): boolean {
  return a.seq === b.seq && a.creationTerm === b.creationTerm && a.crc === b.crc && a.prevHash === b.prevHash && a.hash === b.hash;
}

/** The entries of one creation term, which follow each other: up to `lastSeq`. */
export interface TermRun {
  readonly creationTerm: number;
  readonly lastSeq: number;
}

/** What a member has of the log, durable or not: a chain of entries. */
export class LogTail {
  readonly #entries: Entry[] = [];

  get lastSeq(): number {
    return this.#entries.length;
  }

  get lastHash(): number {
    return this.hashAt(this.lastSeq);
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.creationTerm ?? 0;
  }

  at(seq: number): Entry {
    const entry = this.#entries[seq - 1];
    assert(entry !== undefined, `entry ${seq} of a log that ends at ${this.lastSeq}`);
    return entry;
  }

  /** 0 for the beginning; undefined for what is not there. */
  hashAt(seq: number): number {
    return seq === 0 ? 0 : this.at(seq).hash;
  }

  /** The log up to `seq` is the one whose entry `seq` has this hash. */
  holds(seq: number, hash: number): boolean {
    return seq <= this.lastSeq && this.hashAt(seq) === hash;
  }

  /** Whether the entry can be the next one (rules 1 and 4). */
  fits(entry: Entry): boolean {
    return entry.seq === this.lastSeq + 1 && entry.prevHash === this.lastHash && entry.creationTerm >= this.lastTerm;
  }

  append(entry: Entry): void {
    assert(this.fits(entry), `entry ${entry.seq} of term ${entry.creationTerm} does not follow ${this.lastSeq} of term ${this.lastTerm}`);
    this.#entries.push(entry);
  }

  cutAfter(seq: number): void {
    assert(seq <= this.lastSeq);
    this.#entries.length = seq;
  }

  slice(fromSeq: number, toSeq: number): Entry[] {
    return this.#entries.slice(fromSeq - 1, toSeq);
  }

  /** Oldest first: one for each controller that wrote into the log. */
  runs(): TermRun[] {
    const runs: TermRun[] = [];
    for (const { seq, creationTerm } of this.#entries) {
      if (runs.at(-1)?.creationTerm === creationTerm) runs.pop();
      runs.push({ creationTerm, lastSeq: seq });
    }
    return runs;
  }
}

/**
 * How far two logs are equal: one controller wrote all entries of a term, so logs that have an entry (seq, term) in common are equal up to it.
 */
export function commonSeq(a: readonly TermRun[], b: readonly TermRun[]): number {
  for (let i = a.length - 1; i >= 0; i--) {
    const j = b.findIndex(run => run.creationTerm === a[i]!.creationTerm);
    if (j < 0) continue;
    const seq = Math.min(a[i]!.lastSeq, b[j]!.lastSeq);
    if (seq > (a[i - 1]?.lastSeq ?? 0) && seq > (b[j - 1]?.lastSeq ?? 0)) return seq;
  }
  return 0;
}
