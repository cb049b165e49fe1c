import { MAX_OPERATIONS } from './limits.js';

export const Kind = { read: 0, write: 1 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/**
 * How an operation stands. unknown: its connection was lost, it may still take effect. settled: it can take effect no more, whether it did is not
 * known. failed: answered with an error, and settled by that.
 */
export const Outcome = { open: 0, done: 1, unknown: 2, settled: 3, failed: 4 } as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

const FIRST_CAPACITY = 1 << 16;

/**
 * All operations of one round, in columns. An operation's number is `first` plus its index; a write's number is what it writes, so that numbers go on
 * from round to round. Ticks order everything that was sent and answered; times are monotonic, for measurements alone.
 */
export class Operations {
  count = 0;
  kinds = new Uint8Array(FIRST_CAPACITY);
  outcomes = new Uint8Array(FIRST_CAPACITY);
  connections = new Uint8Array(FIRST_CAPACITY);
  blocks = new Uint32Array(FIRST_CAPACITY);
  /** Of a read that is done: what it saw. */
  values = new Float64Array(FIRST_CAPACITY);
  startTicks = new Float64Array(FIRST_CAPACITY);
  endTicks = new Float64Array(FIRST_CAPACITY);
  startMs = new Float64Array(FIRST_CAPACITY);
  endMs = new Float64Array(FIRST_CAPACITY);
  /** Why a read saw a damaged block. */
  readonly damages = new Map<number, string>();
  #tick = 0;

  constructor(readonly first: number) {}

  /** Gives the index. */
  begin(kind: Kind, block: number, connection: number, nowMs: number): number {
    const index = this.count++;
    if (index === this.kinds.length) this.#grow();
    this.kinds[index] = kind;
    this.blocks[index] = block;
    this.connections[index] = connection;
    this.values[index] = kind === Kind.write ? this.first + index : 0;
    this.startTicks[index] = ++this.#tick;
    this.startMs[index] = nowMs;
    return index;
  }

  end(index: number, outcome: Outcome, nowMs: number): void {
    this.outcomes[index] = outcome;
    this.endTicks[index] = ++this.#tick;
    this.endMs[index] = nowMs;
  }

  #grow(): void {
    const size = this.kinds.length * 2;
    if (size > MAX_OPERATIONS) throw new Error(`more than ${MAX_OPERATIONS} operations in one round: give fewer --seconds`);
    const bytes = (old: Uint8Array): Uint8Array<ArrayBuffer> => {
      const grown = new Uint8Array(size);
      grown.set(old);
      return grown;
    };
    const numbers = (old: Float64Array): Float64Array<ArrayBuffer> => {
      const grown = new Float64Array(size);
      grown.set(old);
      return grown;
    };
    this.kinds = bytes(this.kinds);
    this.outcomes = bytes(this.outcomes);
    this.connections = bytes(this.connections);
    const blocks = new Uint32Array(size);
    blocks.set(this.blocks);
    this.blocks = blocks;
    this.values = numbers(this.values);
    this.startTicks = numbers(this.startTicks);
    this.endTicks = numbers(this.endTicks);
    this.startMs = numbers(this.startMs);
    this.endMs = numbers(this.endMs);
  }
}
