import { EngineError } from './errors.js';

/** Most operations outstanding in one engine, without closes: each slot can be closed however much is under way. */
export const MAX_OPERATIONS = 32_768;

/** Operation kinds. The addon knows the same numbers (addon/ring.cc). */
export const Op = {
  read: 1,
  write: 2,
  sync: 3,
  allocate: 4,
  recv: 5,
  send: 6,
  accept: 7,
  connect: 8,
  cancel: 9,
  wake: 10,
  close: 11,
} as const;

/**
 * Operations outstanding, as columns of numbers: an operation is an index here from the call to its completion.
 * `doneBytes` counts what a continued read or write has behind it.
 */
export class OpTable {
  readonly kind: Uint8Array;
  readonly slot: Int32Array;
  readonly client: Uint8Array;
  readonly tag: Int32Array;
  readonly offset: Float64Array;
  readonly lengthBytes: Float64Array;
  readonly fileOffset: Float64Array;
  readonly flags: Int32Array;
  readonly doneBytes: Float64Array;
  readonly #free: Int32Array;
  #freeCount: number;

  /** `reserve`: so many of the capacity are for closes alone. */
  constructor(
    readonly capacity: number,
    readonly reserve = 0,
  ) {
    this.kind = new Uint8Array(capacity);
    this.slot = new Int32Array(capacity);
    this.client = new Uint8Array(capacity);
    this.tag = new Int32Array(capacity);
    this.offset = new Float64Array(capacity);
    this.lengthBytes = new Float64Array(capacity);
    this.fileOffset = new Float64Array(capacity);
    this.flags = new Int32Array(capacity);
    this.doneBytes = new Float64Array(capacity);
    this.#free = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.#free[i] = capacity - 1 - i;
    this.#freeCount = capacity;
  }

  get outstanding(): number {
    return this.capacity - this.#freeCount;
  }

  take(kind: number, slot: number, client: number, tag: number): number {
    if (this.#freeCount <= (kind === Op.close ? 0 : this.reserve)) {
      throw new EngineError('ERR_LIMIT', `more than ${this.capacity - this.reserve} operations outstanding`);
    }
    const op = this.#free[--this.#freeCount]!;
    this.kind[op] = kind;
    this.slot[op] = slot;
    this.client[op] = client;
    this.tag[op] = tag;
    this.doneBytes[op] = 0;
    return op;
  }

  give(op: number): void {
    this.kind[op] = 0;
    this.#free[this.#freeCount++] = op;
  }
}
