import { open, type RootDatabase } from 'lmdb';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

/** Behind any character of a key: the end of a prefix's range. */
const AFTER_PREFIX = '\uffff';
/** Where the version counter is kept: not a key of the model. */
const COUNTER_KEY = '!version';

interface Stored {
  readonly value: unknown;
  readonly version: number;
}

/**
 * The metadata store of one node. A transaction is decided and written by one synchronous LMDB transaction: when it returns it is on stable
 * storage, so nobody ever sees a value that is not durable.
 */
export class LmdbStore implements MetadataStore {
  readonly #watches = new Set<{ readonly prefix: string; readonly listener: WatchListener }>();

  private constructor(readonly database: RootDatabase<Stored, string>) {}

  static open(directory: string): LmdbStore {
    // overlappingSync would make a transaction visible before it is durable.
    return new LmdbStore(open<Stored, string>({ path: directory, encoding: 'msgpack', overlappingSync: false, maxDbs: 1 }));
  }

  get(key: string): Promise<Versioned | null> {
    const stored = this.database.get(key);
    return Promise.resolve(stored === undefined ? null : { key, ...stored });
  }

  range(prefix: string): Promise<RangeResult> {
    const items: Versioned[] = [];
    for (const { key, value } of this.database.getRange({ start: prefix, end: prefix + AFTER_PREFIX })) items.push({ key, ...value });
    return Promise.resolve({ items });
  }

  transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    const result = this.database.transactionSync((): TransactionResult => {
      for (const { key, version } of compares) if ((this.database.get(key)?.version ?? 0) !== version) return { ok: false };
      const version = (this.database.get(COUNTER_KEY)?.version ?? 0) + 1;
      void this.database.put(COUNTER_KEY, { value: null, version });
      for (const operation of operations) {
        if ('put' in operation) void this.database.put(operation.put, { value: operation.value, version });
        else void this.database.remove(operation.remove);
      }
      return { ok: true, version };
    });
    if (result.ok) this.#tell(operations);
    return Promise.resolve(result);
  }

  watch(prefix: string, listener: WatchListener): Watch {
    const watch = { prefix, listener };
    this.#watches.add(watch);
    return { close: () => void this.#watches.delete(watch) };
  }

  close(): Promise<void> {
    this.#watches.clear();
    return this.database.close();
  }

  #tell(operations: readonly Operation[]): void {
    const keys = operations.map(operation => ('put' in operation ? operation.put : operation.remove));
    for (const { prefix, listener } of this.#watches) {
      if (keys.some(key => key.startsWith(prefix))) setImmediate(() => listener({ broken: false }));
    }
  }
}
