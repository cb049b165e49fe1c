import type { Arena, ArenaRegion } from 'uring-engine';
import { ExportOp, type BlockSizes, type Export, type ExportFeatures, type ExportRequest, type ExportSession } from '../export.js';
import { MAX_PAYLOAD_BYTES } from '../limits.js';

const BLOCK_BYTES = 4_096;
const HOLE_AND_ZERO = 3;

export interface MemoryExportOptions {
  readonly name: string;
  readonly description?: string;
  /** A multiple of 4096: that much of the region is taken. */
  readonly sizeBytes: number;
  readonly readOnly?: boolean;
  readonly blockSize?: BlockSizes;
  readonly features?: Partial<ExportFeatures>;
}

/** A disk in the arena; gone with the process. Every request is done before `submit` returns; reads are sent from the disk's own memory. */
export class MemoryExport implements Export, ExportSession {
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly features: ExportFeatures;
  readonly blockSize: BlockSizes;
  readonly #arena: Arena;
  readonly #base: number;
  /** 1: the block has been written. What has not reads as zeroes. */
  readonly #written: Uint8Array;

  constructor(arena: Arena, region: ArenaRegion, options: MemoryExportOptions) {
    this.name = options.name;
    this.description = options.description ?? '';
    this.sizeBytes = options.sizeBytes;
    this.readOnly = options.readOnly ?? false;
    this.features = { ...MEMORY_FEATURES, ...options.features };
    this.blockSize = options.blockSize ?? { minimumBytes: 1, preferredBytes: BLOCK_BYTES, maximumBytes: MAX_PAYLOAD_BYTES };
    this.#arena = arena;
    this.#base = region.take(options.sizeBytes);
    this.#written = new Uint8Array(Math.ceil(options.sizeBytes / BLOCK_BYTES));
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
    else if (op === ExportOp.trim || op === ExportOp.writeZeroes) this.#zero(offsetBytes, lengthBytes);
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
    for (let block = Math.floor(offsetBytes / BLOCK_BYTES); block <= last; block++) this.#written[block] = 1;
  }

  #zero(offsetBytes: number, lengthBytes: number): void {
    const from = this.#base + offsetBytes;
    this.#arena.bytes.fill(0, from, from + lengthBytes);
    const end = Math.floor((offsetBytes + lengthBytes) / BLOCK_BYTES);
    const first = Math.ceil(offsetBytes / BLOCK_BYTES);
    if (first < end) this.#written.fill(0, first, end);
  }

  #status(request: ExportRequest): void {
    const end = request.offsetBytes + request.lengthBytes;
    let at = request.offsetBytes;
    while (at < end) {
      let block = Math.floor(at / BLOCK_BYTES);
      const state = this.#written[block]!;
      while (block * BLOCK_BYTES < end && this.#written[block] === state) block++;
      const upTo = Math.min(block * BLOCK_BYTES, end);
      if (!request.addExtent(upTo - at, state === 1 ? 0 : HOLE_AND_ZERO)) return;
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
