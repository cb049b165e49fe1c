import type { SegmentIndex } from './block-index.js';
import { SMALL_ZERO_BLOCKS } from './limits.js';

/** Neighbouring blocks of one segment that are written, or zeroed, together. Columns hold a value per block; of a zeroed run only `seq[0]`. */
export interface DrainRun {
  readonly block: number;
  blocks: number;
  readonly isZero: boolean;
  readonly seq: number[];
  readonly lsn: number[];
  readonly crc: number[];
}

export interface DrainPlan {
  /** Ascending, not overlapping. */
  readonly runs: readonly DrainRun[];
}

interface Item {
  readonly block: number;
  readonly blocks: number;
  readonly seq: number;
  readonly lsn: number;
  readonly crc: number;
}

/**
 * What has to be done so that a segment's extents hold everything up to `toSeq`: the newest version of each block, in order. Blocks whose newest
 * version is newer than `toSeq` are left out: the log keeps them for the next round.
 */
export function planDrain(index: SegmentIndex, toSeq: number, maxRunBlocks: number): DrainPlan {
  const items = writtenItems(index, toSeq);
  zeroItems(index, toSeq, items);
  items.sort((a, b) => a.block - b.block);
  const runs: DrainRun[] = [];
  for (const { block, blocks, seq, lsn, crc } of items) {
    const isZero = lsn < 0;
    const last = runs.at(-1);
    const joins = last !== undefined && !isZero && !last.isZero && last.block + last.blocks === block && last.blocks < maxRunBlocks;
    if (joins) {
      last.blocks++;
      last.seq.push(seq);
      last.lsn.push(lsn);
      last.crc.push(crc);
    } else runs.push({ block, blocks, isZero, seq: [seq], lsn: [lsn], crc: [crc] });
  }
  return { runs };
}

function writtenItems(index: SegmentIndex, toSeq: number): Item[] {
  const items: Item[] = [];
  index.blocks.forEach((block, seq, lsn, crc) => {
    if (seq <= toSeq && index.zeroes.at(block) < seq) items.push({ block, blocks: 1, seq, lsn, crc });
  });
  return items;
}

/** Zeroed ranges, without the blocks that were written later. */
function zeroItems(index: SegmentIndex, toSeq: number, items: Item[]): void {
  index.zeroes.forEach((start, end, seq) => {
    if (seq > toSeq) return;
    const written: number[] = [];
    if (end - start <= index.blocks.size + SMALL_ZERO_BLOCKS) {
      for (let block = start; block < end; block++) {
        const place = index.blocks.find(block);
        if (place >= 0 && index.blocks.seqAt(place) > seq) written.push(block);
      }
    } else {
      index.blocks.forEach((block, writtenSeq) => {
        if (block >= start && block < end && writtenSeq > seq) written.push(block);
      });
      written.sort((a, b) => a - b);
    }
    let from = start;
    for (const block of [...written, end]) {
      if (block > from) items.push({ block: from, blocks: block - from, seq, lsn: -1, crc: 0 });
      from = block + 1;
    }
  });
}
