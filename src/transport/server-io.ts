import { resetHeader, createHeader, FrameFlag, FrameType, type FrameHeader } from '../wire/frame.js';
import { encodeExtents } from '../wire/io.js';
import { HEADER_BYTES, MAP_EXTENT_BYTES } from '../wire/limits.js';
import { Blocker, IoOp, type PathRequest, type PathRequestOwner, type StargatePath } from '../wire/path.js';
import { IoStatus } from '../wire/status.js';
import type { FrameSender } from './frame-sender.js';
import type { TransportMemory } from './memory.js';
import type { ServedRequest, ServedRequestPool } from './served-request.js';

/** What a session may have outstanding on one connection. */
export interface ServerLimits {
  readonly maxRequests: number;
  readonly maxBytes: number;
}

/**
 * The requests of one connection between frames and the controller: arrival to answer to sent. What is outstanding counts until its answer
 * is sent, since until then it holds memory.
 */
export class ServerIo implements PathRequestOwner {
  outstanding = 0;
  bytesOutstanding = 0;
  readonly #header = createHeader();
  /** All outstanding, in order of arrival. */
  #first: ServedRequest | null = null;
  #last: ServedRequest | null = null;
  #answersFirst: ServedRequest | null = null;
  #answersLast: ServedRequest | null = null;
  /** Reads in the send that is on its way. */
  readonly #inSend: ServedRequest[] = [];
  #closed = false;

  constructor(
    private readonly path: StargatePath,
    private readonly memory: TransportMemory,
    private readonly pool: ServedRequestPool,
    private readonly limits: ServerLimits,
    private readonly nowNs: () => number,
    /** There is something to send. */
    private readonly onAnswers: () => void,
  ) {}

  get hasAnswers(): boolean {
    return this.#answersFirst !== null;
  }

  hasRoom(header: FrameHeader): boolean {
    const bytes = this.outstanding === 0 ? 0 : this.bytesOutstanding + bytesOf(header.op, header.lengthBytes);
    return this.outstanding < this.limits.maxRequests && bytes <= this.limits.maxBytes;
  }

  /** `memoryOffset`: the payload, in transport memory of which the caller gives one reference away; -1 without payload. */
  submit(header: FrameHeader, memoryOffset: number): void {
    const request = this.pool.take();
    request.prepare(header.op as IoOp, this);
    request.offsetBytes = header.offsetBytes;
    request.lengthBytes = header.lengthBytes;
    request.clientSeq = header.clientSeq;
    request.lowWater = header.lowWater;
    request.fua = (header.flags & FrameFlag.fua) !== 0;
    request.tag = header.tag;
    request.memoryOffset = memoryOffset;
    request.arrivedNs = this.nowNs();
    if (memoryOffset >= 0) request.payload.add(memoryOffset, header.payloadBytes);
    this.outstanding++;
    this.bytesOutstanding += bytesOf(request.op, request.lengthBytes);
    request.previous = this.#last;
    if (this.#last === null) this.#first = request;
    else this.#last.next = request;
    this.#last = request;
    this.path.submit(request);
  }

  onReply(pathRequest: PathRequest): void {
    const request = pathRequest as ServedRequest;
    if (this.#closed) throw new Error('a path that is closed has answered');
    request.answered = true;
    this.#dropPayload(request);
    if (this.#answersLast === null) this.#answersFirst = request;
    else this.#answersLast.nextAnswer = request;
    this.#answersLast = request;
    this.onAnswers();
  }

  /** Adds answers to the open send while there is room. */
  gather(sender: FrameSender, view: DataView): void {
    for (let request = this.#answersFirst; request !== null; request = this.#answersFirst) {
      const ok = request.status === IoStatus.ok;
      const extents = ok && request.op === IoOp.map ? request.extentCount : 0;
      const ranges = holdsData(request) ? request.data.count : 0;
      if (!sender.hasRoom(1 + ranges, HEADER_BYTES + extents * MAP_EXTENT_BYTES)) return;
      this.#answersFirst = request.nextAnswer;
      if (this.#answersFirst === null) this.#answersLast = null;
      request.nextAnswer = null;
      const payloadBytes = ranges > 0 ? request.data.totalBytes : extents * MAP_EXTENT_BYTES;
      sender.header(this.#answerHeader(request, payloadBytes));
      if (extents > 0) encodeExtents(view, sender.scratch(payloadBytes), request.extents, extents);
      for (let i = 0; i < ranges; i++) sender.gather.add(request.data.offsets[i]!, request.data.lengths[i]!);
      if (ranges > 0) this.#inSend.push(request);
      else this.#done(request);
    }
  }

  /** The send is complete, or its socket gone. */
  onSent(): void {
    for (let i = 0; i < this.#inSend.length; i++) {
      const request = this.#inSend[i]!;
      this.path.release(request);
      this.#done(request);
    }
    this.#inSend.length = 0;
  }

  /** In µs, 0 without any. */
  oldestAgeUs(): number {
    for (let request = this.#first; request !== null; request = request.next) {
      if (!request.answered) return Math.round((this.nowNs() - request.arrivedNs) / 1_000);
    }
    return 0;
  }

  blockedBy(): Blocker {
    return this.path.blockedBy?.() ?? Blocker.unknown;
  }

  /** Gives up the path and all requests but the reads that are being sent: `onSent` follows for those. */
  close(): void {
    this.#closed = true;
    this.path.close();
    let next: ServedRequest | null;
    for (let request = this.#first; request !== null; request = next) {
      next = request.next;
      if (this.#inSend.includes(request)) continue;
      this.#dropPayload(request);
      if (request.answered && holdsData(request)) this.path.release(request);
      this.#done(request);
    }
    this.#answersFirst = this.#answersLast = null;
  }

  #answerHeader(request: ServedRequest, payloadBytes: number): FrameHeader {
    const header = resetHeader(this.#header, FrameType.ioReply);
    header.op = request.op;
    header.status = request.status;
    header.tag = request.tag;
    header.clientSeq = request.clientSeq;
    header.term = request.term;
    header.lengthBytes = request.lengthBytes;
    header.payloadBytes = payloadBytes;
    return header;
  }

  #dropPayload(request: ServedRequest): void {
    if (request.memoryOffset < 0) return;
    this.memory.drop(request.memoryOffset);
    request.memoryOffset = -1;
  }

  #done(request: ServedRequest): void {
    this.outstanding--;
    this.bytesOutstanding -= bytesOf(request.op, request.lengthBytes);
    if (request.previous === null) this.#first = request.next;
    else request.previous.next = request.next;
    if (request.next === null) this.#last = request.previous;
    else request.next.previous = request.previous;
    this.pool.give(request);
  }
}

function holdsData(request: ServedRequest): boolean {
  return request.op === IoOp.read && request.status === IoStatus.ok;
}

function bytesOf(op: number, lengthBytes: number): number {
  return op === IoOp.read || op === IoOp.write ? lengthBytes : 0;
}
