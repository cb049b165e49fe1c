import assert from 'node:assert/strict';
import { MAX_BATCH_PAYLOAD_BYTES, MAX_TRAILER_PAGES, PAGE_BYTES } from './limits.js';

/**
 * Where everything lies in a segment file; docs/formats.md has it in words. Little endian. 64-bit integers are two u32 and stay below 2^53.
 * Of every structure the magic, the version and the checksum keep their places in all versions to come.
 */
export const OPLOG_VERSION = 1;

// ---- segment header: the first sector of the first page, so that a power cut leaves the old one or the new one
export const SEGMENT_MAGIC = 0x474c5047; // 'GPLG'
export const SegmentAt = {
  magic: 0,
  version: 4,
  crc: 8, // of bytes 12 to 127
  headerBytes: 12,
  uuid: 16,
  reuse: 32,
  segmentBytes: 40,
  startLsn: 48, // 0: prepared, not yet in use
  tailLsn: 56,
} as const;
export const SEGMENT_HEADER_BYTES = 128;
/** Batches start behind the header page. */
export const SEGMENT_DATA_OFFSET = PAGE_BYTES;
/** LSNs start here: 0 is no position. */
export const FIRST_LSN = PAGE_BYTES;

// ---- batch: one page with the header and up to 31 entry headers, payload pages, pages with further entry headers
export const BATCH_MAGIC = 0x42475047; // 'GPGB'
export const BatchAt = {
  magic: 0,
  version: 4,
  crc: 8, // of bytes 12 to 4095, seeded with segment uuid and reuse count
  flags: 12,
  uuid: 16,
  reuse: 32,
  lsn: 40,
  durableLsn: 48,
  entries: 56,
  headerBytes: 60, // of all headers: 128 × (1 + entries)
  payloadBytes: 64, // whole pages
  previousCrc: 68,
  trailerCrc: 72, // of the pages behind the payload, seeded like crc; 0 when there are none
} as const;
export const BATCH_HEADER_BYTES = 128;
/** copies: its entries take the place of ones that are damaged further in front, wherever their numbers say; no log ends with them. */
export const BatchFlag = { clean: 1, copies: 2 } as const;

export const ENTRY_MAGIC = 0x45475047; // 'GPGE'
export const EntryAt = {
  magic: 0,
  version: 4,
  kind: 6,
  vdisk: 8,
  historyId: 24,
  prevHash: 28,
  seq: 32,
  creationTerm: 40,
  sessionId: 48,
  clientSeq: 56,
  part: 64,
  parts: 68,
  offset: 72,
  length: 80,
  payloadBytes: 88,
  payloadCrc: 92,
  flags: 96,
  headerCrc: 124, // of bytes 0 to 123: what the next entry names as prevHash
} as const;
export const ENTRY_HEADER_BYTES = 128;
/** replicated: of a log that several nodes hold; it is committed only when all have it. */
export const EntryFlag = { replicated: 1 } as const;

export const ENTRIES_IN_FIRST_PAGE = (PAGE_BYTES - BATCH_HEADER_BYTES) / ENTRY_HEADER_BYTES;
export const ENTRIES_IN_TRAILER_PAGE = PAGE_BYTES / ENTRY_HEADER_BYTES;
export const MAX_BATCH_ENTRIES = ENTRIES_IN_FIRST_PAGE + MAX_TRAILER_PAGES * ENTRIES_IN_TRAILER_PAGE;
export const MAX_BATCH_BYTES = PAGE_BYTES + MAX_BATCH_PAYLOAD_BYTES + MAX_TRAILER_PAGES * PAGE_BYTES;

assert.equal(ENTRIES_IN_FIRST_PAGE, 31);
assert.equal(MAX_BATCH_ENTRIES, 287);
assert(SegmentAt.tailLsn + 8 <= SEGMENT_HEADER_BYTES && SEGMENT_HEADER_BYTES <= 512, 'the segment header lies in one sector');
assert(BatchAt.trailerCrc + 4 <= BATCH_HEADER_BYTES);
assert(EntryAt.headerCrc + 4 === ENTRY_HEADER_BYTES);

export const pagesOf = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES);
export const paddedBytes = (bytes: number): number => pagesOf(bytes) * PAGE_BYTES;
export const trailerPages = (entries: number): number =>
  entries <= ENTRIES_IN_FIRST_PAGE ? 0 : Math.ceil((entries - ENTRIES_IN_FIRST_PAGE) / ENTRIES_IN_TRAILER_PAGE);
/** Bytes in the file of a batch. */
export const batchBytes = (entries: number, payloadBytes: number): number => PAGE_BYTES + payloadBytes + trailerPages(entries) * PAGE_BYTES;

/** Where the header of entry `index` lies, from the batch's first byte. */
export function entryHeaderAt(index: number, payloadBytes: number): number {
  return index < ENTRIES_IN_FIRST_PAGE
    ? BATCH_HEADER_BYTES + index * ENTRY_HEADER_BYTES
    : PAGE_BYTES + payloadBytes + (index - ENTRIES_IN_FIRST_PAGE) * ENTRY_HEADER_BYTES;
}

const SEGMENT_NAME = /^(\d{8})\.seg$/;
/** A segment in preparation: its name is `.seg` only when it is full of zeroes and on stable storage. */
const NEW_NAME = /^(\d{8})\.new$/;
export const segmentName = (number: number): string => `${String(number).padStart(8, '0')}.seg`;
export const newName = (number: number): string => `${String(number).padStart(8, '0')}.new`;

/** What a name in the stream's directory is, with the segment's number. */
export function parseName(name: string): { readonly kind: 'segment' | 'new' | 'foreign'; readonly number: number } {
  const segment = SEGMENT_NAME.exec(name);
  if (segment !== null) return { kind: 'segment', number: Number(segment[1]) };
  const fresh = NEW_NAME.exec(name);
  return fresh === null ? { kind: 'foreign', number: -1 } : { kind: 'new', number: Number(fresh[1]) };
}
