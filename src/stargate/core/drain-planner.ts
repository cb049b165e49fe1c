import type { SegmentIndex } from './block-index.js';
import { SMALL_ZERO_BLOCKS } from './limits.js';
import { BlockState } from './ports.js';

/** How much one plan has: `runBlocks` of a run that is written, `blocks` of all of them, or a little more: one entry of the log is not divided. */
export interface DrainBounds {
  readonly runBlocks: number;
  readonly blocks: number;
}

/** Neighbouring blocks of one segment that are written, or zeroed, together. */
export interface DrainRun {
  readonly block: number;
  blocks: number;
  readonly isZero: boolean;
  /** Where the plan's columns have its first block; each further one that is written has the next place, and a zeroed run has no other. */
  readonly at: number;
}

/** Columns: a place for each written block and for each zeroed run, ascending, not overlapping. */
export interface DrainPlan {
  /** With it the segment's extents hold everything up to this entry. */
  readonly toSeq: number;
  readonly runs: readonly DrainRun[];
  readonly block: Int32Array;
  /** 1 of a written block. */
  readonly blocks: Int32Array;
  readonly state: Uint8Array;
  readonly seq: Float64Array;
  /** -1 of zeroes. */
  readonly lsn: Float64Array;
  readonly crc: Uint32Array;
}

const INITIAL_CAPACITY = 2048;
/** A plan without bounds may have been large: then its columns are not kept. */
const KEPT_CAPACITY = 8192;

/** In the order in which they were found. The columns are kept from plan to plan: all that is bounded is in one turn of a shard, which others wait for. */
class Items {
  count = 0;
  block = new Int32Array(INITIAL_CAPACITY);
  blocks = new Int32Array(INITIAL_CAPACITY);
  seq = new Float64Array(INITIAL_CAPACITY);
  lsn = new Float64Array(INITIAL_CAPACITY);
  crc = new Uint32Array(INITIAL_CAPACITY);
  #order = new Float64Array(INITIAL_CAPACITY);

  add(block: number, blocks: number, seq: number, lsn: number, crc: number): void {
    const { count } = this;
    if (count === this.block.length) this.#grow();
    this.block[count] = block;
    this.blocks[count] = blocks;
    this.seq[count] = seq;
    this.lsn[count] = lsn;
    this.crc[count] = crc;
    this.count = count + 1;
  }

  /** The items' numbers by ascending block, each in the lowest bits of a number. Valid until the next call. */
  order(): Float64Array {
    const { count, block } = this;
    if (this.#order.length < count) this.#order = new Float64Array(block.length);
    const order = this.#order.subarray(0, count);
    let isAscending = true;
    for (let i = 0; i < count; i++) {
      order[i] = block[i]! * NUMBER + i;
      isAscending &&= i === 0 || block[i - 1]! <= block[i]!;
    }
    return isAscending ? order : order.sort();
  }

  #grow(): void {
    const grown = <T extends Int32Array | Uint32Array | Float64Array>(column: T, larger: T): T => {
      larger.set(column);
      return larger;
    };
    const capacity = this.block.length * 2;
    this.block = grown(this.block, new Int32Array(capacity));
    this.blocks = grown(this.blocks, new Int32Array(capacity));
    this.seq = grown(this.seq, new Float64Array(capacity));
    this.lsn = grown(this.lsn, new Float64Array(capacity));
    this.crc = grown(this.crc, new Uint32Array(capacity));
  }
}

let kept = new Items();

/** Changes that are looked at for one that is planned, at the most: what was overwritten since costs a look, and no more. */
const LOOKS_PER_BLOCK = 8;

/**
 * What has to be done next so that a segment's extents hold everything up to `toSeq`, or, where that is more than the bounds, up to an entry before it:
 * the newest version of each block. Blocks whose newest version is newer than the plan are left out: the log keeps them for the next round.
 */
export function planDrain(index: SegmentIndex, toSeq: number, bounds: DrainBounds): DrainPlan {
  const items = kept;
  items.count = 0;
  const upTo = takeWritten(index, toSeq, bounds.blocks, items);
  takeZeroed(index, upTo, items);
  const plan = planOf(items, upTo, bounds.runBlocks);
  if (items.block.length > KEPT_CAPACITY) kept = new Items();
  return plan;
}

/** Gives the entry up to which it came. */
function takeWritten({ changes, blocks, zeroes }: SegmentIndex, toSeq: number, maxBlocks: number, items: Items): number {
  let looks = 0;
  let last = 0;
  for (let i = 0; i < changes.length; i++) {
    const seq = changes.seqAt(i);
    if (seq > toSeq) return toSeq;
    if (seq > last && (items.count >= maxBlocks || looks >= maxBlocks * LOOKS_PER_BLOCK)) return last;
    last = seq;
    const first = changes.blockAt(i);
    const count = changes.blocksAt(i);
    looks += count;
    for (let block = first; block < first + count; block++) {
      const place = blocks.find(block);
      if (place < 0 || blocks.seqAt(place) !== seq || (zeroes.size > 0 && zeroes.at(block) >= seq)) continue;
      items.add(block, 1, seq, blocks.lsnAt(place), blocks.crcAt(place));
    }
  }
  return toSeq;
}

/** Zeroed ranges, without the blocks that were written later. */
function takeZeroed({ blocks, zeroes }: SegmentIndex, toSeq: number, items: Items): void {
  zeroes.forEach((start, end, seq) => {
    if (seq > toSeq) return;
    const written: number[] = [];
    if (end - start <= blocks.size + SMALL_ZERO_BLOCKS) {
      for (let block = start; block < end; block++) {
        const place = blocks.find(block);
        if (place >= 0 && blocks.seqAt(place) > seq) written.push(block);
      }
    } else {
      blocks.forEach((block, writtenSeq) => {
        if (block >= start && block < end && writtenSeq > seq) written.push(block);
      });
      written.sort((a, b) => a - b);
    }
    let from = start;
    for (const block of [...written, end]) {
      if (block > from) items.add(from, block - from, seq, -1, 0);
      from = block + 1;
    }
  });
}

/** Items are numbered in so many bits when they are sorted; blocks of a segment need 20 of the 53 that a number has. */
const NUMBER = 2 ** 32;

function planOf(items: Items, toSeq: number, maxRunBlocks: number): DrainPlan {
  const { count } = items;
  const order = items.order();
  const block = new Int32Array(count);
  const blocks = new Int32Array(count);
  const state = new Uint8Array(count);
  const seq = new Float64Array(count);
  const lsn = new Float64Array(count);
  const crc = new Uint32Array(count);
  const runs: DrainRun[] = [];
  let last: DrainRun | undefined;
  for (let at = 0; at < count; at++) {
    // Its lowest 32 bits: faster than a remainder.
    const from = order[at]! - Math.floor(order[at]! / NUMBER) * NUMBER;
    const isZero = items.lsn[from]! < 0;
    block[at] = items.block[from]!;
    blocks[at] = items.blocks[from]!;
    state[at] = isZero ? BlockState.zero : BlockState.data;
    seq[at] = items.seq[from]!;
    lsn[at] = items.lsn[from]!;
    crc[at] = items.crc[from]!;
    const joins = last !== undefined && !isZero && !last.isZero && last.block + last.blocks === block[at] && last.blocks < maxRunBlocks;
    if (joins) last!.blocks++;
    else runs.push((last = { block: block[at]!, blocks: blocks[at]!, isZero, at }));
  }
  return { toSeq, runs, block, blocks, state, seq, lsn, crc };
}
