import { EngineError } from './errors.js';

/** Most operations outstanding in one engine. */
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
  readonly kind = new Uint8Array(MAX_OPERATIONS);
  readonly slot = new Int32Array(MAX_OPERATIONS);
  readonly client = new Uint8Array(MAX_OPERATIONS);
  readonly tag = new Int32Array(MAX_OPERATIONS);
  readonly offset = new Float64Array(MAX_OPERATIONS);
  readonly lengthBytes = new Float64Array(MAX_OPERATIONS);
  readonly fileOffset = new Float64Array(MAX_OPERATIONS);
  readonly flags = new Int32Array(MAX_OPERATIONS);
  readonly doneBytes = new Float64Array(MAX_OPERATIONS);
  readonly #free = new Int32Array(MAX_OPERATIONS);
  #freeCount = MAX_OPERATIONS;

  constructor() {
    for (let i = 0; i < MAX_OPERATIONS; i++) this.#free[i] = MAX_OPERATIONS - 1 - i;
  }

  get outstanding(): number {
    return MAX_OPERATIONS - this.#freeCount;
  }

  take(kind: number, slot: number, client: number, tag: number): number {
    if (this.#freeCount === 0) throw new EngineError('ERR_LIMIT', `more than ${MAX_OPERATIONS} operations outstanding`);
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
