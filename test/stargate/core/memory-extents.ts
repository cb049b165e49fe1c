import type { Arena } from 'uring-engine';
import { BLOCK_BYTES, type ExtentPort, type ReadOwner } from '../../../src/stargate/core/ports.js';

/** Extents in memory. */
export class MemoryExtents implements ExtentPort {
  readonly blocks = new Map<string, Uint8Array>();
  /** -errno of reads, until it is 0 again. */
  failReads = 0;
  reads = 0;

  constructor(
    readonly arena: Arena,
    readonly later: (run: () => void) => void,
  ) {}

  block(layer: number, segment: number, block: number): Uint8Array | undefined {
    return this.blocks.get(`${layer}/${segment}/${block}`);
  }

  put(layer: number, segment: number, block: number, content: Uint8Array): void {
    this.blocks.set(`${layer}/${segment}/${block}`, content.slice());
  }

  read(layer: number, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.reads++;
    this.later(() => {
      if (this.failReads < 0) return owner.onRead(tag, this.failReads);
      for (let i = 0; i < blocks; i++) {
        this.arena.bytes.set(this.block(layer, segment, block + i) ?? new Uint8Array(BLOCK_BYTES), arenaOffset + i * BLOCK_BYTES);
      }
      owner.onRead(tag, blocks * BLOCK_BYTES);
    });
  }

  write(layer: number, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.later(() => {
      for (let i = 0; i < blocks; i++) {
        this.put(layer, segment, block + i, this.arena.bytes.subarray(arenaOffset + i * BLOCK_BYTES, arenaOffset + (i + 1) * BLOCK_BYTES));
      }
      owner.onRead(tag, blocks * BLOCK_BYTES);
    });
  }

  punch(layer: number, segment: number, block: number, blocks: number, owner: ReadOwner, tag: number): void {
    this.later(() => {
      for (let i = 0; i < blocks; i++) this.blocks.delete(`${layer}/${segment}/${block + i}`);
      owner.onRead(tag, 0);
    });
  }

  sync(_layer: number, _segment: number, owner: ReadOwner, tag: number): void {
    this.later(() => owner.onRead(tag, 0));
  }

  removeLayer(_layer: number, owner: ReadOwner, tag: number): void {
    this.later(() => owner.onRead(tag, 0));
  }
}
