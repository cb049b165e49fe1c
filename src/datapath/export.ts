import {
  ExportOp,
  type BlockSizes,
  type Export,
  type ExportFeatures,
  type ExportRequest,
  type ExportSession,
  type ReleaseListener,
} from 'nbd-server-ts';
import { IoOp } from '../wire/path.js';
import { IoStatus } from '../wire/status.js';
import { EIO, errnoOf } from './errno.js';
import { MAX_EXPORT_REQUEST_BYTES } from './limits.js';
import type { Session } from './session.js';
import type { SessionFrontEnd, SessionRequest } from './session-request.js';

const FEATURES: ExportFeatures = {
  flush: true,
  // Where every write is durable when it is answered, both cost nothing; and a FLUSH covers all connections.
  fua: true,
  multiConn: true,
  trim: true,
  writeZeroes: true,
  fastZero: true,
  cache: true,
  rotational: false,
  blockStatus: true,
};

const BLOCK_SIZE: BlockSizes = { minimumBytes: 1, preferredBytes: 4_096, maximumBytes: MAX_EXPORT_REQUEST_BYTES };

const OP_OF: Readonly<Record<ExportOp, IoOp>> = {
  [ExportOp.read]: IoOp.read,
  [ExportOp.write]: IoOp.write,
  [ExportOp.flush]: IoOp.flush,
  [ExportOp.trim]: IoOp.trim,
  [ExportOp.cache]: IoOp.prefetch,
  // Zeroes always stay allocated as "zero", never as data: NO_HOLE asks that later writes cannot fail for space, which a thin disk cannot promise.
  [ExportOp.writeZeroes]: IoOp.zero,
  [ExportOp.blockStatus]: IoOp.map,
};

/** 1: the vdisk has data there; 0: it has none, and takes no space. What a clone or a snapshot shares counts as the vdisk's own. */
const CONTEXTS = ['qemu:allocation-depth'] as const;

export interface VdiskExportOptions {
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  /** The shard's session of the vdisk; opened at the first use. */
  readonly session: Session;
  readonly onConnectionOpened?: () => void;
  readonly onConnectionClosed: () => void;
}

/** A vdisk as an NBD export in one shard: requests of all its connections there go through one session. Passes memory on, copies none. */
export class VdiskExport implements Export, ExportSession, SessionFrontEnd, ReleaseListener {
  readonly name: string;
  readonly description: string;
  /** New connections learn a changed size; those that are there may use it. */
  sizeBytes: number;
  readonly readOnly = false;
  readonly features = FEATURES;
  readonly blockSize = BLOCK_SIZE;
  readonly contexts = CONTEXTS;
  readonly #session: Session;
  /** Answered reads whose data is being sent, by index of the session's request. */
  readonly #sending: (SessionRequest | null)[] = [];
  #connections = 0;

  constructor(private readonly options: VdiskExportOptions) {
    this.name = options.name;
    this.description = options.description;
    this.sizeBytes = options.sizeBytes;
    this.#session = options.session;
  }

  get connections(): number {
    return this.#connections;
  }

  open(): ExportSession {
    this.#connections++;
    this.#session.start();
    this.options.onConnectionOpened?.();
    return this;
  }

  close(): void {
    this.#connections--;
    this.options.onConnectionClosed();
  }

  submit(request: ExportRequest): void {
    const { op } = request;
    const io = this.#session.acquire();
    io.set(OP_OF[op], request.offsetBytes, op === ExportOp.flush ? 0 : request.lengthBytes, this, request);
    io.fua = request.fua;
    if (op === ExportOp.write) io.payload = request.payload;
    else if (op === ExportOp.read) io.data = request.data;
    this.#session.submit(io);
  }

  onAnswer(io: SessionRequest): void {
    const request = io.context as ExportRequest;
    const { status } = io;
    if (status === IoStatus.ok) {
      if (io.op === IoOp.read) {
        this.#sending[io.index] = io;
        request.exportTag = io.index;
        request.released = this;
      } else if (io.op === IoOp.map) addExtents(request, io);
    }
    request.finish(io.timedOut ? EIO : errnoOf(status));
  }

  onReleased(request: ExportRequest): void {
    const io = this.#sending[request.exportTag]!;
    this.#sending[request.exportTag] = null;
    this.#session.release(io);
  }
}

/** NBD_STATE_HOLE of base:allocation. */
const HOLE = 1;

function addExtents(request: ExportRequest, io: SessionRequest): void {
  for (let i = 0; i < io.extentCount; i++) {
    const allocation = io.extents[2 * i + 1]!;
    const depth = (allocation & HOLE) === 0 ? 1 : 0;
    if (!request.addExtent(io.extents[2 * i]!, request.context === 0 ? allocation : depth)) return;
  }
}
