import assert from 'node:assert/strict';
import { isDisconnect } from '../commands/disconnect.js';
import { checkCommand } from '../commands/index.js';
import { MAX_DRAINED_PAYLOAD_BYTES, MAX_STAGED_PAYLOAD_BYTES } from '../limits.js';
import { Command, NbdErrno, REQUEST_HEADER_BYTES } from '../protocol/constants.js';
import { decodeRequestHeader, RequestHeader } from './request-header.js';
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
  neededBytes = REQUEST_HEADER_BYTES;
  errno = 0;
  violation = '';
  /** Of a large WRITE: still to be taken. */
  payloadRemainingBytes = 0;
  #drainBytes = 0;
  #ended = false;
  #shuttingDown = false;

  constructor(readonly rules: Rules) {}

  /** From now on requests are refused with ESHUTDOWN. */
  shutDown(): void {
    this.#shuttingDown = true;
  }

  step(view: DataView, at: number, availableBytes: number): Step {
    assert(!this.#ended && this.payloadRemainingBytes === 0);
    this.consumedBytes = 0;
    if (this.#drainBytes > 0) return this.#drain(availableBytes);
    if (availableBytes < REQUEST_HEADER_BYTES) return this.#more(REQUEST_HEADER_BYTES);
    const header = this.header;
    if (!decodeRequestHeader(view, at, header)) return this.#end(Step.violation, 'bad request magic');
    if (isDisconnect(header)) {
      this.consumedBytes = REQUEST_HEADER_BYTES;
      return this.#end(Step.disconnect, '');
    }
    const errno = this.#shuttingDown ? NbdErrno.shutdown : checkCommand(header, this.rules);
    if (errno !== 0) return this.#refuse(errno);
    if (header.type !== Command.write) {
      this.consumedBytes = REQUEST_HEADER_BYTES;
      return Step.request;
    }
    return this.#write(availableBytes);
  }

  /** The caller has taken `bytes` of the payload of a large WRITE. */
  payloadTaken(bytes: number): void {
    assert(bytes <= this.payloadRemainingBytes);
    this.payloadRemainingBytes -= bytes;
  }

  #write(availableBytes: number): Step {
    const { lengthBytes } = this.header;
    if (lengthBytes > MAX_STAGED_PAYLOAD_BYTES) {
      this.consumedBytes = REQUEST_HEADER_BYTES;
      this.payloadRemainingBytes = lengthBytes;
      return Step.largeWrite;
    }
    if (availableBytes < REQUEST_HEADER_BYTES + lengthBytes) return this.#more(REQUEST_HEADER_BYTES + lengthBytes);
    this.consumedBytes = REQUEST_HEADER_BYTES + lengthBytes;
    return Step.request;
  }

  #more(neededBytes: number): Step {
    this.neededBytes = neededBytes;
    return Step.more;
  }

  #refuse(errno: number): Step {
    const { type, lengthBytes } = this.header;
    if (type === Command.write) {
      if (lengthBytes > MAX_DRAINED_PAYLOAD_BYTES) return this.#end(Step.violation, 'a payload beyond all bounds');
      this.#drainBytes = lengthBytes;
    }
    this.consumedBytes = REQUEST_HEADER_BYTES;
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
