import type { Arena } from 'uring-engine';
import type { BufferSet, Staging } from './buffers.js';
import type { ServerCounters } from './counters.js';
import { ExportOp, type ExportSession } from './export.js';
import {
  MAX_EFFECT_BYTES,
  MAX_EFFECT_PIECES,
  MAX_LARGE_BUFFERS_PER_CONNECTION,
  MAX_PIECE_BYTES,
  MAX_READ_BYTES_PER_CONNECTION,
  MAX_REQUESTS_PER_CONNECTION,
  MAX_STAGED_PAYLOAD_BYTES,
} from './limits.js';
import type { PendingRequest, RequestOwner, RequestPool } from './pending-request.js';
import { Command, CommandFlag, REQUEST_HEADER_BYTES } from './protocol/constants.js';
import { toNbdErrno } from './protocol/errno.js';
import type { ReadBudget } from './read-budget.js';
import type { ReplyQueue, ReplySink } from './reply-queue.js';
import { Step, type Transmission } from './transmission/transmission.js';

/** What {@link Intake.pump} stopped at. */
export const Pump = {
  /** Receive into staging; `neededBytes` from its position on are wanted. */
  more: 0,
  /** Receive `directBytes` at `directOffset`: the payload of a large WRITE. */
  direct: 1,
  /** Nothing is taken on before something in flight has finished or been sent. */
  blocked: 2,
  /** DISC, or the input was ended. */
  ended: 3,
  /** The peer broke the protocol: `machine.violation`. */
  violation: 4,
} as const;
export type Pump = (typeof Pump)[keyof typeof Pump];

/** What all connections of a server share. */
export interface SharedResources {
  readonly arena: Arena;
  readonly requests: RequestPool;
  readonly largeBuffers: BufferSet;
  readonly readBudget: ReadBudget;
  readonly counters: ServerCounters;
}

/** Told when something that a blocked intake may be waiting for has happened, and when the stream is broken. */
export interface IntakeListener {
  onProgress(): void;
  onBroken(reason: string): void;
  /** Has the export resized; calls back once, with 0 or a Linux errno. */
  resize(sizeBytes: number, done: (errno: number) => void): void;
}

const GO_ON = -1;
const NO_BUFFER = -1;
const EIO = 5;
const PAGE_MASK = 4_095;

/**
 * The transmission phase of one connection between its bytes and its export: makes requests of what was received, cuts large ones into
 * pieces, holds to the budgets, and takes the requests back when they are answered.
 */
export class Intake implements RequestOwner, ReplySink {
  neededBytes = REQUEST_HEADER_BYTES;
  /** Taken and not yet recycled, pieces included. */
  openRequests = 0;
  #readBytes = 0;
  /** A READ that is not wholly submitted. */
  #reading: PendingRequest | null = null;
  /** A TRIM, WRITE_ZEROES or CACHE of more than MAX_EFFECT_BYTES that is not wholly submitted. */
  #cutting: PendingRequest | null = null;
  /** A WRITE whose payload is being received in pieces. */
  #writing: PendingRequest | null = null;
  #fillBuffer = NO_BUFFER;
  #fillBytes = 0;
  #filledBytes = 0;
  #directUnderWay = false;
  #largeBuffersHeld = 0;
  #inputEnded = false;
  /** The connection is gone: what finishes is dropped. */
  #abandoned = false;

  constructor(
    readonly machine: Transmission,
    readonly session: ExportSession,
    private readonly staging: Staging,
    private readonly replies: ReplyQueue,
    private readonly shared: SharedResources,
    private readonly listener: IntakeListener,
  ) {}

  /** Works off what was received, as far as it goes. */
  pump(): Pump {
    for (;;) {
      if (this.#reading !== null && !this.#submitReads(this.#reading)) return Pump.blocked;
      if (this.#cutting !== null && !this.#submitEffects(this.#cutting)) return Pump.blocked;
      if (this.#inputEnded) return Pump.ended;
      if (this.#writing !== null) {
        const stop = this.#takePayload(this.#writing);
        if (stop !== GO_ON) return stop;
      }
      if (this.replies.deferring || this.openRequests >= MAX_REQUESTS_PER_CONNECTION) return Pump.blocked;
      const { staging, machine } = this;
      const at = staging.position;
      const step = machine.step(this.shared.arena.view, at, staging.availableBytes);
      if (step === Step.more) {
        this.neededBytes = machine.neededBytes;
        return Pump.more;
      }
      staging.position = at + machine.consumedBytes;
      if (step === Step.request) this.#start(at + machine.headerBytes);
      else if (step === Step.largeWrite) this.#startLargeWrite();
      else if (step === Step.refused) this.#refuse();
      else if (step === Step.disconnect) {
        this.endInput();
        return Pump.ended;
      } else if (step === Step.violation) return Pump.violation;
    }
  }

  get directOffset(): number {
    return this.shared.largeBuffers.offsetOf(this.#fillBuffer) + this.#filledBytes;
  }

  get directBytes(): number {
    return this.#fillBytes - this.#filledBytes;
  }

  /** The recv that `Pump.direct` asked for is under way: the buffer belongs to it. */
  directStarted(): void {
    this.#directUnderWay = true;
  }

  /** It has brought `bytes`; 0 where it failed. */
  directFinished(bytes: number): void {
    this.#directUnderWay = false;
    if (this.#writing === null) this.#giveFillBuffer();
    else if (bytes > 0) this.#filled(bytes);
  }

  #filled(bytes: number): void {
    this.#filledBytes += bytes;
    this.machine.payloadTaken(bytes);
    if (this.#filledBytes === this.#fillBytes) this.#submitFilled(this.#writing!);
  }

  /** No more requests. What has been taken on is finished and answered; a WRITE whose payload is not whole fails. */
  endInput(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    const parent = this.#writing;
    if (parent === null) return;
    this.#writing = null;
    if (!this.#directUnderWay) this.#giveFillBuffer();
    if (parent.errno === 0) parent.errno = EIO;
    parent.unsubmittedBytes = 0;
    if (parent.openPieces === 0) this.#answerLarge(parent);
  }

  /** The connection is gone. */
  abandon(): void {
    this.#abandoned = true;
    this.endInput();
    const { unsubmitted } = this;
    this.#reading = this.#cutting = null;
    if (unsubmitted !== null) {
      unsubmitted.unsubmittedBytes = 0;
      if (unsubmitted.openPieces === 0) this.onReplied(unsubmitted);
    }
    this.replies.abandon();
  }

  /** What is being submitted in pieces: one request at most, nothing behind it is looked at. */
  private get unsubmitted(): PendingRequest | null {
    return this.#reading ?? this.#cutting;
  }

  // ---- RequestOwner
  onPayloadTaken(request: PendingRequest): void {
    this.#releasePayload(request);
  }

  onFinished(request: PendingRequest): void {
    if (request.op === ExportOp.write) this.#releasePayload(request);
    if (request.errno !== 0) request.errno = toNbdErrno(request.errno, request.fastZero);
    if (this.#abandoned) this.replies.drop(request);
    else if (request.parent !== null && request.op !== ExportOp.read && request.op !== ExportOp.blockStatus)
      this.#closePiece(request, request.parent);
    else {
      if (request.op === ExportOp.blockStatus && request.errno === 0 && request.extentCount === 0) request.errno = EIO;
      if (request.errno !== 0) this.shared.counters.failedRequests++;
      this.replies.push(request);
    }
    this.listener.onProgress();
  }

  // ---- ReplySink
  onReplied(request: PendingRequest): void {
    const { released, chargedBytes } = request;
    if (released !== null) released.onReleased(request);
    if (chargedBytes > 0) {
      this.#readBytes -= chargedBytes;
      this.shared.readBudget.give(chargedBytes);
    }
    this.shared.requests.give(request);
    this.openRequests--;
  }

  onBroken(reason: string): void {
    this.listener.onBroken(reason);
  }

  // ---- starting requests
  #take(rangeBytes: number): PendingRequest {
    const { header } = this.machine;
    const request = this.shared.requests.take(rangeBytes);
    this.openRequests++;
    request.owner = this;
    request.op = header.type as ExportOp;
    request.offsetBytes = header.offsetBytes;
    request.lengthBytes = header.lengthBytes;
    request.cookieHigh = header.cookieHigh;
    request.cookieLow = header.cookieLow;
    request.fua = (header.flags & CommandFlag.fua) !== 0;
    return request;
  }

  #start(payloadOffset: number): void {
    const { header } = this.machine;
    const { type, lengthBytes, flags } = header;
    this.shared.counters.byCommand[type]!++;
    if (type === ExportOp.read) {
      this.shared.counters.readBytes += lengthBytes;
      const request = this.#take(lengthBytes <= MAX_PIECE_BYTES ? lengthBytes : 0);
      if (lengthBytes <= MAX_PIECE_BYTES && this.#mayRead(lengthBytes)) this.#submitRead(request);
      else this.#beginReading(request);
      return;
    }
    if (type === Command.resize) return this.#resize();
    if (type === ExportOp.blockStatus) return this.#startStatus();
    const request = this.#take(type === ExportOp.write ? lengthBytes : 0);
    if (type === ExportOp.write) {
      this.shared.counters.writtenBytes += lengthBytes;
      request.payload.add(payloadOffset, lengthBytes);
      request.staging = this.staging.reference();
    } else if (type !== ExportOp.flush) {
      request.noHole = (flags & CommandFlag.noHole) !== 0;
      request.fastZero = (flags & CommandFlag.fastZero) !== 0;
      if (lengthBytes > MAX_EFFECT_BYTES) {
        request.unsubmittedBytes = lengthBytes;
        this.#cutting = request;
        return;
      }
    }
    this.#submit(request);
  }

  // ---- commands without data
  /** False: blocked. */
  #submitEffects(parent: PendingRequest): boolean {
    while (parent.unsubmittedBytes > 0 && parent.errno === 0) {
      if (parent.openPieces >= MAX_EFFECT_PIECES) return false;
      const offset = parent.offsetBytes + parent.lengthBytes - parent.unsubmittedBytes;
      const piece = this.#piece(parent, offset, Math.min(parent.unsubmittedBytes, MAX_EFFECT_BYTES));
      piece.noHole = parent.noHole;
      piece.fastZero = parent.fastZero;
      parent.unsubmittedBytes -= piece.lengthBytes;
      // The export may finish it in this call: it is not the last then, or the answer goes out here.
      if (parent.unsubmittedBytes === 0) this.#cutting = null;
      this.#submit(piece);
    }
    if (this.#cutting === null) return true;
    this.#cutting = null;
    parent.unsubmittedBytes = 0;
    if (parent.openPieces === 0) this.#answerLarge(parent);
    return true;
  }

  /** One request for each context. */
  #startStatus(): void {
    const { contextMask, flags } = this.machine.header;
    const request = this.#take(0);
    // More is not wanted at once: the answer may be shorter than what was asked for.
    request.lengthBytes = Math.min(request.lengthBytes, MAX_EFFECT_BYTES);
    request.requestOne = (flags & CommandFlag.requestOne) !== 0;
    const last = 31 - Math.clz32(contextMask);
    if (contextMask === 1 << last) {
      request.context = last;
      this.#submit(request);
      return;
    }
    request.unsubmittedBytes = 1;
    for (let context = 0; context <= last; context++) {
      if ((contextMask & (1 << context)) === 0) continue;
      const piece = this.#piece(request, request.offsetBytes, request.lengthBytes);
      piece.requestOne = request.requestOne;
      piece.context = context;
      if (context === last) request.unsubmittedBytes = 0;
      this.#submit(piece);
    }
  }

  #resize(): void {
    const request = this.#take(0);
    this.listener.resize(request.offsetBytes, errno => {
      request.errno = errno === 0 ? 0 : toNbdErrno(errno, false);
      if (errno !== 0) this.shared.counters.failedRequests++;
      if (this.#abandoned) this.replies.drop(request);
      else this.replies.push(request);
      this.listener.onProgress();
    });
  }

  #submit(request: PendingRequest): void {
    request.begin();
    this.session.submit(request);
  }

  #refuse(): void {
    const request = this.#take(0);
    request.errno = this.machine.errno;
    this.shared.counters.refusedRequests++;
    this.replies.push(request);
  }

  #piece(parent: PendingRequest, offsetBytes: number, lengthBytes: number): PendingRequest {
    const piece = this.shared.requests.take(lengthBytes);
    this.openRequests++;
    piece.owner = this;
    piece.parent = parent;
    piece.op = parent.op;
    piece.fua = parent.fua;
    piece.cookieHigh = parent.cookieHigh;
    piece.cookieLow = parent.cookieLow;
    piece.offsetBytes = offsetBytes;
    piece.lengthBytes = lengthBytes;
    parent.openPieces++;
    return piece;
  }

  // ---- READ
  /** Within the connection's window and the server's budget; one with nothing in flight may always go on. */
  #mayRead(bytes: number): boolean {
    if (this.#readBytes === 0) return true;
    return this.#readBytes + bytes <= MAX_READ_BYTES_PER_CONNECTION && this.shared.readBudget.has(bytes);
  }

  #submitRead(request: PendingRequest): void {
    request.chargedBytes = request.lengthBytes;
    this.#readBytes += request.lengthBytes;
    this.shared.readBudget.take(request.lengthBytes);
    this.#submit(request);
  }

  #beginReading(request: PendingRequest): void {
    request.unsubmittedBytes = request.lengthBytes;
    request.sequential = !this.replies.structured;
    request.nextOffsetBytes = request.offsetBytes;
    this.#reading = request;
  }

  /** False: blocked. */
  #submitReads(parent: PendingRequest): boolean {
    if (parent.lengthBytes <= MAX_PIECE_BYTES) {
      if (!this.#mayRead(parent.lengthBytes)) return this.#waitForBudget();
      parent.unsubmittedBytes = 0;
      this.#reading = null;
      this.#submitRead(parent);
      return true;
    }
    while (parent.unsubmittedBytes > 0) {
      if (parent.errno !== 0) {
        parent.unsubmittedBytes = 0;
        if (parent.openPieces === 0) this.#answerLarge(parent);
        break;
      }
      const offset = parent.offsetBytes + parent.lengthBytes - parent.unsubmittedBytes;
      const bytes = pieceBytes(offset, parent.unsubmittedBytes, MAX_PIECE_BYTES);
      // With no piece of it in flight it may always go on: others may be waiting behind its header.
      if (parent.openPieces > 0 && !this.#mayRead(bytes)) return this.#waitForBudget();
      const piece = this.#piece(parent, offset, bytes);
      parent.unsubmittedBytes -= bytes;
      this.#submitRead(piece);
    }
    this.#reading = null;
    return true;
  }

  #waitForBudget(): boolean {
    this.shared.readBudget.wait(this.listener);
    return false;
  }

  // ---- large WRITE
  #startLargeWrite(): void {
    const parent = this.#take(0);
    parent.unsubmittedBytes = parent.lengthBytes;
    this.#writing = parent;
    this.shared.counters.byCommand[ExportOp.write]!++;
    this.shared.counters.writtenBytes += parent.lengthBytes;
  }

  /** Takes payload from staging until it is used up or the WRITE is whole (GO_ON). */
  #takePayload(parent: PendingRequest): Pump | typeof GO_ON {
    const { machine, staging } = this;
    while (machine.payloadRemainingBytes > 0) {
      if (this.#fillBuffer === NO_BUFFER) {
        const going = parent.errno !== 0 ? this.#passOver() : this.#takeLargeBuffer(parent) || this.#submitStaged(parent);
        if (!going) return Pump.more;
        continue;
      }
      const bytes = Math.min(staging.availableBytes, this.directBytes);
      if (bytes > 0) {
        this.shared.arena.bytes.copyWithin(this.directOffset, staging.position, staging.position + bytes);
        staging.position += bytes;
        this.#filled(bytes);
      } else return Pump.direct;
    }
    this.#writing = null;
    parent.unsubmittedBytes = 0;
    if (parent.openPieces === 0) this.#answerLarge(parent);
    return GO_ON;
  }

  /** The WRITE has failed: its payload is received for nothing. False: none is there. */
  #passOver(): boolean {
    const { machine, staging } = this;
    const bytes = Math.min(staging.availableBytes, machine.payloadRemainingBytes);
    staging.position += bytes;
    machine.payloadTaken(bytes);
    this.neededBytes = 1;
    return bytes > 0;
  }

  #takeLargeBuffer(parent: PendingRequest): boolean {
    if (this.#largeBuffersHeld >= MAX_LARGE_BUFFERS_PER_CONNECTION) return false;
    const buffer = this.shared.largeBuffers.take();
    if (buffer === NO_BUFFER) return false;
    this.#largeBuffersHeld++;
    this.#fillBuffer = buffer;
    this.#filledBytes = 0;
    this.#fillBytes = pieceBytes(this.#payloadOffset(parent), this.machine.payloadRemainingBytes, MAX_PIECE_BYTES);
    return true;
  }

  /** Where no large buffer is free: a small piece in staging, once it is there. False: it is not. */
  #submitStaged(parent: PendingRequest): boolean {
    const { machine, staging } = this;
    const offset = this.#payloadOffset(parent);
    const bytes = pieceBytes(offset, machine.payloadRemainingBytes, MAX_STAGED_PAYLOAD_BYTES);
    if (staging.availableBytes < bytes) {
      this.neededBytes = bytes;
      return false;
    }
    const piece = this.#piece(parent, offset, bytes);
    piece.payload.add(staging.position, bytes);
    piece.staging = staging.reference();
    staging.position += bytes;
    machine.payloadTaken(bytes);
    this.#submit(piece);
    return true;
  }

  #submitFilled(parent: PendingRequest): void {
    if (parent.errno !== 0) {
      this.#giveFillBuffer();
      return;
    }
    const piece = this.#piece(parent, this.#payloadOffset(parent) - this.#fillBytes, this.#fillBytes);
    piece.payload.add(this.shared.largeBuffers.offsetOf(this.#fillBuffer), this.#fillBytes);
    piece.largeBuffer = this.#fillBuffer;
    this.#fillBuffer = NO_BUFFER;
    this.#submit(piece);
  }

  /** Where in the export the next byte of payload belongs. */
  #payloadOffset(parent: PendingRequest): number {
    return parent.offsetBytes + parent.lengthBytes - this.machine.payloadRemainingBytes;
  }

  #giveFillBuffer(): void {
    if (this.#fillBuffer === NO_BUFFER) return;
    this.shared.largeBuffers.give(this.#fillBuffer);
    this.#fillBuffer = NO_BUFFER;
    this.#largeBuffersHeld--;
  }

  /** Of a WRITE, or of a command without data. */
  #closePiece(piece: PendingRequest, parent: PendingRequest): void {
    if (piece.errno !== 0 && parent.errno === 0) parent.errno = piece.errno;
    this.onReplied(piece);
    if (--parent.openPieces === 0 && parent.unsubmittedBytes === 0) this.#answerLarge(parent);
  }

  #answerLarge(parent: PendingRequest): void {
    if (this.#abandoned) {
      this.onReplied(parent);
      return;
    }
    if (parent.errno !== 0) this.shared.counters.failedRequests++;
    this.replies.push(parent);
  }

  #releasePayload(request: PendingRequest): void {
    if (request.staging !== -1) {
      this.staging.dereference(request.staging);
      request.staging = -1;
    }
    if (request.largeBuffer !== -1) {
      this.shared.largeBuffers.give(request.largeBuffer);
      request.largeBuffer = -1;
      this.#largeBuffersHeld--;
    }
  }
}

/** The next piece: as long as may be, and so that what follows begins at a 4 KiB block of the export. */
function pieceBytes(offset: number, remainingBytes: number, maxBytes: number): number {
  return remainingBytes <= maxBytes ? remainingBytes : maxBytes - (offset & PAGE_MASK);
}
