import assert from 'node:assert/strict';
import { AllocateMode, WRITE_DSYNC, type ArenaRegion, type ClientId, type Engine, type EngineClient, type Slot } from 'uring-engine';
import { BufferSet } from '../buffers.js';
import {
  ExportOp,
  type BlockSizes,
  type Export,
  type ExportFeatures,
  type ExportRequest,
  type ExportSession,
  type ReleaseListener,
} from '../export.js';
import { MAX_PAYLOAD_BYTES, MAX_PIECE_BYTES } from '../limits.js';
import { addFileExtents, ALLOCATION_FLAGS, DEPTH_FLAGS, errnoOfEngine } from './file-extents.js';

/** Buffers for reads: small ones for the small reads that many are, large ones by as many as a piece needs. */
const SMALL_BYTES = 4_096;
const LARGE_BYTES = 64 << 10;
const MAX_BUFFERS_PER_READ = MAX_PIECE_BYTES / LARGE_BYTES;
const SMALL_COUNT = 1_024;
const LARGE_COUNT = 256;
/** Requests at the engine at once; more wait. */
const MAX_OPERATIONS = 1_024;
/** Arena bytes that a FileExport takes of its region. */
export const FILE_EXPORT_REGION_BYTES = SMALL_COUNT * SMALL_BYTES + LARGE_COUNT * LARGE_BYTES + LARGE_BYTES;

const EIO = 5;
const EINVAL = 22;
const ENOSPC = 28;
const EOPNOTSUPP = 95;

export interface FileExportOptions {
  readonly name: string;
  readonly description?: string;
  readonly path: string;
  readonly readOnly?: boolean;
  /** Clients may resize it up to this (NBD_CMD_RESIZE): the file is cut short or lengthened, durably. */
  readonly maxSizeBytes?: number;
  /** Offers `qemu:allocation-depth`: 1 where the file has data, 0 in its holes. */
  readonly allocationDepth?: boolean;
  readonly blockSize?: BlockSizes;
}

/** What an operation does next when all that it has at the engine is done. */
const Stage = { main: 0, zeroes: 1, sync: 2 } as const;
type Stage = (typeof Stage)[keyof typeof Stage];

/** One request at the engine. */
class Operation {
  request: ExportRequest | null = null;
  stage: Stage = Stage.main;
  /** Completions still to come. */
  open = 0;
  errno = 0;
  /** READ: the bytes that came. */
  readBytes = 0;
  readonly buffers = new Int32Array(MAX_BUFFERS_PER_READ);
  bufferCount = 0;
  small = false;
  /** Of zeroes that are written out: still to be written. */
  remainingBytes = 0;
}

/**
 * A file, through the page cache. FUA is RWF_DSYNC, FLUSH is fdatasync, TRIM and WRITE_ZEROES punch holes (NO_HOLE: zero the range).
 * What is allocated is what the file system says of it (lseek(2), SEEK_DATA and SEEK_HOLE); libuv without the addon cannot ask: then all of it is.
 */
export class FileExport implements Export, ExportSession, EngineClient, ReleaseListener {
  readonly name: string;
  readonly description: string;
  sizeBytes: number;
  readonly readOnly: boolean;
  readonly features: ExportFeatures;
  readonly blockSize: BlockSizes;
  readonly contexts: readonly string[];
  readonly resize?: (sizeBytes: number, done: (errno: number) => void) => void;
  readonly #engine: Engine;
  readonly #clientId: ClientId;
  readonly #slot: Slot;
  readonly #small: BufferSet;
  readonly #large: BufferSet;
  readonly #zeroOffset: number;
  readonly #operations = Array.from({ length: MAX_OPERATIONS }, () => new Operation());
  readonly #free = Int32Array.from({ length: MAX_OPERATIONS }, (_, i) => i);
  #freeCount = MAX_OPERATIONS;
  /** In the order they came; bounded by what the connections may have open. */
  #waiting: ExportRequest[] = [];
  /** Requests that are not finished: their operations may be at the file. */
  #unfinished = 0;
  /** New sizes that wait for those; meanwhile nothing else is begun. */
  readonly #resizes: { readonly sizeBytes: number; readonly done: (errno: number) => void }[] = [];

  constructor(engine: Engine, region: ArenaRegion, options: FileExportOptions) {
    this.name = options.name;
    this.description = options.description ?? '';
    this.readOnly = options.readOnly ?? false;
    this.features = { ...FILE_FEATURES, multiConn: true };
    this.blockSize = options.blockSize ?? { minimumBytes: 1, preferredBytes: SMALL_BYTES, maximumBytes: MAX_PAYLOAD_BYTES };
    this.contexts = options.allocationDepth === true ? ['qemu:allocation-depth'] : [];
    const { maxSizeBytes } = options;
    if (maxSizeBytes !== undefined) this.resize = (sizeBytes, done) => this.#beginResize(sizeBytes, maxSizeBytes, done);
    this.#engine = engine;
    this.#clientId = engine.register(this);
    this.#slot = engine.files.open(options.path, { write: !this.readOnly });
    this.sizeBytes = engine.files.sizeBytes(this.#slot);
    const base = region.take(FILE_EXPORT_REGION_BYTES);
    this.#large = new BufferSet(base, LARGE_BYTES, LARGE_COUNT);
    this.#zeroOffset = base + LARGE_COUNT * LARGE_BYTES;
    this.#small = new BufferSet(this.#zeroOffset + LARGE_BYTES, SMALL_BYTES, SMALL_COUNT);
    engine.arena.bytes.fill(0, this.#zeroOffset, this.#zeroOffset + LARGE_BYTES);
  }

  open(): ExportSession {
    return this;
  }

  /** Of a session: nothing to do. The file is closed by {@link destroy}. */
  close(): void {}

  /** After every connection has ended. */
  destroy(): void {
    assert(this.#freeCount === MAX_OPERATIONS && this.#waiting.length === 0, 'requests are outstanding');
    this.#engine.files.close(this.#slot);
  }

  submit(request: ExportRequest): void {
    if (this.#waiting.length > 0 || this.#resizes.length > 0 || !this.#start(request)) this.#waiting.push(request);
  }

  /** A write that is under way would lengthen a file that is cut short under it: those go first. */
  #beginResize(sizeBytes: number, maxSizeBytes: number, done: (errno: number) => void): void {
    if (sizeBytes > maxSizeBytes) return done(ENOSPC);
    this.#resizes.push({ sizeBytes, done });
    this.#goOn();
  }

  #resizeNow(sizeBytes: number): number {
    const { files } = this.#engine;
    try {
      files.truncate(this.#slot, sizeBytes);
      files.sync(this.#slot);
    } catch (error) {
      return errnoOfEngine(error);
    } finally {
      this.sizeBytes = files.sizeBytes(this.#slot);
    }
    return 0;
  }

  onReleased(request: ExportRequest): void {
    const operation = this.#operations[request.exportTag]!;
    this.#giveBuffers(operation);
    this.#recycle(request.exportTag);
  }

  onCompletion(tag: number, result: number): void {
    const operation = this.#operations[tag]!;
    if (result >= 0) operation.readBytes += result;
    else if (operation.errno === 0) operation.errno = -result;
    if (--operation.open === 0) this.#advance(tag, operation);
  }

  /** False: it has to wait for buffers or a place. */
  #start(request: ExportRequest): boolean {
    const { op, offsetBytes, lengthBytes } = request;
    if (offsetBytes + lengthBytes > this.sizeBytes) {
      // It was inside before the file was cut short.
      request.finish(op === ExportOp.write || op === ExportOp.writeZeroes ? ENOSPC : EINVAL);
      return true;
    }
    if (op === ExportOp.blockStatus || op === ExportOp.cache) {
      const flags = request.context === 0 ? ALLOCATION_FLAGS : DEPTH_FLAGS;
      const { minimumBytes } = this.blockSize;
      request.finish(op === ExportOp.cache ? 0 : addFileExtents(this.#engine.files, this.#slot, request, minimumBytes, flags));
      return true;
    }
    if (this.#freeCount === 0) return false;
    const tag = this.#free[this.#freeCount - 1]!;
    const operation = this.#operations[tag]!;
    if (op === ExportOp.read && !this.#takeBuffers(operation, lengthBytes)) return false;
    this.#freeCount--;
    this.#unfinished++;
    operation.request = request;
    operation.stage = Stage.main;
    operation.errno = 0;
    operation.readBytes = 0;
    if (op === ExportOp.read) this.#read(tag, operation, offsetBytes, lengthBytes);
    else if (op === ExportOp.write) this.#write(tag, operation, request);
    else {
      operation.open = 1;
      if (op === ExportOp.flush) this.#engine.sync(this.#slot, this.#clientId, tag);
      else {
        const mode = request.noHole ? AllocateMode.zeroRange : AllocateMode.punchHole;
        this.#engine.allocate(this.#slot, mode, offsetBytes, lengthBytes, this.#clientId, tag);
      }
    }
    return true;
  }

  #read(tag: number, operation: Operation, offsetBytes: number, lengthBytes: number): void {
    const { request, small, bufferCount } = operation;
    const set = small ? this.#small : this.#large;
    operation.open = bufferCount;
    for (let i = 0; i < bufferCount; i++) {
      const done = i * set.bufferBytes;
      const bytes = Math.min(set.bufferBytes, lengthBytes - done);
      const at = set.offsetOf(operation.buffers[i]!);
      request!.data.add(at, bytes);
      this.#engine.read(this.#slot, at, bytes, offsetBytes + done, this.#clientId, tag);
    }
  }

  #write(tag: number, operation: Operation, { payload, offsetBytes, fua }: ExportRequest): void {
    operation.open = payload.count;
    let at = offsetBytes;
    for (let i = 0; i < payload.count; i++) {
      this.#engine.write(this.#slot, payload.offsets[i]!, payload.lengths[i]!, at, fua ? WRITE_DSYNC : 0, this.#clientId, tag);
      at += payload.lengths[i]!;
    }
  }

  #advance(tag: number, operation: Operation): void {
    const request = operation.request!;
    const { op } = request;
    if (op === ExportOp.trim || op === ExportOp.writeZeroes) {
      if (operation.stage === Stage.main && operation.errno === EOPNOTSUPP && !request.fastZero) {
        operation.errno = 0;
        // A trim is a hint; zeroes must be there: they are written out.
        if (op === ExportOp.writeZeroes) {
          operation.stage = Stage.zeroes;
          operation.remainingBytes = request.lengthBytes;
        }
      }
      if (operation.stage === Stage.zeroes && operation.errno === 0 && operation.remainingBytes > 0)
        return this.#writeZeroes(tag, operation);
      if (operation.stage !== Stage.sync && operation.errno === 0 && request.fua) {
        operation.stage = Stage.sync;
        operation.open = 1;
        return this.#engine.sync(this.#slot, this.#clientId, tag);
      }
    }
    this.#finish(tag, operation, request);
  }

  #writeZeroes(tag: number, operation: Operation): void {
    const { offsetBytes, lengthBytes } = operation.request!;
    const bytes = Math.min(LARGE_BYTES, operation.remainingBytes);
    const at = offsetBytes + lengthBytes - operation.remainingBytes;
    operation.remainingBytes -= bytes;
    operation.open = 1;
    this.#engine.write(this.#slot, this.#zeroOffset, bytes, at, 0, this.#clientId, tag);
  }

  #finish(tag: number, operation: Operation, request: ExportRequest): void {
    let { errno } = operation;
    if (request.op === ExportOp.read) {
      // A file that was cut short under us has no data to give.
      if (errno === 0 && operation.readBytes !== request.lengthBytes) errno = EIO;
      request.exportTag = tag;
      request.released = this;
      // The buffers stay until the answer is sent, an error's too.
    } else this.#recycle(tag);
    request.finish(errno === EOPNOTSUPP && !request.fastZero ? EIO : errno);
    this.#unfinished--;
    if (this.#resizes.length > 0) this.#goOn();
  }

  #recycle(tag: number): void {
    this.#operations[tag]!.request = null;
    this.#free[this.#freeCount++] = tag;
    this.#goOn();
  }

  /** New sizes first, as soon as nothing is under way; then what waits. */
  #goOn(): void {
    while (this.#unfinished === 0 && this.#resizes.length > 0) {
      const { sizeBytes, done } = this.#resizes[0]!;
      const errno = this.#resizeNow(sizeBytes);
      this.#resizes.shift();
      done(errno);
    }
    if (this.#resizes.length > 0) return;
    let started = 0;
    while (started < this.#waiting.length && this.#start(this.#waiting[started]!)) started++;
    if (started > 0) this.#waiting.splice(0, started);
  }

  #takeBuffers(operation: Operation, lengthBytes: number): boolean {
    operation.small = lengthBytes <= SMALL_BYTES;
    const set = operation.small ? this.#small : this.#large;
    const count = Math.ceil(lengthBytes / set.bufferBytes);
    if (set.freeCount < count) return false;
    for (let i = 0; i < count; i++) operation.buffers[i] = set.take();
    operation.bufferCount = count;
    return true;
  }

  #giveBuffers(operation: Operation): void {
    const set = operation.small ? this.#small : this.#large;
    for (let i = 0; i < operation.bufferCount; i++) set.give(operation.buffers[i]!);
    operation.bufferCount = 0;
  }
}

const FILE_FEATURES: Omit<ExportFeatures, 'multiConn'> = {
  flush: true,
  fua: true,
  trim: true,
  writeZeroes: true,
  fastZero: true,
  cache: false,
  rotational: false,
  blockStatus: true,
};
