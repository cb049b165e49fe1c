import type { Engine } from 'uring-engine';
import type { Probe } from '../../base/probe.js';
import type { EntryKind } from '../core/ports.js';
import { BATCH_BUFFERS, PAGE_BYTES, PREPARE_CHUNK_BYTES } from './limits.js';
import { MAX_BATCH_BYTES } from './layout.js';
import type { StreamVdiskLog } from './vdisk-log.js';

/** Bytes of the arena that a stream needs, page-aligned, at `memoryOffset`: batch buffers, which recovery also reads through, zeroes, one header page. */
export const OPLOG_MEMORY_BYTES = BATCH_BUFFERS * MAX_BATCH_BYTES + PREPARE_CHUNK_BYTES + 2 * PAGE_BYTES;

export interface OplogOptions {
  readonly engine: Engine;
  /** Start of {@link OPLOG_MEMORY_BYTES} bytes of the engine's arena, page-aligned, this stream's alone. */
  readonly memoryOffset: number;
  /** Directory of the stream's segments, and of nothing else; made where missing. */
  readonly directory: string;
  /** Most bytes that segment files may take; rounded down to segments, at least four of them. */
  readonly capacityBytes: number;
  readonly segmentBytes?: number;
  /** Gets every intact entry, in the order of the log; see {@link RecoveryVisitor}. */
  readonly visitor?: RecoveryVisitor;
  /** Called now and then while the log is read. */
  readonly onProgress?: (readBytes: number, totalBytes: number) => void;
  /** Fills with random bits; a simulation gives its own. */
  readonly fillRandom?: (words: Uint32Array) => void;
  /** Is told of entries: how long their batch was open and waited, and how long it was written. */
  readonly probe?: Probe;
  /** Planted bugs, for tests alone. */
  readonly mutations?: OplogMutations;
}

export interface OplogMutations {
  readonly ackBeforeDurable?: boolean;
  readonly cutNotDurable?: boolean;
  /** A start takes what it can read, and sync, for what is on the disk. */
  readonly trustsReads?: boolean;
  /** Takes any valid batch behind a torn one for a sign of rot. */
  readonly laterBatchMeansRot?: boolean;
}

export interface RecoveryVisitor {
  /** `entry` is reused. An exception ends the recovery. */
  onEntry(log: StreamVdiskLog, entry: RecoveredEntry): void;
  /** What came of the vdisk so far is of a history that is over. */
  onNewHistory?(log: StreamVdiskLog): void;
}

/** One entry as recovery found it. */
export interface RecoveredEntry {
  readonly kind: EntryKind;
  readonly historyId: number;
  readonly seq: number;
  readonly creationTerm: number;
  readonly prevHash: number;
  /** Checksum of this entry's header: what its successor names as prevHash. */
  readonly hash: number;
  readonly sessionId: number;
  readonly clientSeq: number;
  readonly part: number;
  readonly parts: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  /** {@link EntryFlag} */
  readonly flags: number;
  /** Position of the payload in the log, as `append` gave it; of the batch where there is no payload. */
  readonly lsn: number;
  /** Arena offset of the payload, checked, readable during the call. */
  readonly payloadOffset: number;
}

/** A part of the log that was durable once and is damaged now. */
export interface RotRange {
  readonly fromLsn: number;
  /** Exclusive. Infinity: nobody knows how far it went. */
  readonly toLsn: number;
  /** File name, or '' where a whole segment is missing. */
  readonly segment: string;
  /**
   * Vdisks that have or may have lost entries here: those whose chain does not go on intact behind the range, or with a gap. A vdisk of which the whole log has
   * no entry may have lost them here too.
   */
  readonly vdisks: readonly string[];
  /** What of the one vdisk, where that is known: a change whose payload is damaged. */
  readonly blocks: { readonly offsetBytes: number; readonly lengthBytes: number } | null;
  readonly message: string;
}

export interface RecoveryReport {
  /** The stream was closed, and nothing came after. */
  readonly clean: boolean;
  /** Segments read. */
  readonly segments: number;
  readonly batches: number;
  readonly entries: number;
  /** Bytes of intact batches. */
  readonly bytes: number;
  /** Bytes behind the cut that held torn or unordered batches. */
  readonly tornBytes: number;
  /** End of the intact log, where it goes on. */
  readonly cutLsn: number;
  /** Highest position known to have been durable. */
  readonly durableLsn: number;
  /** At most {@link MAX_REPORTED_ROT}; `rotRanges` counts all. */
  readonly rot: readonly RotRange[];
  readonly rotRanges: number;
  /** Vdisks whose chain of entries is broken; the broken ones among `rot` included. Refuse to serve them. */
  readonly broken: readonly StreamVdiskLog[];
}

/** Since the stream was opened; the segments are those of now. */
export interface OplogStatistics {
  readonly batches: number;
  readonly entries: number;
  readonly markers: number;
  readonly refused: number;
  readonly liveSegments: number;
  readonly freeSegments: number;
}
