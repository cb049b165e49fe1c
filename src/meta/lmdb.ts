import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { GatepathError } from '../base/errors.js';
import { LmdbImage } from '../base/lmdb-image.js';
import { checkKey, checkPrefix, checkTransaction, keyOf } from './check.js';
import { DAMAGED_VERSION } from './damage.js';
import { DueHint } from './due-hint.js';
import { MetaUnavailable } from './errors.js';
import { decodeOldRecord, decodeRecord, encodeRecord, isOldRecord, readRecord, type StoredRecord } from './lmdb-record.js';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

/** Behind all characters that a key may have. */
const AFTER_KEYS = '\x7f';
/** The first character that a key may begin with. */
const FIRST_KEY = '0';
/** Where the version counter is kept: no key of the model, and before all of them. */
export const COUNTER_KEY = '!version';
/** More transactions than a store sees in its life. */
const COUNTER_LEAP = 2 ** 32;

interface LocalWatch {
  readonly prefix: string;
  readonly listener: WatchListener;
  /** Told in the loop's next turn. */
  due: DueHint | null;
}

/**
 * The metadata store of one node. A transaction is decided and written by one synchronous LMDB transaction: when it returns it is on stable
 * storage, so nobody ever sees a value that is not durable.
 */
export class LmdbStore implements MetadataStore {
  readonly #watches = new Set<LocalWatch>();
  #closed = false;

  private constructor(readonly database: RootDatabase<Buffer, string>) {}

  /**
   * Throws GatepathError `ERR_METADATA` where a page of the file is damaged: the library would end the process, now or later. A record that is damaged, in a page that is whole, is
   * read as one that says so (damage.ts), and a transaction that compares it is refused.
   */
  static open(directory: string): LmdbStore {
    checkFile(join(directory, 'data.mdb'));
    // overlappingSync would make a transaction visible before it is durable.
    const database = open<Buffer, string>({ path: directory, encoding: 'binary', overlappingSync: false, maxDbs: 1 });
    renewOldRecords(database);
    renewCounter(database);
    return new LmdbStore(database);
  }

  get(key: string): Promise<Versioned | null> {
    return this.#run(() => {
      checkKey(key);
      const record = this.database.get(key);
      return record === undefined ? null : { key, ...readRecord(key, record) };
    });
  }

  range(prefix: string): Promise<RangeResult> {
    return this.#run(() => {
      checkPrefix(prefix);
      const items: Versioned[] = [];
      const start = prefix === '' ? FIRST_KEY : prefix;
      for (const { key, value } of this.database.getRange({ start, end: prefix + AFTER_KEYS }))
        items.push({ key, ...readRecord(key, value) });
      return { items };
    });
  }

  keys(prefix: string): Promise<readonly string[]> {
    return this.#run(() => {
      checkPrefix(prefix);
      return [...this.database.getKeys({ start: prefix === '' ? FIRST_KEY : prefix, end: prefix + AFTER_KEYS })];
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
    const watch: LocalWatch = { prefix, listener, due: null };
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
        for (const { key, version } of compares) if ((this.#read(key)?.version ?? 0) !== version) return { ok: false };
        const version = (this.#read(COUNTER_KEY)?.version ?? 0) + 1;
        void this.database.put(COUNTER_KEY, encodeRecord(COUNTER_KEY, { value: null, version }));
        for (const operation of operations) {
          if ('put' in operation) void this.database.put(operation.put, encodeRecord(operation.put, { value: operation.value, version }));
          else void this.database.remove(operation.remove);
        }
        return { ok: true, version };
      });
    } catch (cause) {
      if (cause instanceof GatepathError) throw cause;
      // A full or failing disk: where in the commit it failed is not known here.
      throw new MetaUnavailable(`the metadata could not be written: ${(cause as Error).message}; is the disk full?`, { cause });
    }
  }

  #read(key: string): StoredRecord | undefined {
    const record = this.database.get(key);
    return record === undefined ? undefined : decodeRecord(key, record);
  }

  #tell(operations: readonly Operation[]): void {
    for (const watch of this.#watches) {
      const changed = operations.map(keyOf).filter(key => key.startsWith(watch.prefix));
      if (changed.length === 0) continue;
      const due = (watch.due ??= new DueHint(hint => {
        watch.due = null;
        if (this.#watches.has(watch)) watch.listener(hint);
      }));
      for (const key of changed) due.changed(key);
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

/** In one transaction: what an older version has written has no checksum. */
function renewOldRecords(database: RootDatabase<Buffer, string>): void {
  const counter = database.get(COUNTER_KEY);
  if (counter === undefined || !isOldRecord(counter)) return;
  database.transactionSync(() => {
    for (const { key, value } of [...database.getRange({})]) {
      if (isOldRecord(value)) renewOldRecord(database, key, value);
    }
  });
}

function renewOldRecord(database: RootDatabase<Buffer, string>, key: string, value: Buffer): void {
  try {
    void database.put(key, encodeRecord(key, decodeOldRecord(key, value)));
  } catch (error) {
    // It is damaged: it stays as it is, and is read as such.
    if (!(error instanceof GatepathError)) throw error;
  }
}

/** A damaged counter says nothing that is not known otherwise: any number does that is above all versions there have ever been. */
function renewCounter(database: RootDatabase<Buffer, string>): void {
  const counter = database.get(COUNTER_KEY);
  if (counter === undefined || readRecord(COUNTER_KEY, counter).version !== DAMAGED_VERSION) return;
  database.transactionSync(() => {
    const versions = [...database.getRange({ start: FIRST_KEY })].map(({ key, value }) => readRecord(key, value).version);
    const highest = versions.reduce((max, version) => (version === DAMAGED_VERSION ? max : Math.max(max, version)), 0);
    void database.put(COUNTER_KEY, encodeRecord(COUNTER_KEY, { value: null, version: highest + COUNTER_LEAP }));
  });
}

function checkFile(path: string): void {
  if (!existsSync(path)) return;
  const image = imageOf(path);
  // A file without content is one that a first start left.
  if (image.sizeBytes === 0) return;
  for (const entry of image.check()) void entry;
  const [damage] = image.damage;
  if (damage === undefined) return;
  throw new GatepathError(
    'corrupt',
    'ERR_METADATA',
    `the metadata in ${path} is damaged, page ${damage.page}: ${damage.message}`,
    'restore the metadata from a backup; "gatepath verify" says what else is damaged',
  );
}

/** The whole file, as it lies on the disk: the metadata of one node is small. */
export function imageOf(path: string): LmdbImage {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(fstatSync(fd).size);
    for (let at = 0; at < bytes.length;) {
      const read = readSync(fd, bytes, at, bytes.length - at, at);
      if (read === 0) break;
      at += read;
    }
    return new LmdbImage((atBytes, lengthBytes) => bytes.subarray(atBytes, atBytes + lengthBytes), bytes.length);
  } finally {
    closeSync(fd);
  }
}
