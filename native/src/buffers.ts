import type { Arena } from './arena.js';
import { EngineError } from './errors.js';

/** A part of an arena that is handed out from the start to the end and never taken back: set-up memory. */
export class ArenaRegion {
  readonly #end: number;
  #next: number;

  constructor(
    readonly arena: Arena,
    startOffset = 0,
    endOffset: number = arena.byteLength,
  ) {
    if (!(startOffset >= 0 && startOffset <= endOffset && endOffset <= arena.byteLength)) {
      throw new EngineError('ERR_ARENA_BOUNDS', `${startOffset} to ${endOffset} is no part of an arena of ${arena.byteLength} bytes`);
    }
    this.#next = startOffset;
    this.#end = endOffset;
  }

  get availableBytes(): number {
    return this.#end - this.#next;
  }

  /** Offset of `bytes` bytes; `alignment` is a power of two. Throws ERR_ARENA_EXHAUSTED. */
  take(bytes: number, alignment = 4096): number {
    const offset = Math.ceil(this.#next / alignment) * alignment;
    if (!(Number.isSafeInteger(bytes) && bytes >= 0 && offset + bytes <= this.#end)) {
      throw new EngineError(
        'ERR_ARENA_EXHAUSTED',
        `${bytes} bytes wanted, ${this.availableBytes} left in this part of the arena: make it larger`,
      );
    }
    this.#next = offset + bytes;
    return offset;
  }

  /** Equal parts of all that is left, each starting at a huge page where there is room for it. */
  split(parts: number): ArenaRegion[] {
    const unit = this.availableBytes / parts > 1 << 23 ? 1 << 21 : 4096;
    const first = Math.ceil(this.#next / unit) * unit;
    const each = Math.max(0, Math.floor((this.#end - first) / parts / unit) * unit);
    if (each === 0) throw new EngineError('ERR_ARENA_EXHAUSTED', `${this.availableBytes} bytes are too few for ${parts} parts`);
    this.#next = this.#end;
    return Array.from({ length: parts }, (_, i) => new ArenaRegion(this.arena, first + i * each, first + (i + 1) * each));
  }
}

const POISON = 0xa5;
const debug = process.env['GATEPATH_DEBUG_ARENA'] === '1';

/**
 * Aligned buffers of one size. `take` and `give` move ownership; a buffer has one owner at a time. With GATEPATH_DEBUG_ARENA=1 free
 * buffers are poisoned, and a buffer given twice, given to the wrong pool, or written after it was given is found.
 */
export class BufferPool {
  readonly #free: Float64Array;
  #count: number;
  readonly #first: number;
  readonly #stride: number;
  readonly #isFree: Uint8Array;

  constructor(
    readonly region: ArenaRegion,
    readonly bufferBytes: number,
    readonly capacity: number,
    alignment = 4096,
  ) {
    this.#stride = Math.ceil(bufferBytes / alignment) * alignment;
    this.#first = region.take(this.#stride * capacity, alignment);
    this.#free = new Float64Array(capacity);
    this.#isFree = new Uint8Array(capacity).fill(1);
    for (let i = 0; i < capacity; i++) this.#free[i] = this.#first + (capacity - 1 - i) * this.#stride;
    this.#count = capacity;
    if (debug) this.#bytes(this.#first, this.#stride * capacity).fill(POISON);
  }

  get available(): number {
    return this.#count;
  }

  /** Offset of a buffer, or -1 when all are out. */
  take(): number {
    if (this.#count === 0) return -1;
    const offset = this.#free[--this.#count]!;
    if (debug) this.#checkTaken(offset);
    return offset;
  }

  give(offset: number): void {
    if (debug) this.#checkGiven(offset);
    if (this.#count === this.capacity)
      throw new EngineError('ERR_ARGUMENT', `buffer at ${offset}: all buffers of the pool are back already`);
    this.#free[this.#count++] = offset;
  }

  #checkTaken(offset: number): void {
    this.#isFree[(offset - this.#first) / this.#stride] = 0;
    const dirty = this.#bytes(offset, this.bufferBytes).findIndex(byte => byte !== POISON);
    if (dirty >= 0) throw new EngineError('ERR_ARGUMENT', `buffer at ${offset}: byte ${dirty} was written after the buffer was given back`);
  }

  #checkGiven(offset: number): void {
    const index = (offset - this.#first) / this.#stride;
    if (!Number.isInteger(index) || index < 0 || index >= this.capacity)
      throw new EngineError('ERR_ARGUMENT', `${offset} is not a buffer of this pool`);
    if (this.#isFree[index] === 1) throw new EngineError('ERR_ARGUMENT', `buffer at ${offset} was given back twice`);
    this.#isFree[index] = 1;
    this.#bytes(offset, this.bufferBytes).fill(POISON);
  }

  #bytes(offset: number, length: number): Uint8Array {
    return this.region.arena.bytes.subarray(offset, offset + length);
  }
}
