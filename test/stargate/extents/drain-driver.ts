import { crc32c } from '@node-rs/crc32';
import type { Engine } from 'uring-engine';
import { BLOCK_BYTES, BlockState, type ExtentPort, type ReadOwner, type StoreOwner } from '../../../src/stargate/core/ports.js';
import type { BlockStore } from '../../../src/stargate/store/block-store.js';
import { drainOf } from '../store/contract.js';

/** An entry of the modelled log: one block of one segment. */
export interface LogEntry {
  readonly seq: number;
  readonly segment: number;
  readonly block: number;
  readonly state: typeof BlockState.data | typeof BlockState.zero;
}

export const contentOf = (entry: LogEntry): Buffer => {
  const block = Buffer.alloc(BLOCK_BYTES, entry.seq & 0xff);
  block.write(`${entry.segment}/${entry.block}@${entry.seq}`);
  return block;
};

export const crcOf = (entry: LogEntry): number => crc32c(contentOf(entry));

/** Planted bugs of a drain. */
export type DrainMutant = 'none' | 'commit-before-sync';

/**
 * One drain of one segment, as the runtime does it: newest version of each block, written in place, synced, committed. Blocks go out one by
 * one, so that a crash finds any subset of them written.
 */
export class DrainDriver implements ReadOwner, StoreOwner {
  done = false;
  failed: number | string | null = null;
  #left = 0;

  constructor(
    readonly engine: Engine,
    readonly extents: ExtentPort,
    readonly store: BlockStore,
    readonly layer: number,
    readonly segment: number,
    readonly toSeq: number,
    readonly newest: readonly LogEntry[],
    readonly bufferOffset: number,
    readonly mutant: DrainMutant = 'none',
  ) {}

  start(): void {
    if (this.newest.length === 0) return this.#sync();
    this.#left = this.newest.length;
    this.newest.forEach((entry, i) => {
      if (entry.state === BlockState.zero) return this.extents.punch(this.layer, this.segment, entry.block, 1, this, 0);
      const offset = this.bufferOffset + i * BLOCK_BYTES;
      this.engine.arena.bytes.set(contentOf(entry), offset);
      this.extents.write(this.layer, this.segment, entry.block, 1, offset, this, 0);
    });
  }

  onRead(tag: number, result: number): void {
    if (result < 0) {
      this.failed = result;
      return;
    }
    if (tag === 1) {
      if (this.mutant === 'none') this.#commit();
    } else if (--this.#left === 0) {
      if (this.mutant === 'commit-before-sync') this.#commit();
      this.#sync();
    }
  }

  onCommitted(_tag: number, ok: boolean): void {
    if (!ok) this.failed = 'the door was shut';
    this.done = true;
  }

  onStoreFailed(message: string): void {
    this.failed = message;
  }

  onLayerCreated(): void {
    throw new Error('not asked for');
  }

  onStoreFull(): void {
    throw new Error('no disk of these is full');
  }

  #sync(): void {
    this.extents.sync(this.layer, this.segment, this, 1);
  }

  #commit(): void {
    const runs = this.newest.map(entry => ({
      block: entry.block,
      state: entry.state,
      crc: entry.state === BlockState.data ? crcOf(entry) : 0,
      seq: entry.seq,
    }));
    this.store.commitDrain(drainOf(this.layer, this.segment, this.store.drainSeq(this.layer, this.segment), this.toSeq, runs), this, 0);
  }
}
