import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import * as lmdb from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { StoreError } from './errors.js';
import { MAP_BYTES } from './limits.js';
import type { RecordReader, RecordTransaction } from './records.js';

export type StoreDatabase = RootDatabase<Buffer, Buffer>;

/**
 * Opens the database in `directory`. All threads of a process open it with the same options (they share one environment inside
 * lmdb, made by the first), the store thread first.
 *
 * `overlappingSync` off: a transaction is on stable storage before anybody sees it, and `transactionSync` returns only then.
 * The map is reserved at once: growing it while other threads read would move it under them.
 */
export function openDatabase(directory: string): StoreDatabase {
  checkDatabaseFile(join(directory, 'data.mdb'));
  return lmdb.open<Buffer, Buffer>({
    path: directory,
    encoding: 'binary',
    keyEncoding: 'binary',
    mapSize: MAP_BYTES,
    overlappingSync: false,
    noSubdir: false,
    cache: false,
    maxDbs: 4,
    maxReaders: 256,
  });
}

/** The magic number of LMDB's first page, and where lmdb's page header ends and it begins. */
const LMDB_MAGIC = 0xbeefc0de;
const LMDB_MAGIC_AT = 24;
const LMDB_LEAST_BYTES = 8192;

/** Throws `ERR_STORE_FORMAT` unless the file is missing, empty, or a database: lmdb does not refuse others, it ends the process. */
function checkDatabaseFile(path: string): void {
  const head = Buffer.alloc(LMDB_LEAST_BYTES);
  let bytes: number;
  try {
    const fd = openSync(path, 'r');
    bytes = readSync(fd, head, 0, LMDB_LEAST_BYTES, 0);
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (bytes === 0 || (bytes === LMDB_LEAST_BYTES && head.readUInt32LE(LMDB_MAGIC_AT) === LMDB_MAGIC)) return;
  throw new StoreError(
    'ERR_STORE_FORMAT',
    `${path} is damaged or not the database of a block store; restore it, or name an empty directory`,
  );
}

/** The parts of lmdb that its types leave out. */
interface LmdbInternals {
  readonly nativeAddon: { resetTxn(address: number): void };
}

/**
 * Reads without Node's event loop. By itself lmdb keeps a snapshot until a timer of Node fires, which never happens in a shard that is
 * blocked in its ring: reads would see the first snapshot for ever, no page would be recycled, and each read would leave a timer
 * behind. So this holds one read transaction of its own and resets it by hand; the next read renews it.
 */
export class LmdbReader implements RecordReader {
  readonly #options: { transaction: lmdb.Transaction };
  readonly #address: number;
  readonly #reset: (address: number) => void;
  #reading = false;

  constructor(readonly database: StoreDatabase) {
    const transaction = database.useReadTransaction();
    this.#options = { transaction };
    this.#address = (transaction as unknown as { address: number }).address;
    this.#reset = (lmdb as unknown as LmdbInternals).nativeAddon.resetTxn;
    assert(
      typeof this.#address === 'number' && typeof this.#reset === 'function',
      'this version of lmdb is not the one the store was built with',
    );
    this.release();
  }

  get(key: Buffer): Uint8Array | undefined {
    // Reset before as well: lmdb takes up this transaction for calls of its own (getStats) and leaves its snapshot in it.
    if (!this.#reading) this.#reset(this.#address);
    this.#reading = true;
    const { database } = this as unknown as { database: { getBinaryFast(key: Buffer, options: object): Buffer | undefined } };
    const bytes = database.getBinaryFast(key, this.#options);
    // lmdb's one buffer, whose `length` says how much of it is the value.
    return bytes?.subarray(0, bytes.length);
  }

  *range(start: Buffer, end: Buffer): Iterable<readonly [Uint8Array, Uint8Array]> {
    // Rare: lmdb's own read transaction will do, if it is made to let go of its snapshot before and after.
    this.database.resetReadTxn();
    try {
      for (const { key, value } of this.database.getRange({ start, end })) yield [Buffer.from(key), Buffer.from(value)];
    } finally {
      this.database.resetReadTxn();
    }
  }

  release(): void {
    this.#reading = false;
    this.#reset(this.#address);
  }
}

/** The write side, for use inside `transactionSync` only. */
export function transactionIn(database: StoreDatabase): RecordTransaction {
  return {
    get: key => database.getBinary(key),
    *range(start, end) {
      for (const { key, value } of database.getRange({ start, end })) yield [Buffer.from(key), Buffer.from(value)];
    },
    put: (key, record) => void database.put(key, record),
    remove: key => void database.remove(key),
    removeRange(start, end, limit) {
      const keys = [...database.getKeys({ start, end, limit: Math.min(limit, 0x7fff_ffff) })].map(key => Buffer.from(key));
      for (const key of keys) void database.remove(key);
      return keys.length;
    },
  };
}
