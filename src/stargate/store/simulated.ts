import type { Engine } from 'uring-engine';
import { applyCommand, applyFormat } from './apply.js';
import { BlockStore, type StoreLink } from './block-store.js';
import { MAX_COMMANDS_PER_COMMIT } from './limits.js';
import type { StoreCommand, StoreResult } from './messages.js';
import type { RecordReader, RecordTransaction } from './records.js';

/** Few: a simulation makes thousands of stores, and replacement has to happen in it. */
const SIMULATED_CACHE_SLOTS = 64;

/** What a simulated store has on its disk: survives crashes. Keys as hex, which sorts as the bytes do. */
export class SimulatedStoreDisk {
  readonly records = new Map<string, Buffer>();
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
      const result: StoreResult | null = this.isFull ? { kind: 'full', id: command.id } : applyCommand(txn, command);
      if (result === null) this.#queue.push(command);
      else this.#answers.push(result);
    }
    this.commits++;
  }
}

export function readerOf(disk: SimulatedStoreDisk): RecordReader {
  return {
    get: key => disk.records.get(key.toString('hex')),
    *range(start, end) {
      const keys = sortedKeys(disk, start, end);
      for (const key of keys) yield [Buffer.from(key, 'hex'), Buffer.from(disk.records.get(key)!)] as const;
    },
    release: () => undefined,
  };
}

export function transactionOn(disk: SimulatedStoreDisk): RecordTransaction {
  return {
    get: key => disk.records.get(key.toString('hex')),
    put: (key, record) => void disk.records.set(key.toString('hex'), Buffer.from(record)),
    remove: key => void disk.records.delete(key.toString('hex')),
    removeRange(start, end, limit) {
      const keys = sortedKeys(disk, start, end).slice(0, limit);
      for (const key of keys) disk.records.delete(key);
      return keys.length;
    },
  };
}

function sortedKeys(disk: SimulatedStoreDisk, start: Buffer, end: Buffer): string[] {
  const from = start.toString('hex');
  const to = end.toString('hex');
  return [...disk.records.keys()].filter(key => key >= from && key < to).sort();
}
