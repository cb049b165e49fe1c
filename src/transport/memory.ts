import { CHUNK_BYTES, DEFAULT_MEMORY, LARGE_BYTES, SEND_AREA_BYTES } from './limits.js';

const SMALL_BYTES = 4 << 10;
const MEDIUM_BYTES = 256 << 10;
/** Ascending. */
const CLASS_BYTES = [SMALL_BYTES, CHUNK_BYTES, MEDIUM_BYTES, LARGE_BYTES] as const;
const CLASSES = CLASS_BYTES.length;

export interface MemoryCounts {
  readonly sendAreas: number;
  readonly small: number;
  readonly chunks: number;
  readonly medium: number;
  readonly large: number;
}

/** One connection's part in the shard's buffers. */
export interface MemoryShare {
  /** Buffers held, by class; kept by {@link TransportMemory}. */
  readonly held: Int32Array;
  /** Something has been given back since {@link TransportMemory.wait}: try again. */
  onMemory(): void;
}

export function newShareCounts(): Int32Array {
  return new Int32Array(CLASSES);
}

/**
 * The arena memory of a shard's transports: buffers in four classes, shared by all connections, counted references. A
 * connection gets a buffer only while it holds fewer of the class than are free: so a connection that holds none finds one however
 * greedy the others are, and one alone may use half of all.
 */
export class TransportMemory {
  readonly #classes: readonly BufferClass[];
  readonly #areas: number[] = [];
  #waiting: MemoryShare[] = [];
  #notified: MemoryShare[] = [];

  /** Arena bytes for these counts; page-aligned where the start is. */
  static bytesFor(counts: MemoryCounts = DEFAULT_MEMORY): number {
    const buffers = [counts.small, counts.chunks, counts.medium, counts.large];
    return buffers.reduce((sum, count, i) => sum + count * CLASS_BYTES[i]!, counts.sendAreas * SEND_AREA_BYTES);
  }

  constructor(baseOffset: number, counts: MemoryCounts = DEFAULT_MEMORY) {
    let offset = baseOffset;
    const next = (bytes: number, count: number): BufferClass => {
      const made = new BufferClass(offset, bytes, count);
      offset += bytes * count;
      return made;
    };
    // Largest first: each class starts page-aligned where `baseOffset` is.
    const large = next(LARGE_BYTES, counts.large);
    const medium = next(MEDIUM_BYTES, counts.medium);
    const chunks = next(CHUNK_BYTES, counts.chunks);
    this.#classes = [next(SMALL_BYTES, counts.small), chunks, medium, large];
    for (let i = 0; i < counts.sendAreas; i++) this.#areas.push(offset + i * SEND_AREA_BYTES);
  }

  /** SEND_AREA_BYTES of a connection's own, or -1. */
  takeSendArea(): number {
    return this.#areas.pop() ?? -1;
  }

  giveSendArea(offset: number): void {
    this.#areas.push(offset);
  }

  /** A buffer of the smallest class that holds `bytes`, with one reference, or -1: more than the connection's share now. */
  take(bytes: number, share: MemoryShare): number {
    const index = bytes <= SMALL_BYTES ? 0 : bytes <= CHUNK_BYTES ? 1 : bytes <= MEDIUM_BYTES ? 2 : 3;
    const one = this.#classes[index]!;
    if (bytes > one.bytes) throw new RangeError(`no transport buffer has ${bytes} bytes`);
    if (share.held[index]! >= one.freeCount) return -1;
    share.held[index]!++;
    return one.take(share);
  }

  /** One reference more. */
  hold(offset: number): void {
    const one = this.#classOf(offset);
    one.references[one.indexOf(offset)]!++;
  }

  references(offset: number): number {
    const one = this.#classOf(offset);
    return one.references[one.indexOf(offset)]!;
  }

  /** One reference less; without any, the buffer is free. `offset` may lie anywhere in the buffer. */
  drop(offset: number): void {
    const one = this.#classOf(offset);
    const index = one.indexOf(offset);
    if (one.references[index]! < 1) throw new Error(`transport buffer at ${offset} has no owner`);
    if (--one.references[index]! > 0) return;
    const share = one.give(index);
    share.held[this.#classes.indexOf(one)]!--;
    if (this.#waiting.length > 0) this.#notify();
  }

  /** `share.onMemory()` will be called, once, when something has been given back. */
  wait(share: MemoryShare): void {
    if (!this.#waiting.includes(share)) this.#waiting.push(share);
  }

  forget(share: MemoryShare): void {
    const at = this.#waiting.indexOf(share);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** Free buffers by class; for tests and status. */
  free(): readonly number[] {
    return this.#classes.map(one => one.freeCount);
  }

  /** Those told may wait again at once: they go to the other list. */
  #notify(): void {
    const told = this.#waiting;
    this.#waiting = this.#notified;
    this.#notified = told;
    for (const share of told) share.onMemory();
    told.length = 0;
  }

  #classOf(offset: number): BufferClass {
    for (let i = 0; i < CLASSES; i++) {
      const one = this.#classes[i]!;
      if (offset >= one.baseOffset && offset < one.endOffset) return one;
    }
    throw new Error(`${offset} lies in no transport buffer`);
  }
}

class BufferClass {
  freeCount: number;
  readonly endOffset: number;
  readonly references: Int32Array;
  readonly #free: Int32Array;
  readonly #owners: (MemoryShare | null)[];

  constructor(
    readonly baseOffset: number,
    readonly bytes: number,
    count: number,
  ) {
    this.freeCount = count;
    this.endOffset = baseOffset + bytes * count;
    this.references = new Int32Array(count);
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#owners = new Array<MemoryShare | null>(count).fill(null);
  }

  take(share: MemoryShare): number {
    const index = this.#free[--this.freeCount]!;
    this.references[index] = 1;
    this.#owners[index] = share;
    return this.baseOffset + index * this.bytes;
  }

  give(index: number): MemoryShare {
    const owner = this.#owners[index]!;
    this.#owners[index] = null;
    this.#free[this.freeCount++] = index;
    return owner;
  }

  indexOf(offset: number): number {
    return Math.floor((offset - this.baseOffset) / this.bytes);
  }
}
