/** Reading of the store's records, in one snapshot until `release`. LMDB or memory. */
export interface RecordReader {
  /** The record, or undefined. The bytes are valid until the next call. */
  get(key: Buffer): Uint8Array | undefined;
  /** Keys from `start` up to and without `end`, ascending, with their records; copies. */
  range(start: Buffer, end: Buffer): Iterable<readonly [key: Uint8Array, record: Uint8Array]>;
  /** Lets the snapshot go: the next `get` sees what is committed by then. */
  release(): void;
}

/** A write transaction: all or nothing. */
export interface RecordTransaction {
  get(key: Buffer): Uint8Array | undefined;
  /** Keys from `start` up to and without `end`, ascending, with their records; copies. */
  range(start: Buffer, end: Buffer): Iterable<readonly [key: Uint8Array, record: Uint8Array]>;
  /** Copies `record`. */
  put(key: Buffer, record: Buffer): void;
  remove(key: Buffer): void;
  /** Removes up to `limit` records from `start` up to and without `end`; returns how many. */
  removeRange(start: Buffer, end: Buffer, limit: number): number;
}
