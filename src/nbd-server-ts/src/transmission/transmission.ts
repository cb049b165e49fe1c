import assert from 'node:assert/strict';
import { takeStatusPayload } from '../commands/block-status.js';
import { isDisconnect } from '../commands/disconnect.js';
import { checkCommand } from '../commands/index.js';
import { MAX_DRAINED_PAYLOAD_BYTES, MAX_STAGED_PAYLOAD_BYTES } from '../limits.js';
import { Command, EXTENDED_HEADER_BYTES, NbdErrno, REQUEST_HEADER_BYTES } from '../protocol/constants.js';
import { decodeExtendedRequestHeader, decodeRequestHeader, RequestHeader } from './request-header.js';
import type { Rules } from './rules.js';

/** What {@link Transmission.step} found. */
export const Step = {
  /** Nothing yet: `neededBytes`, counted from the position given, must be there. */
  more: 0,
  /** `header` is a valid request; the payload of a WRITE lies behind the header, whole. */
  request: 1,
  /** `header` is a valid WRITE whose payload is to be taken piece by piece ({@link Transmission.payloadTaken}). */
  largeWrite: 2,
  /** `header` is a request to be answered with `errno`; its payload, if any, is drained by the next steps. */
  refused: 3,
  /** Bytes of a refused payload were passed over. */
  drained: 4,
  /** DISC. Nothing after it is looked at. */
  disconnect: 5,
  /** The peer does not speak the protocol (`violation`): close. */
  violation: 6,
} as const;
export type Step = (typeof Step)[keyof typeof Step];

/**
 *                  ┌────────── request, refused (no payload) ─────────┐
 *                  ▼                                                  │
 *   ┌──────▶ header ──────────────────────────────────────────────────┘
 *   │          │  ├── largeWrite ──▶ payload ── payloadTaken(all) ──▶ header
 *   │          │  └── refused ─────▶ draining ─ drained(all) ───────▶ header
 *   │          └── disconnect, violation ──▶ ended
 *
 * The transmission phase of one connection, as a pure machine over memory: it says what the bytes at a position are and how many of
 * them that takes (`consumedBytes`). No allocation, no engine.
 */
export class Transmission {
  readonly header = new RequestHeader();
  consumedBytes = 0;
  readonly headerBytes: number;
  neededBytes: number;
  errno = 0;
  violation = '';
  /** Of a large WRITE: still to be taken. */
  payloadRemainingBytes = 0;
  #drainBytes = 0;
  #ended = false;
  #shuttingDown = false;

  constructor(readonly rules: Rules) {
    this.headerBytes = this.neededBytes = rules.extendedHeaders ? EXTENDED_HEADER_BYTES : REQUEST_HEADER_BYTES;
  }

  /** Between two requests: nothing of a payload is still to come. */
  get atBoundary(): boolean {
    return this.#drainBytes === 0 && this.payloadRemainingBytes === 0;
  }

  /** From now on requests are refused with ESHUTDOWN. */
  shutDown(): void {
    this.#shuttingDown = true;
  }

  step(view: DataView, at: number, availableBytes: number): Step {
    assert(!this.#ended && this.payloadRemainingBytes === 0);
    this.consumedBytes = 0;
    if (this.#drainBytes > 0) return this.#drain(availableBytes);
    const { headerBytes, header } = this;
    if (availableBytes < headerBytes) return this.#more(headerBytes);
    const decoded = this.rules.extendedHeaders ? decodeExtendedRequestHeader(view, at, header) : decodeRequestHeader(view, at, header);
    if (!decoded) return this.#end(Step.violation, 'bad request magic');
    if (isDisconnect(header)) {
      this.consumedBytes = headerBytes;
      return this.#end(Step.disconnect, '');
    }
    const errno = this.#shuttingDown ? NbdErrno.shutdown : checkCommand(header, this.rules);
    if (errno !== 0) return this.#refuse(errno);
    if (header.payloadBytes === 0) {
      this.consumedBytes = headerBytes;
      return Step.request;
    }
    return header.type === Command.write ? this.#write(availableBytes) : this.#statusPayload(view, at, availableBytes);
  }

  /** The caller has taken `bytes` of the payload of a large WRITE. */
  payloadTaken(bytes: number): void {
    assert(bytes <= this.payloadRemainingBytes);
    this.payloadRemainingBytes -= bytes;
  }

  #write(availableBytes: number): Step {
    const { headerBytes } = this;
    const { lengthBytes } = this.header;
    if (lengthBytes > MAX_STAGED_PAYLOAD_BYTES) {
      this.consumedBytes = headerBytes;
      this.payloadRemainingBytes = lengthBytes;
      return Step.largeWrite;
    }
    if (availableBytes < headerBytes + lengthBytes) return this.#more(headerBytes + lengthBytes);
    this.consumedBytes = headerBytes + lengthBytes;
    return Step.request;
  }

  /** Of a BLOCK_STATUS: small, or the command has been refused. */
  #statusPayload(view: DataView, at: number, availableBytes: number): Step {
    const wholeBytes = this.headerBytes + this.header.payloadBytes;
    if (availableBytes < wholeBytes) return this.#more(wholeBytes);
    this.consumedBytes = wholeBytes;
    this.errno = takeStatusPayload(view, at + this.headerBytes, this.header, this.rules);
    return this.errno === 0 ? Step.request : Step.refused;
  }

  #more(neededBytes: number): Step {
    this.neededBytes = neededBytes;
    return Step.more;
  }

  #refuse(errno: number): Step {
    const { payloadBytes } = this.header;
    if (payloadBytes > MAX_DRAINED_PAYLOAD_BYTES) return this.#end(Step.violation, 'a payload beyond all bounds');
    this.#drainBytes = payloadBytes;
    this.consumedBytes = this.headerBytes;
    this.errno = errno;
    return Step.refused;
  }

  #drain(availableBytes: number): Step {
    if (availableBytes === 0) return this.#more(1);
    this.consumedBytes = Math.min(availableBytes, this.#drainBytes);
    this.#drainBytes -= this.consumedBytes;
    return Step.drained;
  }

  #end(step: Step, violation: string): Step {
    this.#ended = true;
    this.violation = violation;
    return step;
  }
}
