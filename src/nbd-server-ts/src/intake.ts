import type { Staging } from './buffers.js';
import { ExportOp, type ExportSession } from './export.js';
import { MAX_EFFECT_BYTES, MAX_PIECE_BYTES, MAX_REQUESTS_PER_CONNECTION } from './limits.js';
import { Command, CommandFlag, REQUEST_HEADER_BYTES } from './protocol/constants.js';
import { toNbdErrno } from './protocol/errno.js';
import type { ReplyQueue } from './reply-queue.js';
import { Cutter } from './requests/cutter.js';
import { LargeWrite, Payload } from './requests/large-write.js';
import { OpenRequests, type IntakeListener, type SharedResources } from './requests/open-requests.js';
import { Step, type Transmission } from './transmission/transmission.js';

/** What {@link Intake.pump} stopped at. */
export const Pump = {
  /** Receive into staging; `neededBytes` from its position on are wanted. */
  more: 0,
  /** Receive what `largeWrite` says, where it says: the payload of a large WRITE. */
  direct: 1,
  /** Nothing is taken on before something in flight has finished or been sent. */
  blocked: 2,
  /** DISC, or the input was ended. */
  ended: 3,
  /** The peer broke the protocol: `machine.violation`. */
  violation: 4,
  /** As {@link Intake.pausing} asks: no further request is taken on. */
  paused: 5,
} as const;
export type Pump = (typeof Pump)[keyof typeof Pump];

/** The transmission phase of one connection between its bytes and its export: makes requests of what was received, one after another. */
export class Intake {
  neededBytes = REQUEST_HEADER_BYTES;
  /** Stop at the next boundary between two requests. */
  pausing = false;
  readonly requests: OpenRequests;
  readonly largeWrite: LargeWrite;
  readonly #cutter: Cutter;
  #inputEnded = false;

  constructor(
    readonly machine: Transmission,
    session: ExportSession,
    private readonly staging: Staging,
    private readonly replies: ReplyQueue,
    private readonly shared: SharedResources,
    private readonly listener: IntakeListener,
  ) {
    this.requests = new OpenRequests(session, staging, replies, shared, listener);
    this.largeWrite = new LargeWrite(machine, staging, this.requests, shared);
    this.#cutter = new Cutter(this.requests);
  }

  /** Works off what was received, as far as it goes. */
  pump(): Pump {
    for (;;) {
      const { waiting } = this.#cutter;
      if (waiting !== null && !this.#cutter.goOn(waiting)) return Pump.blocked;
      if (this.#inputEnded) return Pump.ended;
      const writing = this.largeWrite.request;
      if (writing !== null) {
        const stop = this.largeWrite.takePayload(writing);
        if (stop === Payload.direct) return Pump.direct;
        if (stop === Payload.more) return this.#more(this.largeWrite.neededBytes);
      }
      if (this.replies.deferring || this.requests.count >= MAX_REQUESTS_PER_CONNECTION) return Pump.blocked;
      const { staging, machine } = this;
      if (this.pausing && machine.atBoundary) return Pump.paused;
      const at = staging.position;
      const step = machine.step(this.shared.arena.view, at, staging.availableBytes);
      if (step === Step.more) return this.#more(machine.neededBytes);
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

  /** No more requests. What has been taken on is finished and answered; a WRITE whose payload is not whole fails. */
  endInput(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.largeWrite.end();
  }

  /** The connection is gone. */
  abandon(): void {
    this.requests.abandon();
    this.endInput();
    this.#cutter.abandon();
    this.replies.abandon();
  }

  #more(neededBytes: number): Pump {
    this.neededBytes = neededBytes;
    return Pump.more;
  }

  // ---- one request
  #start(payloadOffset: number): void {
    const { requests, shared } = this;
    const { header } = this.machine;
    const { type, lengthBytes, flags } = header;
    shared.counters.byCommand[type]!++;
    if (type === ExportOp.read) return this.#startRead(lengthBytes);
    if (type === Command.resize) return this.#resize();
    if (type === ExportOp.blockStatus) return this.#startStatus();
    const request = requests.take(header, type === ExportOp.write ? lengthBytes : 0);
    if (type === ExportOp.write) {
      shared.counters.writtenBytes += lengthBytes;
      request.payload.add(payloadOffset, lengthBytes);
      request.staging = this.staging.reference();
    } else if (type !== ExportOp.flush) {
      request.noHole = (flags & CommandFlag.noHole) !== 0;
      request.fastZero = (flags & CommandFlag.fastZero) !== 0;
      if (lengthBytes > MAX_EFFECT_BYTES) return this.#cutter.beginEffect(request);
    }
    requests.submit(request);
  }

  #startRead(lengthBytes: number): void {
    const { requests, shared } = this;
    shared.counters.readBytes += lengthBytes;
    const fits = lengthBytes <= MAX_PIECE_BYTES;
    const request = requests.take(this.machine.header, fits ? lengthBytes : 0);
    if (fits && requests.mayRead(lengthBytes)) requests.submitRead(request);
    else this.#cutter.beginRead(request, !this.replies.structured);
  }

  #startStatus(): void {
    const { header } = this.machine;
    const request = this.requests.take(header, 0);
    request.requestOne = (header.flags & CommandFlag.requestOne) !== 0;
    this.#cutter.submitStatus(request, header.contextMask);
  }

  #startLargeWrite(): void {
    const { header } = this.machine;
    const { counters } = this.shared;
    counters.byCommand[ExportOp.write]!++;
    counters.writtenBytes += header.lengthBytes;
    this.largeWrite.begin(this.requests.take(header, 0));
  }

  #resize(): void {
    const request = this.requests.take(this.machine.header, 0);
    this.listener.resize(request.offsetBytes, errno => {
      request.errno = toNbdErrno(errno, false);
      this.requests.answer(request);
      this.listener.onProgress();
    });
  }

  #refuse(): void {
    const request = this.requests.take(this.machine.header, 0);
    request.errno = this.machine.errno;
    this.shared.counters.refusedRequests++;
    this.replies.push(request);
  }
}
