export { OplogStream } from './stream.js';
export { OPLOG_MEMORY_BYTES } from './options.js';
export type {
  OplogOptions,
  OplogMutations,
  OplogStatistics,
  RecoveredEntry,
  RecoveryReport,
  RecoveryVisitor,
  RotRange,
} from './options.js';
export { OplogError, type OplogErrorCode } from './errors.js';
export { VERIFY_OPLOG_SCRATCH_BYTES, verifyOplog, type OplogFinding, type VerifyOplogOptions } from './verify.js';
export { MAX_ENTRY_PAYLOAD_BYTES } from './limits.js';
export { EntryFlag, ENTRY_HEADER_BYTES } from './layout.js';
export { DecodedEntry, decodeEntryHeader, encodeEntryHeader } from './codec.js';
export { StreamVdiskLog, type ChainBreak } from './vdisk-log.js';
