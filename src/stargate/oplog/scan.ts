import { crc32c } from '@node-rs/crc32';
import type { Arena, FileSystem } from 'uring-engine';
import { DecodedEntry, decodeBatchHeader, decodeEntryHeader, emptyBatchHeader, looksLikeBatch } from './codec.js';
import { batchBytes, BatchFlag, EntryAt, entryHeaderAt, paddedBytes, trailerPages } from './layout.js';
import { PAGE_BYTES } from './limits.js';
import type { Segment } from './segment.js';

export interface ScanHandler {
  /** `entry` is reused; its payload is readable during the call. `isCopy`: it stands where its number says, not behind what came last. */
  onEntry(entry: DecodedEntry, isCopy: boolean): void;
  /** Nothing is known of what lay here. */
  onRotRange(segment: Segment, fromLsn: number, toLsn: number, message: string): void;
  /** The entry's header is intact, its payload is not. */
  onRotEntry(segment: Segment, entry: DecodedEntry, isCopy: boolean): void;
  onProgress(readBytes: number): void;
}

export interface ScanOptions {
  readonly files: FileSystem;
  readonly arena: Arena;
  /** Memory to read through: at least two of the largest batches. */
  readonly windowOffset: number;
  readonly windowBytes: number;
  readonly laterBatchMeansRot?: boolean;
}

/**
 * Reads segments in the order of the log and tells torn from rotten (replication, rule 5). Below a segment's known end everything was durable
 * once: what is invalid there is rot. In the last segment, an invalid batch is rot if a later intact batch says that the log was durable beyond it; else
 * it is torn, and the log ends there, whatever intact batches follow: with two in flight, the second may reach the disk before the first.
 */
export class LogScanner {
  batches = 0;
  entries = 0;
  bytes = 0;
  tornBytes = 0;
  /** Highest position known to have been durable. */
  durableLsn = 0;
  /** Checksum of the last batch read; null: unknown, the first of the log or after rot. */
  previousCrc: number | null = null;
  /** The last batch read is a clean mark and nothing of this use of the segment follows it. */
  clean = false;

  readonly #header = emptyBatchHeader();
  readonly #ahead = emptyBatchHeader();
  readonly #entry = new DecodedEntry();
  #windowSegment: Segment | null = null;
  #windowStart = 0;
  #windowEnd = 0;
  #aheadOf: Segment | null = null;
  #aheadDurableLsn = 0;
  #aheadEndLsn = 0;

  constructor(
    readonly options: ScanOptions,
    readonly handler: ScanHandler,
  ) {}

  /** Reads one segment up to `knownEndLsn`, or, the last one, to where it ends. Returns the end of what is intact. */
  scan(segment: Segment, knownEndLsn: number | null): number {
    const limit = Math.min(knownEndLsn ?? Infinity, segment.limitLsn);
    let lsn = segment.header.startLsn;
    let flags = 0;
    while (lsn < limit) {
      if (this.#readBatch(segment, lsn, limit)) {
        const end = lsn + batchBytes(this.#header.entries, this.#header.payloadBytes);
        const intact = this.#payloadsIntact(segment, lsn);
        if (!intact && !this.#wasDurable(segment, lsn, end, knownEndLsn)) break;
        this.#deliver(segment, lsn, intact);
        flags = this.#header.flags;
        lsn = end;
        continue;
      }
      if (!this.#wasDurable(segment, lsn, lsn + 1, knownEndLsn)) break;
      const next = this.#findBatch(segment, lsn + PAGE_BYTES, limit);
      this.handler.onRotRange(segment, lsn, next, 'the log was durable here and is damaged');
      this.previousCrc = null;
      flags = 0;
      lsn = next;
    }
    if (knownEndLsn === null) {
      this.#lookAhead(segment, lsn);
      this.tornBytes = Math.max(0, this.#aheadEndLsn - lsn);
      this.clean = (flags & BatchFlag.clean) !== 0 && this.tornBytes === 0;
    }
    return lsn;
  }

  /** First page and trailer: true when they are intact and follow the batch before. */
  #readBatch(segment: Segment, lsn: number, limitLsn: number): boolean {
    const header = this.#header;
    const { bytes, view } = this.options.arena;
    let at = this.#at(segment, lsn, PAGE_BYTES);
    if (!decodeBatchHeader(bytes, view, at, segment.header, segment.seed, lsn, header)) return false;
    if (this.previousCrc !== null && header.previousCrc !== this.previousCrc) return false;
    const total = batchBytes(header.entries, header.payloadBytes);
    if (lsn + total > limitLsn) return false;
    at = this.#at(segment, lsn, total);
    const pages = trailerPages(header.entries);
    if (pages > 0) {
      const trailer = at + PAGE_BYTES + header.payloadBytes;
      if (crc32c(bytes.subarray(trailer, trailer + pages * PAGE_BYTES), segment.seed) !== header.trailerCrc) return false;
    }
    return true;
  }

  #payloadsIntact(segment: Segment, lsn: number): boolean {
    const { entries, payloadBytes } = this.#header;
    const { bytes, view } = this.options.arena;
    const at = this.#at(segment, lsn, batchBytes(entries, payloadBytes));
    let payload = at + PAGE_BYTES;
    for (let i = 0; i < entries; i++) {
      const header = at + entryHeaderAt(i, payloadBytes);
      const length = view.getUint32(header + EntryAt.payloadBytes, true);
      if (payload + length > at + PAGE_BYTES + payloadBytes) return false;
      if (length > 0 && crc32c(bytes.subarray(payload, payload + length)) !== view.getUint32(header + EntryAt.payloadCrc, true))
        return false;
      payload += paddedBytes(length);
    }
    return true;
  }

  #deliver(segment: Segment, lsn: number, intact: boolean): void {
    const { entries, payloadBytes, crc, durableLsn, flags } = this.#header;
    const isCopy = (flags & BatchFlag.copies) !== 0;
    const total = batchBytes(entries, payloadBytes);
    const { bytes, view } = this.options.arena;
    const at = this.#at(segment, lsn, total);
    const entry = this.#entry;
    let payload = PAGE_BYTES;
    for (let i = 0; i < entries; i++) {
      if (!decodeEntryHeader(bytes, view, at + entryHeaderAt(i, payloadBytes), entry)) {
        this.handler.onRotRange(segment, lsn, lsn + total, 'an entry header in an intact batch is no entry header of ours');
        break;
      }
      entry.lsn = entry.payloadBytes === 0 ? lsn : lsn + payload;
      entry.payloadOffset = at + payload;
      payload += paddedBytes(entry.payloadBytes);
      const whole =
        intact ||
        entry.payloadBytes === 0 ||
        crc32c(bytes.subarray(entry.payloadOffset, entry.payloadOffset + entry.payloadBytes)) === entry.payloadCrc;
      if (whole) this.handler.onEntry(entry, isCopy);
      else this.handler.onRotEntry(segment, entry, isCopy);
    }
    this.batches++;
    this.entries += entries;
    this.bytes += total;
    this.previousCrc = crc;
    this.durableLsn = Math.max(this.durableLsn, durableLsn);
  }

  /** Whether the log is known to have been durable from `lsn` to `endLsn`. */
  #wasDurable(segment: Segment, lsn: number, endLsn: number, knownEndLsn: number | null): boolean {
    if (knownEndLsn !== null) return true;
    this.#lookAhead(segment, lsn);
    return this.#aheadDurableLsn >= endLsn;
  }

  /** Looks through the rest of the last segment, once: what do later batches say, and how far did anything get? */
  #lookAhead(segment: Segment, fromLsn: number): void {
    if (this.#aheadOf === segment) return;
    this.#aheadOf = segment;
    this.#aheadDurableLsn = 0;
    this.#aheadEndLsn = 0;
    const { bytes, view } = this.options.arena;
    for (let lsn = fromLsn; lsn < segment.limitLsn; lsn += PAGE_BYTES) {
      const at = this.#at(segment, lsn, PAGE_BYTES);
      if (!looksLikeBatch(view, at, segment.header, lsn)) continue;
      this.#aheadEndLsn = lsn + PAGE_BYTES;
      if (!decodeBatchHeader(bytes, view, at, segment.header, segment.seed, lsn, this.#ahead)) continue;
      this.#aheadEndLsn = lsn + batchBytes(this.#ahead.entries, this.#ahead.payloadBytes);
      this.#aheadDurableLsn = Math.max(this.#aheadDurableLsn, this.options.laterBatchMeansRot ? lsn : this.#ahead.durableLsn);
    }
  }

  /** Position of the next batch whose first page is intact, or `limitLsn`. */
  #findBatch(segment: Segment, fromLsn: number, limitLsn: number): number {
    const { bytes, view } = this.options.arena;
    for (let lsn = fromLsn; lsn < limitLsn; lsn += PAGE_BYTES) {
      const at = this.#at(segment, lsn, PAGE_BYTES);
      if (decodeBatchHeader(bytes, view, at, segment.header, segment.seed, lsn, this.#ahead)) return lsn;
    }
    return limitLsn;
  }

  /** Arena offset where `lengthBytes` from `lsn` can be read. May move what was read before. */
  #at(segment: Segment, lsn: number, lengthBytes: number): number {
    const { files, arena, windowOffset, windowBytes } = this.options;
    const start = segment.fileOffset(lsn);
    if (segment !== this.#windowSegment || start < this.#windowStart || start + lengthBytes > this.#windowEnd) {
      const wanted = Math.min(windowBytes, segment.header.segmentBytes - start);
      const read = files.read(segment.slot, windowOffset, wanted, start);
      if (read < wanted) arena.bytes.fill(0, windowOffset + read, windowOffset + wanted);
      this.#windowSegment = segment;
      this.#windowStart = start;
      this.#windowEnd = start + wanted;
      this.handler.onProgress(wanted);
    }
    return windowOffset + start - this.#windowStart;
  }
}
