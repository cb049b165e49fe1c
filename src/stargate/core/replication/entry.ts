import assert from 'node:assert/strict';
import type { MemberId, TermRun } from '../../../wire/replicate.js';

export type { MemberId, TermRun };

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

/** Where a log begins: all up to `seq` is committed, and in the extents. */
export interface LogBase {
  readonly seq: number;
  readonly hash: number;
  readonly term: number;
}

export const EMPTY_BASE: LogBase = { seq: 0, hash: 0, term: 0 };

/** What a member has of the log, durable or not: a chain of entries behind its base. */
export class LogTail {
  #base: LogBase;
  #entries: Entry[] = [];
  /** Oldest first; the first one stands for all that the base does. */
  #runs: { creationTerm: number; lastSeq: number }[] = [];

  constructor(base: LogBase = EMPTY_BASE) {
    this.#base = base;
    this.#startRuns();
  }

  get base(): LogBase {
    return this.#base;
  }

  get lastSeq(): number {
    return this.#base.seq + this.#entries.length;
  }

  get lastHash(): number {
    return this.#entries.at(-1)?.hash ?? this.#base.hash;
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.creationTerm ?? this.#base.term;
  }

  at(seq: number): Entry {
    const entry = this.#entries[seq - this.#base.seq - 1];
    assert(entry !== undefined, `entry ${seq} of a log from ${this.#base.seq} to ${this.lastSeq}`);
    return entry;
  }

  /** Of an entry that is there, or of the base. */
  hashAt(seq: number): number {
    return seq === this.#base.seq ? this.#base.hash : this.at(seq).hash;
  }

  /** The log up to `seq` is the one whose entry `seq` has this hash. Of what lies before the base nothing is known. */
  holds(seq: number, hash: number): boolean {
    return seq >= this.#base.seq && seq <= this.lastSeq && this.hashAt(seq) === hash;
  }

  /** Whether the entry can be the next one (rules 1 and 4). */
  fits(entry: Entry): boolean {
    return entry.seq === this.lastSeq + 1 && entry.prevHash === this.lastHash && entry.creationTerm >= this.lastTerm;
  }

  append(entry: Entry): void {
    assert(this.fits(entry), `entry ${entry.seq} of term ${entry.creationTerm} does not follow ${this.lastSeq} of term ${this.lastTerm}`);
    this.#entries.push(entry);
    const last = this.#runs.at(-1);
    if (last?.creationTerm === entry.creationTerm) last.lastSeq = entry.seq;
    else this.#runs.push({ creationTerm: entry.creationTerm, lastSeq: entry.seq });
  }

  cutAfter(seq: number): void {
    assert(seq >= this.#base.seq && seq <= this.lastSeq);
    this.#entries.length = seq - this.#base.seq;
    while (this.#runs.length > 0 && (this.#runs.at(-2)?.lastSeq ?? 0) >= seq) this.#runs.pop();
    const last = this.#runs.at(-1);
    if (last !== undefined) last.lastSeq = Math.min(last.lastSeq, seq);
  }

  /** Entries up to `seq` are not needed any more. */
  trimTo(seq: number): void {
    if (seq <= this.#base.seq) return;
    const { hash, creationTerm } = this.at(seq);
    this.#entries = this.#entries.slice(seq - this.#base.seq);
    this.#base = { seq, hash, term: creationTerm };
    while (this.#runs[0]!.lastSeq < seq) this.#runs.shift();
  }

  /** Goes on behind what another replica has. */
  reset(base: LogBase): void {
    this.#base = base;
    this.#entries = [];
    this.#startRuns();
  }

  slice(fromSeq: number, toSeq: number): Entry[] {
    return this.#entries.slice(Math.max(0, fromSeq - this.#base.seq - 1), Math.max(0, toSeq - this.#base.seq));
  }

  /** Oldest first: one for each controller that wrote into the log. */
  runs(): TermRun[] {
    return this.#runs.map(run => ({ ...run }));
  }

  #startRuns(): void {
    const { seq, term } = this.#base;
    this.#runs = seq > 0 ? [{ creationTerm: term, lastSeq: seq }] : [];
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
