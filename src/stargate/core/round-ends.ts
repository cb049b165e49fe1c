/** A place in a vdisk's log at which a drain round may end. */
export interface RoundEnd {
  /** Its last entry. */
  readonly seq: number;
  /** That entry's header checksum. */
  readonly hash: number;
  /** Position of the first entry behind it; -1: there is none yet. */
  nextLsn: number;
}

/**
 * Where drain rounds of a vdisk end: some part of the log apart, so that each gives room back, and what is changed again soon is drained once. Without them a
 * round goes to the end of the log, and gives nothing back before all of that is drained.
 */
export class RoundEnds {
  readonly #ends: RoundEnd[] = [];
  /** Where the last one is, or the first entry. */
  #lsn = -1;

  constructor(readonly apartBytes: number) {}

  /** The log goes on with an entry at `lsn`. */
  passed(seq: number, hash: number, lsn: number): void {
    const last = this.#ends.at(-1);
    if (last !== undefined && last.nextLsn < 0) last.nextLsn = lsn;
    if (this.#lsn < 0) this.#lsn = lsn;
    if (lsn - this.#lsn < this.apartBytes) return;
    this.#lsn = lsn;
    this.#ends.push({ seq, hash, nextLsn: -1 });
  }

  /** The next one; undefined: the log ends before there is one. */
  after(drainedSeq: number): RoundEnd | undefined {
    while (this.#ends.length > 0 && this.#ends[0]!.seq <= drainedSeq) this.#ends.shift();
    return this.#ends[0];
  }

  /** Where the round ends that begins now; `toEnd`, and without one before it: at the log's end. */
  begin(drainedSeq: number, lastSeq: number, lastHash: number, toEnd: boolean): RoundEnd {
    const next = this.after(drainedSeq);
    if (next !== undefined && !toEnd) return next;
    const last = this.#ends.at(-1);
    if (last?.seq === lastSeq) return last;
    const end = { seq: lastSeq, hash: lastHash, nextLsn: -1 };
    this.#ends.push(end);
    return end;
  }
}
