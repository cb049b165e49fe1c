import assert from 'node:assert/strict';
import { BLOCK_BYTES, type BufferAccess, type BufferPort, type BufferWaiter } from '../core/ports.js';
import { MAX_BUFFER_WAITERS, RESERVED_SHARE } from './limits.js';

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
  readonly reserved: BufferAccess;
  readonly #classes: readonly BufferClass[];

  constructor(baseOffset: number, counts: BufferCounts) {
    assert(baseOffset % BLOCK_BYTES === 0, 'transfer buffers must start at a page');
    let offset = baseOffset;
    this.#classes = BUFFER_CLASS_BYTES.map((bytes, index) => {
      const made = new BufferClass(offset, bytes, counts[index]!);
      offset = made.endOffset;
      return made;
    });
    this.reserved = {
      take: bytes => this.#classFor(bytes).take(true),
      wait: (bytes, waiter, tag) => this.#classFor(bytes).wait(waiter, tag, true),
      give: offset => this.give(offset),
    };
  }

  take(bytes: number): number {
    return this.#classFor(bytes).take(false);
  }

  wait(bytes: number, waiter: BufferWaiter, tag: number): void {
    this.#classFor(bytes).wait(waiter, tag, false);
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

  /** Free buffers of each class, the reserve included. */
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
  /** Buffers that only who has access to the reserve may take. */
  readonly #reserve: number;
  readonly #free: Int32Array;
  /** 1 while taken: a buffer given twice would have two owners. */
  readonly #taken: Uint8Array;
  readonly #waiting = new WaitingLine();
  readonly #waitingReserved = new WaitingLine();
  #handing = false;

  constructor(
    readonly baseOffset: number,
    readonly bytes: number,
    count: number,
  ) {
    assert(Number.isInteger(count) && count > 0, 'each class of transfer buffers needs at least one');
    this.endOffset = baseOffset + bytes * count;
    this.freeCount = count;
    this.#reserve = count === 1 ? 0 : Math.ceil(count * RESERVED_SHARE);
    this.#taken = new Uint8Array(count);
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  take(reserved: boolean): number {
    return this.#lineOf(reserved).count > 0 || !this.#mayTake(reserved) ? -1 : this.#pop();
  }

  wait(waiter: BufferWaiter, tag: number, reserved: boolean): void {
    const line = this.#lineOf(reserved);
    assert(!this.#mayTake(reserved) || line.count > 0, 'wait for a buffer only after take has refused one');
    line.add(waiter, tag);
  }

  give(offset: number): void {
    const index = (offset - this.baseOffset) / this.bytes;
    assert(this.#taken[index] === 1, `buffer ${offset} was not taken`);
    this.#taken[index] = 0;
    this.#free[this.freeCount++] = index;
    // A waiter that gives its buffer back at once must not deepen the stack: the outer loop goes on.
    if (this.#handing) return;
    this.#handing = true;
    while (this.#handOver(true) || this.#handOver(false));
    this.#handing = false;
  }

  #handOver(reserved: boolean): boolean {
    const line = this.#lineOf(reserved);
    if (line.count === 0 || !this.#mayTake(reserved)) return false;
    const tag = line.firstTag;
    line.shift().onBuffer(tag, this.#pop());
    return true;
  }

  #mayTake(reserved: boolean): boolean {
    return this.freeCount > (reserved ? 0 : this.#reserve);
  }

  #lineOf(reserved: boolean): WaitingLine {
    return reserved ? this.#waitingReserved : this.#waiting;
  }

  #pop(): number {
    const index = this.#free[--this.freeCount]!;
    this.#taken[index] = 1;
    return this.baseOffset + index * this.bytes;
  }
}

/** Who waits, first come first served: a ring that grows to what waits at most. */
class WaitingLine {
  count = 0;
  #waiters: (BufferWaiter | null)[] = new Array<BufferWaiter | null>(64).fill(null);
  #tags = new Float64Array(64);
  #head = 0;

  get firstTag(): number {
    return this.#tags[this.#head]!;
  }

  add(waiter: BufferWaiter, tag: number): void {
    if (this.count === this.#waiters.length) this.#grow();
    const at = (this.#head + this.count++) % this.#waiters.length;
    this.#waiters[at] = waiter;
    this.#tags[at] = tag;
  }

  shift(): BufferWaiter {
    const waiter = this.#waiters[this.#head]!;
    this.#waiters[this.#head] = null;
    this.#head = (this.#head + 1) % this.#waiters.length;
    this.count--;
    return waiter;
  }

  #grow(): void {
    const { length } = this.#waiters;
    assert(length < MAX_BUFFER_WAITERS, `more than ${MAX_BUFFER_WAITERS} transfers wait for a buffer`);
    const waiters = new Array<BufferWaiter | null>(length * 2).fill(null);
    const tags = new Float64Array(length * 2);
    for (let i = 0; i < length; i++) {
      waiters[i] = this.#waiters[(this.#head + i) % length]!;
      tags[i] = this.#tags[(this.#head + i) % length]!;
    }
    this.#waiters = waiters;
    this.#tags = tags;
    this.#head = 0;
  }
}
