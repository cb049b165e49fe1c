import type { Staging } from '../buffers.js';
import { MAX_PIECE_BYTES, MAX_STAGED_PAYLOAD_BYTES } from '../limits.js';
import type { PendingRequest } from '../pending-request.js';
import { NbdErrno } from '../protocol/constants.js';
import type { Transmission } from '../transmission/transmission.js';
import type { OpenRequests, SharedResources } from './open-requests.js';
import { pieceBytes } from './piece-bytes.js';

/** What {@link LargeWrite.takePayload} stopped at. */
export const Payload = {
  /** All of it is taken: the WRITE finishes by itself. */
  whole: 0,
  /** Receive into staging; `neededBytes` are wanted there. */
  more: 1,
  /** Receive `directBytes` at `directOffset`. */
  direct: 2,
} as const;
export type Payload = (typeof Payload)[keyof typeof Payload];

const NO_BUFFER = -1;

/**
 * The WRITE whose payload is being received in pieces. A piece is received into a large buffer, where possible straight from the socket;
 * where none is free, a small one stays in staging.
 */
export class LargeWrite {
  /** Null: there is none. */
  request: PendingRequest | null = null;
  neededBytes = 0;
  /** The large buffer that is being filled, how much goes there and how much has come. */
  #buffer = NO_BUFFER;
  #wantedBytes = 0;
  #filledBytes = 0;
  #directUnderWay = false;

  constructor(
    private readonly machine: Transmission,
    private readonly staging: Staging,
    private readonly requests: OpenRequests,
    private readonly shared: SharedResources,
  ) {}

  begin(request: PendingRequest): void {
    request.unsubmittedBytes = request.lengthBytes;
    this.request = request;
  }

  /** Takes payload from staging until that is used up or the WRITE is whole. */
  takePayload(request: PendingRequest): Payload {
    const { machine, staging } = this;
    while (machine.payloadRemainingBytes > 0) {
      if (this.#buffer === NO_BUFFER) {
        const going = request.errno !== 0 ? this.#passOver() : this.#takeBuffer(request) || this.#submitStaged(request);
        if (!going) return Payload.more;
        continue;
      }
      const bytes = Math.min(staging.availableBytes, this.directBytes);
      if (bytes === 0) return Payload.direct;
      this.shared.arena.bytes.copyWithin(this.directOffset, staging.position, staging.position + bytes);
      staging.position += bytes;
      this.#filled(request, bytes);
    }
    this.request = null;
    this.requests.endPieces(request);
    return Payload.whole;
  }

  /** There will be no more payload: it fails, unless it is whole. */
  end(): void {
    const { request } = this;
    if (request === null) return;
    this.request = null;
    if (!this.#directUnderWay) this.#giveBuffer();
    if (request.errno === 0) request.errno = NbdErrno.io;
    this.requests.endPieces(request);
  }

  // ---- straight from the socket
  get directOffset(): number {
    return this.shared.largeBuffers.offsetOf(this.#buffer) + this.#filledBytes;
  }

  get directBytes(): number {
    return this.#wantedBytes - this.#filledBytes;
  }

  /** The recv that `Payload.direct` asked for is under way: the buffer belongs to it. */
  directStarted(): void {
    this.#directUnderWay = true;
  }

  /** It has brought `bytes`; 0 where it failed. */
  directFinished(bytes: number): void {
    this.#directUnderWay = false;
    if (this.request === null) this.#giveBuffer();
    else if (bytes > 0) this.#filled(this.request, bytes);
  }

  // ---- pieces
  #takeBuffer(request: PendingRequest): boolean {
    this.#buffer = this.requests.takeLargeBuffer();
    if (this.#buffer === NO_BUFFER) return false;
    this.#filledBytes = 0;
    this.#wantedBytes = pieceBytes(this.#nextOffset(request), this.machine.payloadRemainingBytes, MAX_PIECE_BYTES);
    return true;
  }

  #filled(request: PendingRequest, bytes: number): void {
    this.#filledBytes += bytes;
    this.machine.payloadTaken(bytes);
    if (this.directBytes > 0) return;
    if (request.errno !== 0) this.#giveBuffer();
    else this.#submitFilled(request);
  }

  #submitFilled(request: PendingRequest): void {
    const piece = this.requests.takePiece(request, this.#nextOffset(request) - this.#wantedBytes, this.#wantedBytes);
    piece.payload.add(this.shared.largeBuffers.offsetOf(this.#buffer), this.#wantedBytes);
    piece.largeBuffer = this.#buffer;
    this.#buffer = NO_BUFFER;
    this.requests.submit(piece);
  }

  /** A small piece in staging, once it is there. False: it is not. */
  #submitStaged(request: PendingRequest): boolean {
    const { machine, staging } = this;
    const offset = this.#nextOffset(request);
    const bytes = pieceBytes(offset, machine.payloadRemainingBytes, MAX_STAGED_PAYLOAD_BYTES);
    if (staging.availableBytes < bytes) {
      this.neededBytes = bytes;
      return false;
    }
    const piece = this.requests.takePiece(request, offset, bytes);
    piece.payload.add(staging.position, bytes);
    piece.staging = staging.reference();
    staging.position += bytes;
    machine.payloadTaken(bytes);
    this.requests.submit(piece);
    return true;
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

  #giveBuffer(): void {
    if (this.#buffer === NO_BUFFER) return;
    this.requests.giveLargeBuffer(this.#buffer);
    this.#buffer = NO_BUFFER;
  }

  /** Where in the export the next byte of payload belongs. */
  #nextOffset(request: PendingRequest): number {
    return request.offsetBytes + request.lengthBytes - this.machine.payloadRemainingBytes;
  }
}
