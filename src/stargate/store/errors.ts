/** Codes of the block store's errors; each message says what to do. */
export type StoreErrorCode =
  /** The directory holds something that is not a block store of this version. */
  | 'ERR_STORE_FORMAT'
  /** A record is damaged: restore the data directory, or remove the disk from the node. */
  | 'ERR_STORE_RECORD'
  /** A page of the database is damaged: nothing may open it, the library would end the process or write on the ground of it. */
  | 'ERR_STORE_DAMAGED'
  /** A write failed; nothing is written any more until the process starts again (rule 6). */
  | 'ERR_STORE_FAILED';

export class StoreError extends Error {
  constructor(
    readonly code: StoreErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'StoreError';
  }
}

/** What the record says; null: it is damaged. */
export function ifWhole<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return null;
  }
}
