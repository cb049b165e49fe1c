import type { Engine } from 'uring-engine';
import { applyCommand, applyFormat } from './apply.js';
import { BlockStore, type StoreLink } from './block-store.js';
import { MAX_COMMANDS_PER_COMMIT } from './limits.js';
import type { StoreCommand, StoreResult } from './messages.js';
import type { RecordReader, RecordTransaction } from './records.js';

/** Few: a simulation makes thousands of stores, and replacement has to happen in it. */
const SIMULATED_CACHE_SLOTS = 64;

/** Records by their keys as hex, which sorts as the bytes do. */
class SimulatedRecords {
  readonly #records = new Map<string, Buffer>();
  /** Ascending. */
  readonly #keys: string[] = [];

  get(key: string): Buffer | undefined {
    return this.#records.get(key);
  }

  set(key: string, record: Buffer): void {
    if (!this.#records.has(key)) this.#keys.splice(this.#placeOf(key), 0, key);
    this.#records.set(key, record);
  }

  delete(key: string): void {
    if (this.#records.delete(key)) this.#keys.splice(this.#placeOf(key), 1);
  }

  /** Keys from `from` on that come before `to`. */
  keys(from: string, to: string): string[] {
    return this.#keys.slice(this.#placeOf(from), this.#placeOf(to));
  }

  /** Of the first key that does not come before it. */
  #placeOf(key: string): number {
    let low = 0;
    for (let high = this.#keys.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** What a simulated store has on its disk: survives crashes. */
export class SimulatedStoreDisk {
  readonly records = new SimulatedRecords();
}

/** The part of the engine that the simulated store needs: virtual time. */
export type TimerSource = Pick<Engine, 'register' | 'timer'>;

export interface SimulatedStoreOptions {
  /** Random numbers from 0 up to 1, by the simulation's seed. */
  readonly random: () => number;
  /** Longest time that a commit takes to become durable, and that its answer takes after that. */
  readonly maxDelayNs?: number;
  readonly chunkCacheSlots?: number;
}

/**
 * The block store on a virtual clock: the production view over the production records, with a writer that keeps them in memory.
 * Like LMDB it commits several commands at once, never tears, and shows nothing before it is durable; like the store thread it
 * answers some time after that. A crash between the two loses the answer and not the commit.
 */
export class SimulatedStore implements StoreLink {
  readonly store: BlockStore;
  /** Transactions made durable, for statistics. */
  commits = 0;
  /** The file system has no room for what comes. */
  isFull = false;
  /** Commands that were told so: whoever sent them goes on without them, and one that comes again is refused again. */
  readonly #refused = new Set<number>();
  #listener: (result: StoreResult) => void = () => undefined;
  #queue: StoreCommand[] = [];
  #answers: StoreResult[] = [];
  #state: 'idle' | 'writing' | 'answering' | 'dead' = 'idle';
  readonly #client: number;

  constructor(
    readonly disk: SimulatedStoreDisk,
    readonly timers: TimerSource,
    readonly options: SimulatedStoreOptions,
  ) {
    applyFormat(transactionOn(disk));
    this.#client = timers.register({ onCompletion: () => this.#onTimer() });
    this.store = new BlockStore(readerOf(disk), this, options.chunkCacheSlots ?? SIMULATED_CACHE_SLOTS);
  }

  send(command: StoreCommand): void {
    if (this.#state === 'dead') return;
    // As a message to another thread: what the sender does to its objects afterwards is not seen.
    this.#queue.push(structuredClone(command));
    if (this.#state === 'idle') this.#start('writing');
  }

  onResult(listener: (result: StoreResult) => void): void {
    this.#listener = listener;
  }

  /** The disk failed: every command that waits, and every later one, is told so. */
  fail(message: string): void {
    this.#state = 'dead';
    this.#listener({ kind: 'failed', message });
  }

  /** Power is lost: the transaction being written is there as a whole or not at all; nobody is answered any more. */
  crash(): void {
    if (this.#state === 'writing' && this.options.random() < 0.5) this.#commit();
    this.#state = 'dead';
    this.#queue = [];
    this.#answers = [];
  }

  #start(state: 'writing' | 'answering'): void {
    this.#state = state;
    this.timers.timer(Math.ceil(this.options.random() * (this.options.maxDelayNs ?? 5_000_000)), this.#client, 0);
  }

  #onTimer(): void {
    if (this.#state === 'writing') {
      this.#commit();
      this.#start('answering');
      return;
    }
    if (this.#state !== 'answering') return;
    const answers = this.#answers;
    this.#answers = [];
    this.#state = 'idle';
    for (const result of answers) this.#listener(result);
    // An answer may have sent the next command, or ended everything.
    if ((this.#state as string) === 'idle' && this.#queue.length > 0) this.#start('writing');
  }

  #commit(): void {
    const txn = transactionOn(this.disk);
    const batch = this.#queue.splice(0, MAX_COMMANDS_PER_COMMIT);
    for (const command of batch) {
      if (this.isFull) this.#refused.add(command.id);
      const result: StoreResult | null = this.#refused.has(command.id) ? { kind: 'full', id: command.id } : applyCommand(txn, command);
      if (result === null) this.#queue.push(command);
      else this.#answers.push(result);
    }
    this.commits++;
  }
}

export function readerOf(disk: SimulatedStoreDisk): RecordReader {
  return {
    get: key => disk.records.get(key.toString('hex')),
    range: (start, end) => rangeOf(disk, start, end),
    release: () => undefined,
  };
}

export function transactionOn(disk: SimulatedStoreDisk): RecordTransaction {
  return {
    get: key => disk.records.get(key.toString('hex')),
    range: (start, end) => rangeOf(disk, start, end),
    put: (key, record) => disk.records.set(key.toString('hex'), Buffer.from(record)),
    remove: key => disk.records.delete(key.toString('hex')),
    removeRange(start, end, limit) {
      const keys = keysOf(disk, start, end).slice(0, limit);
      for (const key of keys) disk.records.delete(key);
      return keys.length;
    },
  };
}

function* rangeOf(disk: SimulatedStoreDisk, start: Buffer, end: Buffer): Iterable<readonly [Uint8Array, Uint8Array]> {
  for (const key of keysOf(disk, start, end)) yield [Buffer.from(key, 'hex'), Buffer.from(disk.records.get(key)!)];
}

const keysOf = (disk: SimulatedStoreDisk, start: Buffer, end: Buffer): string[] =>
  disk.records.keys(start.toString('hex'), end.toString('hex'));
