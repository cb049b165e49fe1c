import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import type { Arena } from 'uring-engine';
import type { EntryDraft, LogOwner } from '../core/ports.js';
import { encodeBatchHeader, encodeEntryHeader, sealBatch } from './codec.js';
import {
  BATCH_HEADER_BYTES,
  BatchAt,
  batchBytes,
  ENTRIES_IN_FIRST_PAGE,
  ENTRY_HEADER_BYTES,
  EntryAt,
  MAX_BATCH_BYTES,
  MAX_BATCH_ENTRIES,
  pagesOf,
  trailerPages,
} from './layout.js';
import { BATCH_BUFFERS, MAX_BATCH_PAYLOAD_BYTES, PAGE_BYTES } from './limits.js';
import type { Segment } from './segment.js';
import type { StreamVdiskLog } from './vdisk-log.js';

/** Of each of a row of entry headers the part under its checksum: a view, made at its first use. */
class CheckedHeaders {
  readonly #views: Uint8Array[] = [];

  constructor(
    readonly bytes: Uint8Array,
    readonly baseOffset: number,
  ) {}

  view(index: number): Uint8Array {
    for (let i = this.#views.length; i <= index; i++) {
      const at = this.baseOffset + i * ENTRY_HEADER_BYTES;
      this.#views.push(this.bytes.subarray(at, at + EntryAt.headerCrc));
    }
    return this.#views[index]!;
  }
}

/** Entry headers beyond the first page wait here until the batch closes and the end of the payload is known. One for all batches: only one is open. */
class HeaderOverflow {
  readonly bytes = new Uint8Array((MAX_BATCH_ENTRIES - ENTRIES_IN_FIRST_PAGE) * ENTRY_HEADER_BYTES);
  readonly view = new DataView(this.bytes.buffer);
  readonly checked = new CheckedHeaders(this.bytes, 0);
}

/** A batch and its buffer: `free` → `open` (takes entries) → `closed` (waits for its turn) → `writing` → `written` (acknowledged in order) → `free`. */
export type BatchState = 'free' | 'open' | 'closed' | 'writing' | 'written';

export class Batch {
  state: BatchState = 'free';
  lsn = 0;
  segment: Segment | null = null;
  entries = 0;
  payloadBytes = 0;
  flags = 0;
  /** Entries of which those owners know that want to know when they are held. */
  toldHeld = 0;
  /** What its header says was durable when it went out. */
  durableLsn = 0;
  /** When it was opened, and when it went out. */
  openedNs = 0;
  submittedNs = 0;
  /** Most bytes this batch may become: what its segment has left. */
  roomBytes = 0;
  readonly owners: (LogOwner | null)[] = new Array<LogOwner | null>(MAX_BATCH_ENTRIES).fill(null);
  readonly tags = new Float64Array(MAX_BATCH_ENTRIES);
  readonly payloadOffsets = new Float64Array(MAX_BATCH_ENTRIES);
  readonly payloadCrcs = new Uint32Array(MAX_BATCH_ENTRIES);
  /** One view per page, made at its first use: a checksum wants a view, and a view made per entry would be garbage. */
  readonly #pages: Uint8Array[] = [];
  readonly #checkedPage: Uint8Array;
  readonly #checkedHeaders: CheckedHeaders;

  constructor(
    readonly index: number,
    readonly arena: Arena,
    readonly baseOffset: number,
    readonly overflow: HeaderOverflow,
  ) {
    assert(baseOffset % PAGE_BYTES === 0, 'batch buffers start at a page');
    const { bytes } = arena;
    this.#checkedPage = bytes.subarray(baseOffset + BatchAt.flags, baseOffset + PAGE_BYTES);
    this.#checkedHeaders = new CheckedHeaders(bytes, baseOffset + BATCH_HEADER_BYTES);
  }

  open(lsn: number, segment: Segment, roomBytes: number): void {
    assert(this.state === 'free');
    this.state = 'open';
    this.lsn = lsn;
    this.segment = segment;
    this.roomBytes = roomBytes;
    this.entries = 0;
    this.payloadBytes = 0;
    this.flags = 0;
    this.toldHeld = 0;
  }

  /** Whether the payload bytes are in its buffer. */
  holds(lsn: number, lengthBytes: number): boolean {
    return this.state !== 'free' && lsn >= this.lsn && lsn + lengthBytes <= this.lsn + this.totalBytes;
  }

  get totalBytes(): number {
    return batchBytes(this.entries, this.payloadBytes);
  }

  fits(payloadBytes: number): boolean {
    const total = this.payloadBytes + pagesOf(payloadBytes) * PAGE_BYTES;
    return this.entries < MAX_BATCH_ENTRIES && total <= MAX_BATCH_PAYLOAD_BYTES && batchBytes(this.entries + 1, total) <= this.roomBytes;
  }

  /**
   * Copies the entry in and chains it to its vdisk's log; not `isNext`: a local record, or a copy, which are no part of the chain's end. Returns the position of
   * its payload in the log, or of the batch where there is none.
   */
  add(log: StreamVdiskLog, draft: EntryDraft, owner: LogOwner, tag: number, isNext: boolean, prevHash = log.lastHash): number {
    const index = this.entries++;
    const bytes = draft.payload.totalBytes;
    const at = this.baseOffset + PAGE_BYTES + this.payloadBytes;
    // Without a payload the place behind the one before might be another segment's.
    const lsn = bytes === 0 ? this.lsn : this.lsn + PAGE_BYTES + this.payloadBytes;
    const payloadCrc = bytes === 0 ? 0 : this.#copyPayload(draft, at, bytes);
    this.payloadBytes += pagesOf(bytes) * PAGE_BYTES;
    this.owners[index] = owner;
    this.tags[index] = tag;
    this.payloadOffsets[index] = at;
    this.payloadCrcs[index] = payloadCrc;
    let hash: number;
    if (index < ENTRIES_IN_FIRST_PAGE) {
      const header = this.baseOffset + BATCH_HEADER_BYTES + index * ENTRY_HEADER_BYTES;
      hash = encodeEntryHeader(this.arena.view, header, this.#checkedHeaders.view(index), log, draft, prevHash, bytes, payloadCrc);
    } else {
      const i = index - ENTRIES_IN_FIRST_PAGE;
      const { view, checked } = this.overflow;
      hash = encodeEntryHeader(view, i * ENTRY_HEADER_BYTES, checked.view(i), log, draft, prevHash, bytes, payloadCrc);
    }
    if (!isNext) return lsn;
    log.lastHash = hash;
    log.lastPayloadCrc = payloadCrc;
    return lsn;
  }

  #copyPayload(draft: EntryDraft, at: number, bytes: number): number {
    const { payload } = draft;
    const memory = this.arena.bytes;
    let to = at;
    for (let i = 0; i < payload.count; i++) {
      const from = payload.offsets[i]!;
      const length = payload.lengths[i]!;
      memory.copyWithin(to, from, from + length);
      to += length;
    }
    let crc = 0;
    let page = (at - this.baseOffset) / PAGE_BYTES;
    let left = bytes;
    for (; left >= PAGE_BYTES; left -= PAGE_BYTES) crc = crc32c(this.#page(page++), crc);
    if (left > 0) {
      // Only control records end within a page.
      memory.fill(0, to, to + PAGE_BYTES - left);
      crc = crc32c(memory.subarray(to - left, to), crc);
    }
    return crc;
  }

  /** No further entries. Headers that did not fit the first page go behind the payload. */
  close(): void {
    assert(this.state === 'open');
    this.state = 'closed';
    const first = this.baseOffset + BATCH_HEADER_BYTES + Math.min(this.entries, ENTRIES_IN_FIRST_PAGE) * ENTRY_HEADER_BYTES;
    this.arena.bytes.fill(0, first, this.baseOffset + PAGE_BYTES);
    const pages = trailerPages(this.entries);
    if (pages === 0) return;
    const used = (this.entries - ENTRIES_IN_FIRST_PAGE) * ENTRY_HEADER_BYTES;
    const at = this.baseOffset + PAGE_BYTES + this.payloadBytes;
    this.arena.bytes.set(this.overflow.bytes.subarray(0, used), at);
    this.arena.bytes.fill(0, at + used, at + pages * PAGE_BYTES);
  }

  /** Writes the batch's header; the last thing before it goes out. Returns its checksum. */
  seal(durableLsn: number, previousCrc: number): number {
    assert(this.state === 'closed');
    const segment = this.segment!;
    let trailerCrc = 0;
    const pages = trailerPages(this.entries);
    if (pages > 0) {
      const first = 1 + this.payloadBytes / PAGE_BYTES;
      trailerCrc = segment.seed;
      for (let i = 0; i < pages; i++) trailerCrc = crc32c(this.#page(first + i), trailerCrc);
    }
    const { view } = this.arena;
    const { baseOffset, lsn, flags, entries, payloadBytes } = this;
    encodeBatchHeader(view, baseOffset, segment.header, lsn, durableLsn, flags, entries, payloadBytes, previousCrc, trailerCrc);
    return sealBatch(view, baseOffset, this.#checkedPage, segment.seed);
  }

  #page(index: number): Uint8Array {
    // One after the other: no holes.
    for (let i = this.#pages.length; i <= index; i++) {
      const at = this.baseOffset + i * PAGE_BYTES;
      this.#pages.push(this.arena.bytes.subarray(at, at + PAGE_BYTES));
    }
    return this.#pages[index]!;
  }

  free(): void {
    this.state = 'free';
    this.segment = null;
    this.owners.fill(null, 0, this.entries);
  }
}

const isFree = (batch: Batch): boolean => batch.state === 'free';

/** All batches of a stream, which share its buffers. */
export class Batches {
  /** By their index. */
  readonly all: readonly Batch[];

  /** `offset` of `BATCH_BUFFERS` * MAX_BATCH_BYTES bytes of the arena, page-aligned. */
  constructor(arena: Arena, offset: number) {
    const overflow = new HeaderOverflow();
    this.all = Array.from({ length: BATCH_BUFFERS }, (_, i) => new Batch(i, arena, offset + i * MAX_BATCH_BYTES, overflow));
  }

  /** Undefined: all are in use. */
  free(): Batch | undefined {
    return this.all.find(isFree);
  }

  /** The one in whose buffer the payload bytes are. */
  holding(lsn: number, lengthBytes: number): Batch | undefined {
    return this.all.find(one => one.holds(lsn, lengthBytes));
  }

  /** Of all entries that are not acknowledged. */
  addOwners(owners: Set<LogOwner>): void {
    for (const batch of this.all) for (let i = 0; i < batch.entries; i++) if (batch.owners[i] != null) owners.add(batch.owners[i]!);
  }
}
