import { MAX_TAG, type ClientId, type Engine, type EngineClient } from 'uring-engine';
import { MAX_CONNECTIONS } from './limits.js';

/** Order of the transports' turn-end hook: behind the oplog (10), so that what it acknowledged goes out in the same turn. */
export const TRANSPORT_TURN_ORDER = 20;

export const Operation = { recv: 0, send: 1, close: 2, connect: 3, timer: 4, accept: 5 } as const;
const OPERATIONS = 8;
if (MAX_CONNECTIONS * OPERATIONS > MAX_TAG) throw new Error('limits: a tag holds the number of each connection and operation');

export interface TableEntry {
  onCompletion(operation: number, result: number): void;
  /** End of a turn in which `table.touch` was called for this entry. */
  onTurnEnd(): void;
}

/**
 * The transports' one client of the shard's engine: hands completions to connections, and calls those that have something to send
 * at the end of the turn. A connection leaves with the completion of its close, the last one.
 */
export class ConnectionTable implements EngineClient {
  readonly client: ClientId;
  readonly #entries: (TableEntry | null)[] = [];
  readonly #free: number[] = [];
  #touched: TableEntry[] = [];
  #ending: TableEntry[] = [];

  constructor(readonly engine: Engine) {
    this.client = engine.register(this);
    engine.atTurnEnd(TRANSPORT_TURN_ORDER, () => this.#turnEnd());
  }

  /** Index for tags, or -1: full. */
  add(entry: TableEntry): number {
    const index = this.#free.pop() ?? this.#entries.length;
    if (index >= MAX_CONNECTIONS) return -1;
    this.#entries[index] = entry;
    return index;
  }

  remove(index: number): void {
    this.#entries[index] = null;
    this.#free.push(index);
  }

  tag(index: number, operation: number): number {
    return index * OPERATIONS + operation;
  }

  /** Calls `entry.onTurnEnd` at the end of this turn; may be told several times. */
  touch(entry: TableEntry): void {
    this.#touched.push(entry);
  }

  get size(): number {
    return this.#entries.length - this.#free.length;
  }

  onCompletion(tag: number, result: number): void {
    this.#entries[Math.floor(tag / OPERATIONS)]?.onCompletion(tag % OPERATIONS, result);
  }

  /** Who is touched meanwhile comes in the same turn: there may be none for long. */
  #turnEnd(): void {
    while (this.#touched.length > 0) {
      const touched = this.#touched;
      this.#touched = this.#ending;
      this.#ending = touched;
      for (let i = 0; i < touched.length; i++) touched[i]!.onTurnEnd();
      touched.length = 0;
    }
  }
}
