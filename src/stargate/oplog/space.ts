import type { Slot } from 'uring-engine';
import { segmentName } from './layout.js';
import { EntryKind, isLocalRecord } from '../core/ports.js';
import { READY_SEGMENTS, RESERVE_SHARES, RESERVED_SEGMENTS } from './limits.js';
import { makeSegment, type Segment, type SegmentPlace } from './segment.js';

/**
 * What an entry may take of a log that is nearly full. Data is stored by drains; what frees space (trims, zeroes) takes little, and may be what a full disk waits for; the
 * vital records are what makes drains, and the log's own space, go on. The last room is for a reset, which gives up all that its vdisk has in the log, and for the
 * mark of a clean end.
 */
export type EntryUse = 'data' | 'freeing' | 'session' | 'vital' | 'last';

export function useOf(kind: EntryKind): EntryUse {
  if (kind === EntryKind.replicaReset) return 'last';
  if (isLocalRecord(kind) || kind === EntryKind.head || kind === EntryKind.promise) return 'vital';
  if (kind === EntryKind.zero || kind === EntryKind.trim) return 'freeing';
  return kind === EntryKind.write || kind === EntryKind.fullImage ? 'data' : 'session';
}

/** The segments of a stream: those that hold the log, oldest first, and those that wait to. */
export class LogSpace {
  readonly live: Segment[];
  readonly free: Segment[];
  #lastNumber: number;

  constructor(
    readonly place: SegmentPlace,
    readonly maxSegments: number,
    recovered: { readonly live: Segment[]; readonly free: Segment[]; readonly lastNumber: number },
  ) {
    this.live = recovered.live;
    this.free = recovered.free;
    this.#lastNumber = recovered.lastNumber;
  }

  get total(): number {
    return this.live.length + this.free.length;
  }

  get tail(): Segment {
    return this.live[this.live.length - 1]!;
  }

  nextNumber(): number {
    return ++this.#lastNumber;
  }

  /** Makes a segment now, also beyond the capacity: a start must not fail because the log is full. */
  make(): void {
    this.free.push(makeSegment(this.place, this.nextNumber()));
  }

  wantsMore(): boolean {
    return this.free.length < READY_SEGMENTS && this.total < this.maxSegments;
  }

  /** Whether an entry may take up a segment more (`turn`), or go on in the one there is, behind `endLsn`. The last free segment is not for data. */
  allows(use: EntryUse, turn: boolean, endLsn: number): boolean {
    const left = this.free.length - (turn ? 1 : 0);
    if (use === 'data') return left >= RESERVED_SEGMENTS;
    if (use === 'last' || left > 0 || turn) return left >= 0;
    return this.tail.limitLsn - endLsn >= this.tail.dataBytes * RESERVE_SHARES[use];
  }

  /** The log goes on at `lsn` in a free segment. Its header is in memory only yet. */
  turn(lsn: number): Segment {
    const next = this.free.shift()!;
    const last = this.live.at(-1);
    if (last !== undefined) last.endLsn = lsn;
    this.live.push(next);
    next.reuse(lsn, this.live.length === 1 ? lsn : this.live[0]!.header.startLsn);
    return next;
  }

  /** Frees the oldest segments that end at or below `lsn`. True: there were some. */
  release(lsn: number): boolean {
    let any = false;
    while (this.live.length > 1 && this.live[0]!.endLsn <= lsn && this.live[0]!.pins === 0) {
      this.free.push(this.live.shift()!);
      any = true;
    }
    return any;
  }

  /**
   * Removes segments that a start made beyond the capacity, once a header on stable storage says that the log begins behind them: before that,
   * the next start would miss them.
   */
  trim(tailLsn: number): void {
    const { files, directory } = this.place;
    while (this.total > this.maxSegments && this.free.length > RESERVED_SEGMENTS) {
      const at = this.free.findIndex(segment => segment.header.startLsn === 0 || segment.endLsn <= tailLsn);
      if (at < 0) return;
      const [segment] = this.free.splice(at, 1);
      files.close(segment!.slot);
      files.remove(`${directory}/${segmentName(segment!.number)}`);
    }
  }

  /** The segment that holds the position, which is not below the oldest. */
  find(lsn: number): Segment {
    const { live } = this;
    let low = 0;
    let high = live.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (live[middle]!.header.startLsn <= lsn) low = middle;
      else high = middle - 1;
    }
    return live[low]!;
  }

  usedBytes(endLsn: number): number {
    let used = endLsn - this.tail.header.startLsn;
    for (let i = 0; i < this.live.length - 1; i++) used += this.live[i]!.dataBytes;
    return used;
  }

  slots(): Slot[] {
    return [...this.live, ...this.free].map(segment => segment.slot);
  }
}
