import { crc32c } from '@node-rs/crc32';
import type { EntryKind } from '../core/ports.js';
import { MAX_BATCH_PAYLOAD_BYTES, MAX_ENTRY_PAYLOAD_BYTES, PAGE_BYTES } from './limits.js';
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  BatchAt,
  ENTRY_HEADER_BYTES,
  ENTRY_MAGIC,
  EntryAt,
  MAX_BATCH_ENTRIES,
  OPLOG_VERSION,
  SEGMENT_DATA_OFFSET,
  SEGMENT_HEADER_BYTES,
  SEGMENT_MAGIC,
  SegmentAt,
} from './layout.js';

/** Headers are written to and read from memory in place: `at` is the offset of the header's first byte. Nothing here allocates, save where it says so. */
const TWO_32 = 0x1_0000_0000;

export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, (value / TWO_32) >>> 0, true);
}

/** Exact below 2^53; more than that is no number of ours, and Infinity. */
export function getU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high >= 0x20_0000 ? Infinity : high * TWO_32 + view.getUint32(at, true);
}

// ---------------------------------------------------------------- segment header

export interface SegmentHeader {
  uuid0: number;
  uuid1: number;
  uuid2: number;
  uuid3: number;
  reuse: number;
  segmentBytes: number;
  /** 0: prepared, not in use. */
  startLsn: number;
  tailLsn: number;
}

/** Rare: allocates a view for the checksum. */
export function encodeSegmentHeader(bytes: Uint8Array, view: DataView, at: number, header: Readonly<SegmentHeader>): void {
  bytes.fill(0, at, at + PAGE_BYTES);
  view.setUint32(at + SegmentAt.magic, SEGMENT_MAGIC, true);
  view.setUint32(at + SegmentAt.version, OPLOG_VERSION, true);
  view.setUint32(at + SegmentAt.headerBytes, SEGMENT_HEADER_BYTES, true);
  view.setUint32(at + SegmentAt.uuid, header.uuid0, true);
  view.setUint32(at + SegmentAt.uuid + 4, header.uuid1, true);
  view.setUint32(at + SegmentAt.uuid + 8, header.uuid2, true);
  view.setUint32(at + SegmentAt.uuid + 12, header.uuid3, true);
  setU64(view, at + SegmentAt.reuse, header.reuse);
  setU64(view, at + SegmentAt.segmentBytes, header.segmentBytes);
  setU64(view, at + SegmentAt.startLsn, header.startLsn);
  setU64(view, at + SegmentAt.tailLsn, header.tailLsn);
  view.setUint32(at + SegmentAt.crc, crc32c(bytes.subarray(at + SegmentAt.headerBytes, at + SEGMENT_HEADER_BYTES)), true);
}

export type SegmentHeaderState = 'ok' | 'foreign' | 'damaged' | 'newer';

/** Fills `header` when the state is `ok`. Rare: allocates a view. */
export function decodeSegmentHeader(bytes: Uint8Array, view: DataView, at: number, header: SegmentHeader): SegmentHeaderState {
  if (view.getUint32(at + SegmentAt.magic, true) !== SEGMENT_MAGIC) return 'foreign';
  const version = view.getUint32(at + SegmentAt.version, true);
  const crc = crc32c(bytes.subarray(at + SegmentAt.headerBytes, at + SEGMENT_HEADER_BYTES));
  if (version !== OPLOG_VERSION) return version > OPLOG_VERSION ? 'newer' : 'damaged';
  if (view.getUint32(at + SegmentAt.crc, true) !== crc) return 'damaged';
  header.uuid0 = view.getUint32(at + SegmentAt.uuid, true);
  header.uuid1 = view.getUint32(at + SegmentAt.uuid + 4, true);
  header.uuid2 = view.getUint32(at + SegmentAt.uuid + 8, true);
  header.uuid3 = view.getUint32(at + SegmentAt.uuid + 12, true);
  header.reuse = getU64(view, at + SegmentAt.reuse);
  header.segmentBytes = getU64(view, at + SegmentAt.segmentBytes);
  header.startLsn = getU64(view, at + SegmentAt.startLsn);
  header.tailLsn = getU64(view, at + SegmentAt.tailLsn);
  return 'ok';
}

export const emptySegmentHeader = (): SegmentHeader => ({
  uuid0: 0,
  uuid1: 0,
  uuid2: 0,
  uuid3: 0,
  reuse: 0,
  segmentBytes: 0,
  startLsn: 0,
  tailLsn: 0,
});

const seedScratch = new Uint8Array(24);
const seedView = new DataView(seedScratch.buffer);

/** Seed of the checksums of a segment's batches during one use of it. The position is a field of the header, and so under the checksum too. */
export function batchSeed(header: Readonly<SegmentHeader>): number {
  seedView.setUint32(0, header.uuid0, true);
  seedView.setUint32(4, header.uuid1, true);
  seedView.setUint32(8, header.uuid2, true);
  seedView.setUint32(12, header.uuid3, true);
  setU64(seedView, 16, header.reuse);
  return crc32c(seedScratch);
}

// ---------------------------------------------------------------- batch header

/** All fields but the checksum, which {@link sealBatch} adds when the entry headers are in place. */
export function encodeBatchHeader(
  view: DataView,
  at: number,
  segment: Readonly<SegmentHeader>,
  lsn: number,
  durableLsn: number,
  flags: number,
  entries: number,
  payloadBytes: number,
  previousCrc: number,
  trailerCrc: number,
): void {
  view.setUint32(at + BatchAt.magic, BATCH_MAGIC, true);
  view.setUint32(at + BatchAt.version, OPLOG_VERSION, true);
  view.setUint32(at + BatchAt.flags, flags, true);
  view.setUint32(at + BatchAt.uuid, segment.uuid0, true);
  view.setUint32(at + BatchAt.uuid + 4, segment.uuid1, true);
  view.setUint32(at + BatchAt.uuid + 8, segment.uuid2, true);
  view.setUint32(at + BatchAt.uuid + 12, segment.uuid3, true);
  setU64(view, at + BatchAt.reuse, segment.reuse);
  setU64(view, at + BatchAt.lsn, lsn);
  setU64(view, at + BatchAt.durableLsn, durableLsn);
  view.setUint32(at + BatchAt.entries, entries, true);
  view.setUint32(at + BatchAt.headerBytes, BATCH_HEADER_BYTES + entries * ENTRY_HEADER_BYTES, true);
  view.setUint32(at + BatchAt.payloadBytes, payloadBytes, true);
  view.setUint32(at + BatchAt.previousCrc, previousCrc, true);
  view.setUint32(at + BatchAt.trailerCrc, trailerCrc, true);
  for (let i = BatchAt.trailerCrc + 4; i < BATCH_HEADER_BYTES; i += 4) view.setUint32(at + i, 0, true);
}

/** `checked`: bytes 12 to 4095 of the first page. Returns the checksum. */
export function sealBatch(view: DataView, at: number, checked: Uint8Array, seed: number): number {
  const crc = crc32c(checked, seed);
  view.setUint32(at + BatchAt.crc, crc, true);
  return crc;
}

export interface BatchHeader {
  flags: number;
  lsn: number;
  durableLsn: number;
  entries: number;
  payloadBytes: number;
  previousCrc: number;
  trailerCrc: number;
  crc: number;
}

export const emptyBatchHeader = (): BatchHeader => ({
  flags: 0,
  lsn: 0,
  durableLsn: 0,
  entries: 0,
  payloadBytes: 0,
  previousCrc: 0,
  trailerCrc: 0,
  crc: 0,
});

/** Whether the page looks like a batch of this use of the segment at this position, intact or not. */
export function looksLikeBatch(view: DataView, at: number, segment: Readonly<SegmentHeader>, lsn: number): boolean {
  return (
    view.getUint32(at, true) === BATCH_MAGIC &&
    view.getUint32(at + BatchAt.uuid, true) === segment.uuid0 &&
    view.getUint32(at + BatchAt.uuid + 4, true) === segment.uuid1 &&
    view.getUint32(at + BatchAt.uuid + 8, true) === segment.uuid2 &&
    view.getUint32(at + BatchAt.uuid + 12, true) === segment.uuid3 &&
    getU64(view, at + BatchAt.reuse) === segment.reuse &&
    getU64(view, at + BatchAt.lsn) === lsn
  );
}

/** Checks the first page of a batch and fills `header`; false: invalid. The trailer and the payloads are checked apart. */
export function decodeBatchHeader(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  segment: Readonly<SegmentHeader>,
  seed: number,
  lsn: number,
  header: BatchHeader,
): boolean {
  if (!looksLikeBatch(view, at, segment, lsn)) return false;
  const crc = crc32c(bytes.subarray(at + BatchAt.flags, at + PAGE_BYTES), seed);
  if (view.getUint32(at + BatchAt.crc, true) !== crc) return false;
  header.crc = crc;
  header.flags = view.getUint32(at + BatchAt.flags, true);
  header.lsn = lsn;
  header.durableLsn = getU64(view, at + BatchAt.durableLsn);
  header.entries = view.getUint32(at + BatchAt.entries, true);
  header.payloadBytes = view.getUint32(at + BatchAt.payloadBytes, true);
  header.previousCrc = view.getUint32(at + BatchAt.previousCrc, true);
  header.trailerCrc = view.getUint32(at + BatchAt.trailerCrc, true);
  // A newer program gives the segment a newer version: another version here is damage.
  return (
    view.getUint32(at + BatchAt.version, true) === OPLOG_VERSION &&
    header.entries <= MAX_BATCH_ENTRIES &&
    header.payloadBytes <= MAX_BATCH_PAYLOAD_BYTES &&
    header.payloadBytes % PAGE_BYTES === 0 &&
    header.durableLsn <= lsn &&
    view.getUint32(at + BatchAt.headerBytes, true) === BATCH_HEADER_BYTES + header.entries * ENTRY_HEADER_BYTES
  );
}

/** The segment's size is that of whole pages and holds more than the header. */
export const segmentHolds = (segment: Readonly<SegmentHeader>): number => segment.segmentBytes - SEGMENT_DATA_OFFSET;

// ---------------------------------------------------------------- entry header

export interface EntryFields {
  kind: EntryKind;
  seq: number;
  creationTerm: number;
  sessionId: number;
  clientSeq: number;
  part: number;
  parts: number;
  offsetBytes: number;
  lengthBytes: number;
}

export interface VdiskIdentity {
  readonly historyId: number;
  readonly id0: number;
  readonly id1: number;
  readonly id2: number;
  readonly id3: number;
  /** {@link EntryFlag} of all its entries. */
  readonly flags: number;
}

/** `checked`: bytes 0 to 123 of this header. Returns the header's checksum, the next entry's prevHash. */
export function encodeEntryHeader(
  view: DataView,
  at: number,
  checked: Uint8Array,
  vdisk: VdiskIdentity,
  entry: Readonly<EntryFields>,
  prevHash: number,
  payloadBytes: number,
  payloadCrc: number,
): number {
  view.setUint32(at + EntryAt.magic, ENTRY_MAGIC, true);
  view.setUint16(at + EntryAt.version, OPLOG_VERSION, true);
  view.setUint16(at + EntryAt.kind, entry.kind, true);
  view.setUint32(at + EntryAt.vdisk, vdisk.id0, true);
  view.setUint32(at + EntryAt.vdisk + 4, vdisk.id1, true);
  view.setUint32(at + EntryAt.vdisk + 8, vdisk.id2, true);
  view.setUint32(at + EntryAt.vdisk + 12, vdisk.id3, true);
  view.setUint32(at + EntryAt.historyId, vdisk.historyId, true);
  view.setUint32(at + EntryAt.prevHash, prevHash, true);
  setU64(view, at + EntryAt.seq, entry.seq);
  setU64(view, at + EntryAt.creationTerm, entry.creationTerm);
  setU64(view, at + EntryAt.sessionId, entry.sessionId);
  setU64(view, at + EntryAt.clientSeq, entry.clientSeq);
  view.setUint32(at + EntryAt.part, entry.part, true);
  view.setUint32(at + EntryAt.parts, entry.parts, true);
  setU64(view, at + EntryAt.offset, entry.offsetBytes);
  setU64(view, at + EntryAt.length, entry.lengthBytes);
  view.setUint32(at + EntryAt.payloadBytes, payloadBytes, true);
  view.setUint32(at + EntryAt.payloadCrc, payloadCrc, true);
  view.setUint32(at + EntryAt.flags, vdisk.flags, true);
  for (let i = EntryAt.flags + 4; i < EntryAt.headerCrc; i += 4) view.setUint32(at + i, 0, true);
  const hash = crc32c(checked);
  view.setUint32(at + EntryAt.headerCrc, hash, true);
  return hash;
}

/** One entry as it lies in the log, reused from entry to entry. */
export class DecodedEntry implements EntryFields {
  kind: EntryKind = 1;
  id0 = 0;
  id1 = 0;
  id2 = 0;
  id3 = 0;
  historyId = 0;
  seq = 0;
  creationTerm = 0;
  prevHash = 0;
  hash = 0;
  sessionId = 0;
  clientSeq = 0;
  part = 0;
  parts = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  payloadBytes = 0;
  payloadCrc = 0;
  flags = 0;
  lsn = 0;
  payloadOffset = 0;
}

/** False: this is no intact entry header. The batch's checksum covers it already; this one is the entry's identity. */
export function decodeEntryHeader(bytes: Uint8Array, view: DataView, at: number, entry: DecodedEntry): boolean {
  if (view.getUint32(at + EntryAt.magic, true) !== ENTRY_MAGIC || view.getUint16(at + EntryAt.version, true) !== OPLOG_VERSION)
    return false;
  entry.hash = crc32c(bytes.subarray(at, at + EntryAt.headerCrc));
  if (view.getUint32(at + EntryAt.headerCrc, true) !== entry.hash) return false;
  entry.kind = view.getUint16(at + EntryAt.kind, true) as EntryKind;
  entry.id0 = view.getUint32(at + EntryAt.vdisk, true);
  entry.id1 = view.getUint32(at + EntryAt.vdisk + 4, true);
  entry.id2 = view.getUint32(at + EntryAt.vdisk + 8, true);
  entry.id3 = view.getUint32(at + EntryAt.vdisk + 12, true);
  entry.historyId = view.getUint32(at + EntryAt.historyId, true);
  entry.prevHash = view.getUint32(at + EntryAt.prevHash, true);
  entry.seq = getU64(view, at + EntryAt.seq);
  entry.creationTerm = getU64(view, at + EntryAt.creationTerm);
  entry.sessionId = getU64(view, at + EntryAt.sessionId);
  entry.clientSeq = getU64(view, at + EntryAt.clientSeq);
  entry.part = view.getUint32(at + EntryAt.part, true);
  entry.parts = view.getUint32(at + EntryAt.parts, true);
  entry.offsetBytes = getU64(view, at + EntryAt.offset);
  entry.lengthBytes = getU64(view, at + EntryAt.length);
  entry.payloadBytes = view.getUint32(at + EntryAt.payloadBytes, true);
  entry.payloadCrc = view.getUint32(at + EntryAt.payloadCrc, true);
  entry.flags = view.getUint32(at + EntryAt.flags, true);
  return entry.payloadBytes <= MAX_ENTRY_PAYLOAD_BYTES;
}
