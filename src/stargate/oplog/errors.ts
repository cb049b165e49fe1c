/** Codes of the log's errors; each message says what to do. */
export type OplogErrorCode =
  /** The directory holds files that are no log of Gatepath. */
  | 'ERR_OPLOG_FOREIGN'
  /** Written by a newer program. */
  | 'ERR_OPLOG_VERSION'
  /** An option that cannot be. */
  | 'ERR_OPLOG_OPTIONS'
  /** No segment could be made: the file system is full. */
  | 'ERR_OPLOG_SPACE'
  /** A vdisk id that is no UUID. */
  | 'ERR_OPLOG_VDISK_ID'
  /** A write or sync of the log failed; nothing is written any more until the process starts again (rule 6). */
  | 'ERR_OPLOG_FAILED';

export class OplogError extends Error {
  constructor(
    readonly code: OplogErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'OplogError';
  }
}
