import assert from 'node:assert/strict';
import { MAX_EXTRA_STAGING, MAX_PIECE_BYTES, RECV_BYTES, STAGING_BYTES } from './limits.js';

/** A fixed set of equal buffers in the arena, by index; lowest first, so that little memory is touched. */
export class BufferSet {
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #taken: Uint8Array;

  constructor(
    readonly baseOffset: number,
    readonly bufferBytes: number,
    readonly count: number,
  ) {
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#freeCount = count;
    this.#taken = new Uint8Array(count);
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  /** -1: none is free. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    const index = this.#free[--this.#freeCount]!;
    this.#taken[index] = 1;
    return index;
  }

  give(index: number): void {
    assert(this.#taken[index] === 1, `buffer ${index} was not taken`);
    this.#taken[index] = 0;
    this.#free[this.#freeCount++] = index;
  }

  offsetOf(index: number): number {
    return this.baseOffset + index * this.bufferBytes;
  }
}

/** Large buffers are pieces of large WRITEs. */
export function largeBufferSet(baseOffset: number, count: number): BufferSet {
  return new BufferSet(baseOffset, MAX_PIECE_BYTES, count);
}

/** The connection's own staging buffer; the shared ones have indices from 0. */
export const OWN_STAGING = -2;

/**
 * Where a connection receives: a window [position, end) in one staging buffer. Payloads stay where they were received and hold a
 * reference on their buffer. When a buffer is used up, what is left over moves to another: its own, or a shared one while there are any.
 * The bytes are those of the arena; this keeps the books.
 */
export class Staging {
  position: number;
  end: number;
  #current = OWN_STAGING;
  #ownReferences = 0;
  /** Shared buffers that this connection holds, and the references on each. */
  readonly #extra = new Int32Array(MAX_EXTRA_STAGING).fill(-1);
  readonly #extraReferences = new Int32Array(MAX_EXTRA_STAGING);

  constructor(
    private readonly bytes: Uint8Array,
    private readonly ownOffset: number,
    private readonly shared: BufferSet,
  ) {
    this.position = this.end = ownOffset;
  }

  /** The buffer that [position, end) lies in, as {@link dereference} wants it. */
  get current(): number {
    return this.#current;
  }

  get availableBytes(): number {
    return this.end - this.position;
  }

  /** Bytes that a recv at `end` may put there. */
  get roomBytes(): number {
    return Math.min(RECV_BYTES, this.#limit() - this.end);
  }

  /** Makes sure that the item of `neededBytes` at `position` fits and that there is room for a recv. False: wait until one's own payloads are taken. */
  prepare(neededBytes: number): boolean {
    const limit = this.#limit();
    const left = this.end - this.position;
    const free = this.#references(this.#current) === 0;
    if (left === 0 && free) {
      this.position = this.end = this.#offsetOf(this.#current);
      return true;
    }
    if (limit - this.position >= neededBytes && limit - this.end >= RECV_BYTES) return true;
    if (free) {
      this.#moveTo(this.#current, left);
      return true;
    }
    const next = this.#takeOther();
    if (next === -1) return limit - this.position >= neededBytes && limit > this.end;
    this.#moveTo(next, left);
    return true;
  }

  reference(): number {
    if (this.#current === OWN_STAGING) this.#ownReferences++;
    else this.#extraReferences[this.#extra.indexOf(this.#current)]!++;
    return this.#current;
  }

  dereference(buffer: number): void {
    if (buffer === OWN_STAGING) {
      assert(this.#ownReferences-- > 0);
      return;
    }
    const at = this.#extra.indexOf(buffer);
    assert(at >= 0 && this.#extraReferences[at]! > 0);
    if (--this.#extraReferences[at]! === 0 && buffer !== this.#current) this.#giveBack(at);
  }

  /** At the end of the connection, when nothing is referenced any more. */
  destroy(): void {
    assert(this.#ownReferences === 0 && this.#extraReferences.every(count => count === 0));
    for (let at = 0; at < MAX_EXTRA_STAGING; at++) if (this.#extra[at] !== -1) this.#giveBack(at);
    this.#current = OWN_STAGING;
    this.position = this.end = this.ownOffset;
  }

  #limit(): number {
    return this.#offsetOf(this.#current) + STAGING_BYTES;
  }

  #offsetOf(buffer: number): number {
    return buffer === OWN_STAGING ? this.ownOffset : this.shared.offsetOf(buffer);
  }

  #references(buffer: number): number {
    return buffer === OWN_STAGING ? this.#ownReferences : this.#extraReferences[this.#extra.indexOf(buffer)]!;
  }

  #takeOther(): number {
    if (this.#current !== OWN_STAGING && this.#ownReferences === 0) return OWN_STAGING;
    const place = this.#extra.indexOf(-1);
    if (place === -1) return -1;
    const buffer = this.shared.take();
    if (buffer !== -1) this.#extra[place] = buffer;
    return buffer;
  }

  #moveTo(buffer: number, left: number): void {
    const offset = this.#offsetOf(buffer);
    if (left > 0) this.bytes.copyWithin(offset, this.position, this.end);
    const before = this.#current;
    this.#current = buffer;
    this.position = offset;
    this.end = offset + left;
    if (before !== buffer && before !== OWN_STAGING && this.#references(before) === 0) this.#giveBack(this.#extra.indexOf(before));
  }

  #giveBack(at: number): void {
    this.shared.give(this.#extra[at]!);
    this.#extra[at] = -1;
    this.#extraReferences[at] = 0;
  }
}
