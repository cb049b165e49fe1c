import assert from 'node:assert/strict';
import { Gather, type Arena } from 'uring-engine';
import { ExportOp, type ExportRequest, type ReleaseListener } from './export.js';
import { LARGE_REQUEST_RANGES, MAX_EXTENTS, SMALL_REQUEST_BYTES, SMALL_REQUEST_RANGES } from './limits.js';

/** The connection's side of a request. */
export interface RequestOwner {
  onPayloadTaken(request: PendingRequest): void;
  onFinished(request: PendingRequest): void;
}

const NONE = -1;

/** One request, or one piece of a large one, from its header to the end of its answer's send. Pooled; always of one shape. */
export class PendingRequest implements ExportRequest {
  op: ExportOp = ExportOp.read;
  fua = false;
  noHole = false;
  requestOne = false;
  fastZero = false;
  context = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  readonly payload: Gather;
  /** A request has a payload or data, never both: one list serves. */
  readonly data: Gather;
  released: ReleaseListener | null = null;
  exportTag = 0;

  // ---- the connection's own
  owner: RequestOwner | null = null;
  cookieHigh = 0;
  cookieLow = 0;
  /** From `finish` a Linux errno, from the connection on the protocol's. */
  errno = 0;
  /** The large request that this is a piece of. */
  parent: PendingRequest | null = null;
  next: PendingRequest | null = null;
  /** Staging buffer with the payload, or -1. */
  staging = NONE;
  /** Large buffer with the payload, or -1. */
  largeBuffer = NONE;
  /** READ: what was charged to the budgets. */
  chargedBytes = 0;
  /** When it was taken on, by the engine's clock. */
  receivedNs = 0;
  extents: Uint32Array | null = null;
  extentCount = 0;
  #extentTotalBytes = 0;
  #extentsClosed = false;
  #atExport = false;

  // ---- of a large request: what its pieces have come to
  /** Pieces not yet finished (WRITE) or not yet answered (READ). */
  openPieces = 0;
  /** Not yet submitted. */
  unsubmittedBytes = 0;
  /** Its pieces go out in order behind one header, with nothing in between (READ with a simple reply). */
  sequential = false;
  headerSent = false;
  /** `offsetBytes` of the piece that goes next, where sequential. */
  nextOffsetBytes = 0;

  constructor(
    readonly arena: Arena,
    readonly large: boolean,
  ) {
    this.payload = new Gather(large ? LARGE_REQUEST_RANGES : SMALL_REQUEST_RANGES);
    this.data = this.payload;
  }

  /** Gives it to the export. */
  begin(): void {
    this.#atExport = true;
  }

  payloadTaken(): void {
    assert(this.#atExport && this.op === ExportOp.write, 'payloadTaken: not a WRITE at its export');
    this.owner!.onPayloadTaken(this);
  }

  addExtent(lengthBytes: number, flags: number): boolean {
    assert(
      this.#atExport && this.op === ExportOp.blockStatus && lengthBytes > 0,
      'addExtent: not a BLOCK_STATUS at its export, or no length',
    );
    const extents = (this.extents ??= new Uint32Array(2 * MAX_EXTENTS));
    // What passes the end of the request is cut: never more than one extent may, and with REQ_ONE none.
    const addedBytes = Math.min(lengthBytes, this.lengthBytes - this.#extentTotalBytes);
    if (this.#extentsClosed || addedBytes === 0) return false;
    const last = 2 * (this.extentCount - 1);
    if (last >= 0 && extents[last + 1] === flags) extents[last]! += addedBytes;
    else if (this.extentCount < (this.requestOne ? 1 : MAX_EXTENTS)) {
      extents[last + 2] = addedBytes;
      extents[last + 3] = flags;
      this.extentCount++;
    } else {
      // There is a gap from here on: nothing after it may be added, even where it would merge.
      this.#extentsClosed = true;
      return false;
    }
    this.#extentTotalBytes += addedBytes;
    return this.#extentTotalBytes < this.lengthBytes;
  }

  finish(errno: number): void {
    assert(this.#atExport, 'finish: the request is not at its export (finished twice?)');
    this.#atExport = false;
    this.errno = errno;
    this.owner!.onFinished(this);
  }

  reset(): void {
    assert(!this.#atExport && this.staging === NONE && this.largeBuffer === NONE, 'a request in use was given back');
    this.payload.clear();
    this.released = null;
    this.owner = null;
    this.errno = 0;
    this.parent = null;
    this.next = null;
    this.chargedBytes = 0;
    this.extentCount = 0;
    this.#extentTotalBytes = 0;
    this.#extentsClosed = false;
    this.openPieces = 0;
    this.unsubmittedBytes = 0;
    this.sequential = false;
    this.headerSent = false;
    this.fua = false;
    this.noHole = false;
    this.requestOne = false;
    this.fastZero = false;
    this.context = 0;
  }
}

/** The requests of one server. Grows to what was needed at once; connections bound that. */
export class RequestPool {
  readonly #small: PendingRequest[] = [];
  readonly #large: PendingRequest[] = [];

  constructor(private readonly arena: Arena) {}

  /** `rangeBytes`: how much data or payload it will carry. */
  take(rangeBytes: number): PendingRequest {
    if (rangeBytes <= SMALL_REQUEST_BYTES) return this.#small.pop() ?? new PendingRequest(this.arena, false);
    return this.#large.pop() ?? new PendingRequest(this.arena, true);
  }

  give(request: PendingRequest): void {
    request.reset();
    if (request.large) this.#large.push(request);
    else this.#small.push(request);
  }
}
