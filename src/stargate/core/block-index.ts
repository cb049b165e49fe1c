import { RangeMap } from '../../base/range-map.js';
import { BlockTable } from './block-table.js';
import { ChangeQueue } from './change-queue.js';
import { SMALL_ZERO_BLOCKS } from './limits.js';
import { BLOCKS_PER_SEGMENT } from './ports.js';

/** Where the newest committed content of a block is, as far as the log knows. */
export const Where = { notHere: 0, log: 1, zero: 2 } as const;

/** What {@link BlockIndex.find} found last; read at once. */
export interface FoundBlock {
  seq: number;
  lsn: number;
  crc: number;
}

/** What one vdisk segment has in the log and not yet in the extents. */
export class SegmentIndex {
  readonly blocks = new BlockTable();
  /** What of `blocks` came when; some of it may be overtaken. */
  readonly changes = new ChangeQueue();
  /** Zeroed ranges of blocks → seq. */
  readonly zeroes = new RangeMap();

  get isEmpty(): boolean {
    return this.blocks.size === 0 && this.zeroes.size === 0;
  }

  set(block: number, seq: number, lsn: number, crc: number): void {
    this.blocks.set(block, seq, lsn, crc);
    this.changes.push(seq, block, 1);
  }

  /** Everything up to `seq` is in the extents. */
  drained(seq: number): void {
    const { blocks, changes } = this;
    for (; changes.length > 0 && changes.seqAt(0) <= seq; changes.dropOldest()) {
      const first = changes.blockAt(0);
      for (let block = first, end = first + changes.blocksAt(0); block < end; block++) {
        const place = blocks.find(block);
        if (place >= 0 && blocks.seqAt(place) <= seq) blocks.remove(place);
      }
    }
    this.zeroes.removeUpTo(seq);
  }
}

/**
 * Committed blocks of one vdisk that are not drained yet. A written block is known by (seq, lsn, crc), a zeroed range by its seq;
 * where both know a block the newer seq wins.
 */
export class BlockIndex {
  readonly found: FoundBlock = { seq: 0, lsn: 0, crc: 0 };
  readonly #segments = new Map<number, SegmentIndex>();
  #lastSegment = -1;
  #last: SegmentIndex | undefined;

  /** Fills `found` for {@link Where}.log and zero. `block`: number in the vdisk. */
  find(block: number): number {
    const index = this.segment(Math.floor(block / BLOCKS_PER_SEGMENT));
    if (index === undefined) return Where.notHere;
    const inSegment = block % BLOCKS_PER_SEGMENT;
    const place = index.blocks.find(inSegment);
    const zeroSeq = index.zeroes.size === 0 ? 0 : index.zeroes.at(inSegment);
    if (place < 0 && zeroSeq === 0) return Where.notHere;
    const { found } = this;
    const seq = place < 0 ? 0 : index.blocks.seqAt(place);
    if (zeroSeq > seq) {
      found.seq = zeroSeq;
      return Where.zero;
    }
    found.seq = seq;
    found.lsn = index.blocks.lsnAt(place);
    found.crc = index.blocks.crcAt(place);
    return found.lsn < 0 ? Where.zero : Where.log;
  }

  setWritten(block: number, seq: number, lsn: number, crc: number): void {
    this.#ensure(Math.floor(block / BLOCKS_PER_SEGMENT)).set(block % BLOCKS_PER_SEGMENT, seq, lsn, crc);
  }

  setZero(block: number, blocks: number, seq: number): void {
    for (let at = block, end = block + blocks; at < end;) {
      const segment = Math.floor(at / BLOCKS_PER_SEGMENT);
      const stop = Math.min(end, (segment + 1) * BLOCKS_PER_SEGMENT);
      this.setSegmentZero(segment, at - segment * BLOCKS_PER_SEGMENT, stop - at, seq);
      at = stop;
    }
  }

  setSegmentZero(segment: number, inSegment: number, blocks: number, seq: number): void {
    const index = this.#ensure(segment);
    if (blocks > SMALL_ZERO_BLOCKS) index.zeroes.assign(inSegment, inSegment + blocks, seq);
    else for (let i = 0; i < blocks; i++) index.set(inSegment + i, seq, -1, 0);
  }

  segment(segment: number): SegmentIndex | undefined {
    if (segment === this.#lastSegment) return this.#last;
    this.#lastSegment = segment;
    this.#last = this.#segments.get(segment);
    return this.#last;
  }

  /** The segment has been drained through `seq`. */
  drained(segment: number, seq: number): void {
    const index = this.#segments.get(segment);
    if (index === undefined) return;
    index.drained(seq);
    if (index.isEmpty) {
      this.#segments.delete(segment);
      this.#lastSegment = -1;
    }
  }

  /** Segments with something to drain, ascending. */
  segments(): number[] {
    return [...this.#segments.keys()].sort((a, b) => a - b);
  }

  get isEmpty(): boolean {
    return this.#segments.size === 0;
  }

  /** Blocks with data in the log. The most: of those in a long range that was zeroed since, some are counted until the drain; and the extents may have older data of a block. */
  get writtenBlocks(): number {
    let count = 0;
    for (const { blocks } of this.#segments.values()) count += blocks.written;
    return count;
  }

  #ensure(segment: number): SegmentIndex {
    let index = this.segment(segment);
    if (index === undefined) {
      index = new SegmentIndex();
      this.#segments.set(segment, index);
      this.#last = index;
    }
    return index;
  }
}
