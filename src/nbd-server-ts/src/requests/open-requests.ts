import type { Arena, Engine } from 'uring-engine';
import type { ServerProbes } from '../counters.js';
import type { BufferSet, Staging } from '../buffers.js';
import type { ServerCounters } from '../counters.js';
import { ExportOp, type ExportSession } from '../export.js';
import { MAX_LARGE_BUFFERS_PER_CONNECTION, MAX_READ_BYTES_PER_CONNECTION } from '../limits.js';
import type { PendingRequest, RequestOwner, RequestPool } from '../pending-request.js';
import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import { toNbdErrno } from '../protocol/errno.js';
import type { ReadBudget } from '../read-budget.js';
import type { ReplyQueue } from '../reply-queue.js';
import type { RequestHeader } from '../transmission/request-header.js';

/** What all connections of a server share. */
export interface SharedResources {
  readonly arena: Arena;
  readonly requests: RequestPool;
  readonly largeBuffers: BufferSet;
  readonly readBudget: ReadBudget;
  readonly engine: Engine;
  readonly probes: ServerProbes | null;
  /** Since the probes were told. */
  submittedAtOnce: number;
  readonly counters: ServerCounters;
}

/** Told when something that a blocked intake may be waiting for has happened, and when the stream is broken. */
export interface IntakeListener {
  onProgress(): void;
  onBroken(reason: string): void;
  /** Has the export resized; calls back once, with 0 or a Linux errno. */
  resize(sizeBytes: number, done: (errno: number) => void): void;
}

/**
 * The requests of one connection, each from its header to the end of its answer's send, and what they hold: payload in staging, large
 * buffers, READ budget.
 */
export class OpenRequests implements RequestOwner {
  /** Taken and not yet recycled, pieces included. */
  count = 0;
  #readBytes = 0;
  #largeBuffers = 0;
  /** The connection is gone: what finishes is dropped. */
  #abandoned = false;

  constructor(
    readonly session: ExportSession,
    private readonly staging: Staging,
    private readonly replies: ReplyQueue,
    private readonly shared: SharedResources,
    private readonly listener: IntakeListener,
  ) {}

  // ---- beginnings
  /** `rangeBytes`: how much data or payload it will carry itself. */
  take(header: RequestHeader, rangeBytes: number): PendingRequest {
    const request = this.shared.requests.take(rangeBytes);
    this.count++;
    request.owner = this;
    request.receivedNs = this.shared.engine.nowNs;
    request.op = header.type as ExportOp;
    request.offsetBytes = header.offsetBytes;
    request.lengthBytes = header.lengthBytes;
    request.cookieHigh = header.cookieHigh;
    request.cookieLow = header.cookieLow;
    request.fua = (header.flags & CommandFlag.fua) !== 0;
    return request;
  }

  takePiece(parent: PendingRequest, offsetBytes: number, lengthBytes: number): PendingRequest {
    const piece = this.shared.requests.take(lengthBytes);
    this.count++;
    piece.owner = this;
    piece.parent = parent;
    piece.receivedNs = this.shared.engine.nowNs;
    piece.op = parent.op;
    piece.fua = parent.fua;
    piece.cookieHigh = parent.cookieHigh;
    piece.cookieLow = parent.cookieLow;
    piece.offsetBytes = offsetBytes;
    piece.lengthBytes = lengthBytes;
    parent.openPieces++;
    return piece;
  }

  submit(request: PendingRequest): void {
    request.begin();
    const waitedNs = this.shared.engine.nowNs - request.receivedNs;
    if (waitedNs === 0) this.shared.submittedAtOnce++;
    else this.shared.probes?.onWaited(waitedNs);
    this.session.submit(request);
  }

  submitRead(request: PendingRequest): void {
    request.chargedBytes = request.lengthBytes;
    this.#readBytes += request.lengthBytes;
    this.shared.readBudget.take(request.lengthBytes);
    this.submit(request);
  }

  // ---- budgets
  /** Within the connection's window and the server's budget; one with nothing in flight may always go on. */
  mayRead(bytes: number): boolean {
    if (this.#readBytes === 0) return true;
    return this.#readBytes + bytes <= MAX_READ_BYTES_PER_CONNECTION && this.shared.readBudget.has(bytes);
  }

  waitForReadBudget(): void {
    this.shared.readBudget.wait(this.listener);
  }

  /** -1: none is free, or the connection has its share. */
  takeLargeBuffer(): number {
    if (this.#largeBuffers >= MAX_LARGE_BUFFERS_PER_CONNECTION) return -1;
    const buffer = this.shared.largeBuffers.take();
    if (buffer !== -1) this.#largeBuffers++;
    return buffer;
  }

  giveLargeBuffer(buffer: number): void {
    this.shared.largeBuffers.give(buffer);
    this.#largeBuffers--;
  }

  // ---- RequestOwner
  onPayloadTaken(request: PendingRequest): void {
    this.#releasePayload(request);
  }

  onFinished(request: PendingRequest): void {
    const { op, parent } = request;
    if (op === ExportOp.write) this.#releasePayload(request);
    if (request.errno !== 0) request.errno = toNbdErrno(request.errno, request.fastZero);
    if (this.#abandoned) this.replies.drop(request);
    else if (parent !== null && op !== ExportOp.read && op !== ExportOp.blockStatus) this.#closePiece(request, parent);
    else {
      if (op === ExportOp.blockStatus && request.errno === 0 && request.extentCount === 0) request.errno = NbdErrno.io;
      this.answer(request);
    }
    this.listener.onProgress();
  }

  // ---- ends
  /** Done, with `errno`: its answer goes out. */
  answer(request: PendingRequest): void {
    if (this.#abandoned) {
      this.onReplied(request);
      return;
    }
    if (request.errno !== 0) this.shared.counters.failedRequests++;
    this.replies.push(request);
  }

  /** Nothing more of it will be submitted: the last of its open pieces answers it, or this does where there is none. */
  endPieces(parent: PendingRequest): void {
    parent.unsubmittedBytes = 0;
    if (parent.openPieces === 0) this.answer(parent);
  }

  /** Of a WRITE, or of a command without data. Pieces of others are answered one by one. */
  #closePiece(piece: PendingRequest, parent: PendingRequest): void {
    if (piece.errno !== 0 && parent.errno === 0) parent.errno = piece.errno;
    this.onReplied(piece);
    if (--parent.openPieces === 0 && parent.unsubmittedBytes === 0) this.answer(parent);
  }

  /** Answered, its data sent or given up: it goes back to the pool. */
  onReplied(request: PendingRequest): void {
    const { released, chargedBytes } = request;
    if (released !== null) released.onReleased(request);
    if (chargedBytes > 0) {
      this.#readBytes -= chargedBytes;
      this.shared.readBudget.give(chargedBytes);
    }
    this.shared.requests.give(request);
    this.count--;
  }

  abandon(): void {
    this.#abandoned = true;
  }

  #releasePayload(request: PendingRequest): void {
    if (request.staging !== -1) {
      this.staging.dereference(request.staging);
      request.staging = -1;
    }
    if (request.largeBuffer !== -1) {
      this.giveLargeBuffer(request.largeBuffer);
      request.largeBuffer = -1;
    }
  }
}
