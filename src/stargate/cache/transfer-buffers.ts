import assert from 'node:assert/strict';
import { BLOCK_BYTES, type BufferPort, type BufferWaiter } from '../core/ports.js';
import { MAX_BUFFER_WAITERS } from './limits.js';

/** Size classes of transfer buffers. The largest is the largest transfer. */
export const BUFFER_CLASS_BYTES = [4 << 10, 64 << 10, 1 << 20] as const;

/** How many buffers of each class. */
export type BufferCounts = readonly [small: number, medium: number, large: number];

/** Arena bytes that {@link TransferBuffers} of these counts take. */
export function transferBufferBytes(counts: BufferCounts): number {
  return counts.reduce((sum, count, index) => sum + count * BUFFER_CLASS_BYTES[index]!, 0);
}

/**
 * Contiguous, page-aligned memory for transfers, in three classes, from `baseOffset` of the arena on. A transfer takes a buffer of the
 * smallest class that holds it and no other, so that small transfers cannot starve large ones. Who finds none queues and is handed
 * one in turn; nobody overtakes the queue.
 */
export class TransferBuffers implements BufferPort {
  readonly #classes: readonly BufferClass[];

  constructor(baseOffset: number, counts: BufferCounts) {
    assert(baseOffset % BLOCK_BYTES === 0, 'transfer buffers must start at a page');
    let offset = baseOffset;
    this.#classes = BUFFER_CLASS_BYTES.map((bytes, index) => {
      const made = new BufferClass(offset, bytes, counts[index]!);
      offset = made.endOffset;
      return made;
    });
  }

  take(bytes: number): number {
    return this.#classFor(bytes).take();
  }

  wait(bytes: number, waiter: BufferWaiter, tag: number): void {
    this.#classFor(bytes).wait(waiter, tag);
  }

  give(offset: number): void {
    for (const one of this.#classes) {
      if (offset >= one.baseOffset && offset < one.endOffset) {
        one.give(offset);
        return;
      }
    }
    assert.fail(`${offset} is not the offset of a transfer buffer`);
  }

  /** Free buffers of each class. */
  free(): readonly number[] {
    return this.#classes.map(one => one.freeCount);
  }

  #classFor(bytes: number): BufferClass {
    for (let i = 0; i < this.#classes.length; i++) if (bytes <= BUFFER_CLASS_BYTES[i]!) return this.#classes[i]!;
    return assert.fail(`no transfer buffer holds ${bytes} bytes`);
  }
}

class BufferClass {
  freeCount: number;
  readonly endOffset: number;
  readonly #free: Int32Array;
  /** 1 while taken: a buffer given twice would have two owners. */
  readonly #taken: Uint8Array;
  readonly #waiters: (BufferWaiter | null)[] = new Array<BufferWaiter | null>(MAX_BUFFER_WAITERS).fill(null);
  readonly #tags = new Float64Array(MAX_BUFFER_WAITERS);
  #head = 0;
  #waiting = 0;
  #handing = false;

  constructor(
    readonly baseOffset: number,
    readonly bytes: number,
    count: number,
  ) {
    assert(Number.isInteger(count) && count > 0, 'each class of transfer buffers needs at least one');
    this.endOffset = baseOffset + bytes * count;
    this.freeCount = count;
    this.#taken = new Uint8Array(count);
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  take(): number {
    return this.#waiting > 0 || this.freeCount === 0 ? -1 : this.#pop();
  }

  wait(waiter: BufferWaiter, tag: number): void {
    assert(this.#waiting < MAX_BUFFER_WAITERS, `more than ${MAX_BUFFER_WAITERS} transfers wait for a buffer`);
    assert(this.freeCount === 0 || this.#waiting > 0, 'wait for a buffer only after take has refused one');
    const at = (this.#head + this.#waiting++) % MAX_BUFFER_WAITERS;
    this.#waiters[at] = waiter;
    this.#tags[at] = tag;
  }

  give(offset: number): void {
    const index = (offset - this.baseOffset) / this.bytes;
    assert(this.#taken[index] === 1, `buffer ${offset} was not taken`);
    this.#taken[index] = 0;
    this.#free[this.freeCount++] = index;
    // A waiter that gives its buffer back at once must not deepen the stack: the outer loop goes on.
    if (this.#handing) return;
    this.#handing = true;
    while (this.#waiting > 0 && this.freeCount > 0) {
      const at = this.#head;
      const waiter = this.#waiters[at]!;
      this.#waiters[at] = null;
      this.#head = (at + 1) % MAX_BUFFER_WAITERS;
      this.#waiting--;
      waiter.onBuffer(this.#tags[at]!, this.#pop());
    }
    this.#handing = false;
  }

  #pop(): number {
    const index = this.#free[--this.freeCount]!;
    this.#taken[index] = 1;
    return this.baseOffset + index * this.bytes;
  }
}
