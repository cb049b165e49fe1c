import assert from 'node:assert/strict';

const INITIAL_CAPACITY = 16;

/**
 * Changes of one segment in the order of the log: (seq, first block, blocks), 16 bytes each, in a ring that is doubled when it is full. A drain takes the
 * oldest and looks at nothing else. Some of what is here may be overtaken: the block table knows what is newest.
 */
export class ChangeQueue {
  #seqs = new Float64Array(INITIAL_CAPACITY);
  #blocks = new Int32Array(INITIAL_CAPACITY);
  #counts = new Int32Array(INITIAL_CAPACITY);
  #first = 0;
  length = 0;

  /** `seq`: not below any that is here. */
  push(seq: number, block: number, blocks: number): void {
    if (this.length > 0) {
      const last = this.#place(this.length - 1);
      assert(seq >= this.#seqs[last]!, `change ${seq} comes after ${this.#seqs[last]}`);
      // Blocks of one entry come one after the other.
      if (seq === this.#seqs[last] && block === this.#blocks[last]! + this.#counts[last]!) {
        this.#counts[last]! += blocks;
        return;
      }
    }
    if (this.length === this.#seqs.length) this.#grow();
    const place = this.#place(this.length++);
    this.#seqs[place] = seq;
    this.#blocks[place] = block;
    this.#counts[place] = blocks;
  }

  /** Of the `i`-th, from the oldest on. */
  seqAt(i: number): number {
    return this.#seqs[this.#place(i)]!;
  }
  blockAt(i: number): number {
    return this.#blocks[this.#place(i)]!;
  }
  blocksAt(i: number): number {
    return this.#counts[this.#place(i)]!;
  }

  dropOldest(): void {
    this.#first = this.#place(1);
    this.length--;
  }

  #place(i: number): number {
    return (this.#first + i) & (this.#seqs.length - 1);
  }

  #grow(): void {
    const capacity = this.#seqs.length * 2;
    const seqs = new Float64Array(capacity);
    const blocks = new Int32Array(capacity);
    const counts = new Int32Array(capacity);
    for (let i = 0; i < this.length; i++) {
      seqs[i] = this.seqAt(i);
      blocks[i] = this.blockAt(i);
      counts[i] = this.blocksAt(i);
    }
    this.#seqs = seqs;
    this.#blocks = blocks;
    this.#counts = counts;
    this.#first = 0;
  }
}
