import type { Arena, ArenaRegion } from 'uring-engine';
import { ExportOp, type BlockSizes, type Export, type ExportFeatures, type ExportRequest, type ExportSession } from '../export.js';
import { MAX_PAYLOAD_BYTES } from '../limits.js';

const BLOCK_BYTES = 4_096;
/** What a block is. */
const BLOCK_HOLE = 0;
const BLOCK_DATA = 1;
/** Zeroes that have their place (NO_HOLE). */
const BLOCK_ZERO = 2;
/** base:allocation's NBD_STATE_HOLE (1) and NBD_STATE_ZERO (2), by what a block is. */
const ALLOCATION = [3, 0, 2] as const;
const ENOSPC = 28;

export interface MemoryExportOptions {
  readonly name: string;
  readonly description?: string;
  /** A multiple of 4096: that much of the region is taken. */
  readonly sizeBytes: number;
  /** Clients may resize it up to this (NBD_CMD_RESIZE): so much of the region is taken. */
  readonly maxSizeBytes?: number;
  /** Offers `qemu:allocation-depth`: 0 in holes, 1 elsewhere. */
  readonly allocationDepth?: boolean;
  /** Names of bitmaps: each offers `qemu:dirty-bitmap:NAME`, which is set where something was written or zeroed since the start. */
  readonly dirtyBitmaps?: readonly string[];
  readonly requiresTls?: boolean;
  readonly readOnly?: boolean;
  readonly blockSize?: BlockSizes;
  readonly features?: Partial<ExportFeatures>;
}

/** A disk in the arena; gone with the process. Every request is done before `submit` returns; reads are sent from the disk's own memory. */
export class MemoryExport implements Export, ExportSession {
  readonly name: string;
  readonly description: string;
  sizeBytes: number;
  readonly readOnly: boolean;
  readonly features: ExportFeatures;
  readonly blockSize: BlockSizes;
  readonly contexts: readonly string[];
  readonly requiresTls: boolean;
  readonly resize?: (sizeBytes: number, done: (errno: number) => void) => void;
  /** How many of `contexts` are the bitmaps: they come first. */
  readonly #bitmapCount: number;
  /** 1: the block has been written or zeroed. */
  readonly #touched: Uint8Array;
  readonly #arena: Arena;
  readonly #base: number;
  /** What each block is; all but data reads as zeroes. */
  readonly #blocks: Uint8Array;

  constructor(arena: Arena, region: ArenaRegion, options: MemoryExportOptions) {
    this.name = options.name;
    this.description = options.description ?? '';
    this.sizeBytes = options.sizeBytes;
    this.readOnly = options.readOnly ?? false;
    this.features = { ...MEMORY_FEATURES, ...options.features };
    this.blockSize = options.blockSize ?? { minimumBytes: 1, preferredBytes: BLOCK_BYTES, maximumBytes: MAX_PAYLOAD_BYTES };
    this.#arena = arena;
    const { dirtyBitmaps = [], maxSizeBytes } = options;
    this.#bitmapCount = dirtyBitmaps.length;
    this.contexts = [
      ...dirtyBitmaps.map(name => `qemu:dirty-bitmap:${name}`),
      ...(options.allocationDepth === true ? ['qemu:allocation-depth'] : []),
    ];
    this.requiresTls = options.requiresTls ?? false;
    const mostBytes = maxSizeBytes ?? options.sizeBytes;
    this.#base = region.take(mostBytes);
    this.#blocks = new Uint8Array(Math.ceil(mostBytes / BLOCK_BYTES));
    this.#touched = new Uint8Array(this.#bitmapCount > 0 ? this.#blocks.length : 0);
    if (maxSizeBytes !== undefined) this.resize = (sizeBytes, done) => this.#resize(sizeBytes, maxSizeBytes, done);
  }

  #resize(sizeBytes: number, maxSizeBytes: number, done: (errno: number) => void): void {
    if (sizeBytes > maxSizeBytes) return done(ENOSPC);
    // What is cut off is gone: it reads as zeroes if the disk grows again.
    if (sizeBytes < this.sizeBytes) this.#zero(sizeBytes, this.sizeBytes - sizeBytes);
    this.sizeBytes = sizeBytes;
    done(0);
  }

  /** Sessions keep nothing: one serves all. */
  open(): ExportSession {
    return this;
  }

  close(): void {}

  submit(request: ExportRequest): void {
    const { op, offsetBytes, lengthBytes } = request;
    if (op === ExportOp.read) request.data.add(this.#base + offsetBytes, lengthBytes);
    else if (op === ExportOp.write) this.#write(request);
    else if (op === ExportOp.trim || op === ExportOp.writeZeroes) this.#zero(offsetBytes, lengthBytes, request.noHole);
    else if (op === ExportOp.blockStatus) this.#status(request);
    request.finish(0);
  }

  #write({ payload, offsetBytes, lengthBytes }: ExportRequest): void {
    const { bytes } = this.#arena;
    let to = this.#base + offsetBytes;
    for (let i = 0; i < payload.count; i++) {
      const from = payload.offsets[i]!;
      bytes.copyWithin(to, from, from + payload.lengths[i]!);
      to += payload.lengths[i]!;
    }
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES);
    for (let block = Math.floor(offsetBytes / BLOCK_BYTES); block <= last; block++) this.#blocks[block] = BLOCK_DATA;
    this.#touch(offsetBytes, lengthBytes);
  }

  #zero(offsetBytes: number, lengthBytes: number, noHole = false): void {
    const from = this.#base + offsetBytes;
    this.#arena.bytes.fill(0, from, from + lengthBytes);
    const end = Math.floor((offsetBytes + lengthBytes) / BLOCK_BYTES);
    const first = Math.ceil(offsetBytes / BLOCK_BYTES);
    if (first < end) this.#blocks.fill(noHole ? BLOCK_ZERO : BLOCK_HOLE, first, end);
    // Of the blocks at the edges a part: holes get their place, data stays data.
    if (noHole)
      for (const at of [offsetBytes, offsetBytes + lengthBytes - 1]) {
        const edge = Math.floor(at / BLOCK_BYTES);
        if (this.#blocks[edge] === BLOCK_HOLE) this.#blocks[edge] = BLOCK_ZERO;
      }
    this.#touch(offsetBytes, lengthBytes);
  }

  #touch(offsetBytes: number, lengthBytes: number): void {
    if (this.#bitmapCount > 0)
      this.#touched.fill(1, Math.floor(offsetBytes / BLOCK_BYTES), Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES));
  }

  #status(request: ExportRequest): void {
    const end = request.offsetBytes + request.lengthBytes;
    const { context } = request;
    const ofBitmap = context > 0 && context <= this.#bitmapCount;
    const states = ofBitmap ? this.#touched : this.#blocks;
    let at = request.offsetBytes;
    while (at < end) {
      let block = Math.floor(at / BLOCK_BYTES);
      const state = states[block]!;
      while (block * BLOCK_BYTES < end && states[block] === state) block++;
      const upTo = Math.min(block * BLOCK_BYTES, end);
      if (!request.addExtent(upTo - at, context === 0 ? ALLOCATION[state]! : Math.min(state, 1))) return;
      at = upTo;
    }
  }
}

const MEMORY_FEATURES: ExportFeatures = {
  flush: true,
  fua: true,
  trim: true,
  writeZeroes: true,
  fastZero: true,
  cache: true,
  multiConn: true,
  rotational: false,
  blockStatus: true,
};
