import { open, type RootDatabase } from 'lmdb';
import { checkKey, checkPrefix, checkTransaction, keyOf } from './check.js';
import { MetaUnavailable } from './errors.js';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

/** Behind all characters that a key may have. */
const AFTER_KEYS = '\x7f';
/** The first character that a key may begin with. */
const FIRST_KEY = '0';
/** Where the version counter is kept: no key of the model, and before all of them. */
const COUNTER_KEY = '!version';

interface Stored {
  readonly value: unknown;
  readonly version: number;
}

interface LocalWatch {
  readonly prefix: string;
  readonly listener: WatchListener;
  /** Told in the loop's next turn; what changes until then merges. */
  due: boolean;
}

/**
 * The metadata store of one node. A transaction is decided and written by one synchronous LMDB transaction: when it returns it is on stable
 * storage, so nobody ever sees a value that is not durable.
 */
export class LmdbStore implements MetadataStore {
  readonly #watches = new Set<LocalWatch>();
  #closed = false;

  private constructor(readonly database: RootDatabase<Stored, string>) {}

  static open(directory: string): LmdbStore {
    // overlappingSync would make a transaction visible before it is durable.
    return new LmdbStore(open<Stored, string>({ path: directory, encoding: 'msgpack', overlappingSync: false, maxDbs: 1 }));
  }

  get(key: string): Promise<Versioned | null> {
    return this.#run(() => {
      checkKey(key);
      const stored = this.database.get(key);
      return stored === undefined ? null : { key, ...stored };
    });
  }

  range(prefix: string): Promise<RangeResult> {
    return this.#run(() => {
      checkPrefix(prefix);
      const items: Versioned[] = [];
      const start = prefix === '' ? FIRST_KEY : prefix;
      for (const { key, value } of this.database.getRange({ start, end: prefix + AFTER_KEYS })) items.push({ key, ...value });
      return { items };
    });
  }

  transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    return this.#run(() => {
      checkTransaction(compares, operations);
      const result = this.#commit(compares, operations);
      if (result.ok) this.#tell(operations);
      return result;
    });
  }

  watch(prefix: string, listener: WatchListener): Watch {
    checkPrefix(prefix);
    const watch: LocalWatch = { prefix, listener, due: false };
    this.#watches.add(watch);
    return { close: () => void this.#watches.delete(watch) };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#watches.clear();
    await this.database.close();
  }

  #commit(compares: readonly Compare[], operations: readonly Operation[]): TransactionResult {
    try {
      return this.database.transactionSync((): TransactionResult => {
        for (const { key, version } of compares) if ((this.database.get(key)?.version ?? 0) !== version) return { ok: false };
        const version = (this.database.get(COUNTER_KEY)?.version ?? 0) + 1;
        void this.database.put(COUNTER_KEY, { value: null, version });
        for (const operation of operations) {
          if ('put' in operation) void this.database.put(operation.put, { value: operation.value, version });
          else void this.database.remove(operation.remove);
        }
        return { ok: true, version };
      });
    } catch (cause) {
      // A full or failing disk: where in the commit it failed is not known here.
      throw new MetaUnavailable(`the metadata could not be written: ${(cause as Error).message}; is the disk full?`, { cause });
    }
  }

  #tell(operations: readonly Operation[]): void {
    for (const watch of this.#watches) {
      if (watch.due || !operations.some(operation => keyOf(operation).startsWith(watch.prefix))) continue;
      watch.due = true;
      setImmediate(() => {
        watch.due = false;
        if (this.#watches.has(watch)) watch.listener({ broken: false });
      });
    }
  }

  /** Everything here is synchronous; its errors are rejections, as those of the other stores. */
  #run<T>(body: () => T): Promise<T> {
    return new Promise(resolve => {
      if (this.#closed) throw new MetaUnavailable('the store was closed');
      resolve(body());
    });
  }
}
