import type { VirtualClock } from 'uring-engine/faulty';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT } from '../../src/stargate/core/ports.js';
import { IoOp } from '../../src/wire/path.js';
import { UNIT_BYTES, UNITS, type Piece } from './history.js';

/** What a client asks for, in bytes of its vdisk. */
export interface Wish {
  readonly op: IoOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** A change that is to be durable when it is answered. */
  readonly fua?: boolean;
}

/** First blocks of the wide range: neighbours in it go over the borders of chunks of the block store and of segments. */
export const WIDE = [262, 4_094, BLOCKS_PER_SEGMENT - 2, BLOCKS_PER_SEGMENT + 64, 2 * BLOCKS_PER_SEGMENT + 5];
const WIDE_BLOCKS = 4;
export const VDISK_BYTES = 3 * BLOCKS_PER_SEGMENT * BLOCK_BYTES;
/** With a part of the wide range, and none of its segments as a whole. */
export const SMALL_VDISK_BYTES = 4_200 * BLOCK_BYTES;
const ALL_UNITS = (1 << UNITS) - 1;

/** What the clients of one vdisk do: mostly to a few blocks that all of them want, so that everything meets everything. */
export class Workload {
  /** Blocks 0 and on. */
  readonly hotBlocks: number;
  /** Every block that is ever looked at, ascending. */
  readonly blocks: readonly number[];
  readonly #readShare: number;
  readonly #wideShare: number;
  readonly #maxBlocks: number;

  constructor(
    readonly clock: VirtualClock,
    hotBlocks?: number,
    readonly hasWholeSegments = true,
    readonly isVolatile = false,
  ) {
    this.hotBlocks = hotBlocks ?? [6, 16, 64][clock.below(3)]!;
    this.#readShare = 0.2 + 0.3 * clock.random();
    this.#wideShare = 0.05 + 0.2 * clock.random();
    this.#maxBlocks = [3, 8, 16][clock.below(3)]!;
    this.blocks = [...Array(this.hotBlocks).keys(), ...WIDE.flatMap(first => Array.from({ length: WIDE_BLOCKS }, (_, i) => first + i))];
  }

  next(): Wish {
    if (!this.isVolatile) return this.#next();
    if (this.clock.below(15) === 0) return { op: IoOp.flush, offsetBytes: 0, lengthBytes: 0 };
    return { ...this.#next(), fua: this.clock.below(8) === 0 };
  }

  #next(): Wish {
    const { clock } = this;
    const dice = clock.random();
    if (dice < this.#readShare) return { op: IoOp.read, ...this.#range(0.3) };
    if (dice < 0.62) return { op: IoOp.write, ...this.#blocks(1) };
    if (dice < 0.74) return { op: IoOp.write, ...this.#blocks(1 + clock.below(this.#maxBlocks)) };
    if (dice < 0.86) return { op: IoOp.write, ...this.#range(1) };
    if (dice < 0.91) return { op: IoOp.zero, ...(clock.below(4) === 0 ? this.#long() : this.#range(0.5)) };
    if (dice < 0.97) return { op: IoOp.trim, ...(clock.below(4) === 0 ? this.#long() : this.#range(0.2)) };
    return { op: IoOp.flush, offsetBytes: 0, lengthBytes: 0 };
  }

  /** Blocks that the operation touches among those that are looked at, and which of their units. */
  pieces({ op, offsetBytes, lengthBytes }: Wish): Piece[] {
    const pieces: Piece[] = [];
    const end = offsetBytes + lengthBytes;
    for (const block of this.blocks) {
      const start = block * BLOCK_BYTES;
      if (end <= start || offsetBytes >= start + BLOCK_BYTES) continue;
      const first = Math.max(0, Math.floor((offsetBytes - start) / UNIT_BYTES));
      const last = Math.min(UNITS, Math.ceil((end - start) / UNIT_BYTES));
      const mask = ((1 << last) - 1) & ~((1 << first) - 1);
      // A trim is a hint: blocks that it covers partly stay as they are.
      if (op !== IoOp.trim || mask === ALL_UNITS) pieces.push({ block, mask });
    }
    return pieces;
  }

  /** Neighbours among the blocks that are looked at. */
  runs(maxBlocks: number): { block: number; blocks: number }[] {
    const runs: { block: number; blocks: number }[] = [];
    for (const block of this.blocks) {
      const last = runs.at(-1);
      if (last !== undefined && last.block + last.blocks === block && last.blocks < maxBlocks) last.blocks++;
      else runs.push({ block, blocks: 1 });
    }
    return runs;
  }

  #first(blocks: number): number {
    const { clock } = this;
    if (clock.random() >= this.#wideShare || blocks > WIDE_BLOCKS) return clock.below(Math.max(1, this.hotBlocks - blocks + 1));
    return WIDE[clock.below(WIDE.length)]! + clock.below(WIDE_BLOCKS - blocks + 1);
  }

  #blocks(blocks: number): { offsetBytes: number; lengthBytes: number } {
    const count = Math.min(blocks, this.hotBlocks);
    return { offsetBytes: this.#first(count) * BLOCK_BYTES, lengthBytes: count * BLOCK_BYTES };
  }

  /** From any unit to any unit, with this chance; otherwise whole blocks. */
  #range(unaligned: number): { offsetBytes: number; lengthBytes: number } {
    const { clock } = this;
    const { offsetBytes, lengthBytes } = this.#blocks(1 + clock.below(Math.min(4, this.#maxBlocks)));
    if (clock.random() >= unaligned) return { offsetBytes, lengthBytes };
    const units = lengthBytes / UNIT_BYTES;
    const first = clock.below(units);
    return { offsetBytes: offsetBytes + first * UNIT_BYTES, lengthBytes: (1 + clock.below(units - first)) * UNIT_BYTES };
  }

  /** Thousands of blocks, of which few are looked at; now and then a whole segment. */
  #long(): { offsetBytes: number; lengthBytes: number } {
    const { clock } = this;
    if (this.hasWholeSegments && clock.below(10) === 0) {
      return { offsetBytes: BLOCKS_PER_SEGMENT * BLOCK_BYTES, lengthBytes: BLOCKS_PER_SEGMENT * BLOCK_BYTES };
    }
    const first = this.#first(1);
    const blocks = 17 + clock.below(400);
    return { offsetBytes: first * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES };
  }
}
