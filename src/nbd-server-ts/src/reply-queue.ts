import assert from 'node:assert/strict';
import { Gather, type Arena } from 'uring-engine';
import { ExportOp } from './export.js';
import { MAX_REQUESTS_PER_CONNECTION, REPLY_AREA_BYTES } from './limits.js';
import type { PendingRequest } from './pending-request.js';
import { contextId, EXTENDED_HEADER_BYTES, ReplyFlag, SIMPLE_REPLY_BYTES } from './protocol/constants.js';
import {
  chunkHeaderBytes,
  encodeDone,
  encodeErrorChunk,
  encodeOffsetData,
  encodeStatus,
  ERROR_DATA_BYTES,
  offsetDataBytes,
  statusBytes,
} from './replies/chunks.js';
import { encodeSimpleReply } from './replies/simple.js';
import { ReusedList } from './reused-list.js';

/** Who gets requests back. */
export interface ReplySink {
  /** The request is answered, its data sent or given up: recycle it. */
  onReplied(request: PendingRequest): void;
  /** The stream cannot be continued: a READ failed behind its header. */
  onBroken(reason: string): void;
}

/**
 * The answers of one connection, gathered for one send at a time. Headers go to one of two areas by turns (the other is being sent);
 * data is named where it lies, and its request kept until the send is done. What finds no room, or may not go in between, is deferred.
 */
export class ReplyQueue {
  readonly gather = new Gather();
  structured = false;
  /** Every answer is a chunk with an extended header. */
  extended = false;
  #areaIndex = 0;
  #areaAt = 0;
  #kept = new ReusedList<PendingRequest>();
  #beingSent = new ReusedList<PendingRequest>();
  #deferredHead: PendingRequest | null = null;
  #deferredTail: PendingRequest | null = null;
  /** A READ whose pieces go out one after another, header sent, not yet whole. */
  #exclusive: PendingRequest | null = null;
  #full = false;
  sentBytes = 0;
  /** Answers, or chunks of some, that are in `gather`. */
  answers = 0;

  constructor(
    private readonly arena: Arena,
    private readonly areasOffset: number,
    private readonly sink: ReplySink,
  ) {}

  get deferring(): boolean {
    return this.#deferredHead !== null;
  }

  get empty(): boolean {
    return this.gather.count === 0 && this.#deferredHead === null;
  }

  /** A finished request: its answer now, or when there is room. */
  push(request: PendingRequest): void {
    if (this.#deferredHead !== null || !this.#try(request)) this.#defer(request);
  }

  /** Bytes of the handshake: as many of them as there is room for; returns how many. */
  pushBytes(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, REPLY_AREA_BYTES - this.#areaAt);
    if (count === 0 || !this.gather.hasRoom(1)) return 0;
    const at = this.#area(count);
    this.arena.bytes.set(count === bytes.length ? bytes : bytes.subarray(0, count), at);
    return count;
  }

  /** Tries what was deferred, in order; what is held up by a READ in the making is passed over. */
  flushDeferred(): void {
    let request = this.#deferredHead;
    this.#deferredHead = this.#deferredTail = null;
    this.#full = false;
    while (request !== null) {
      const next: PendingRequest | null = request.next;
      request.next = null;
      if (this.#full || !this.#try(request)) this.#defer(request);
      request = next;
    }
  }

  #defer(request: PendingRequest): void {
    if (this.#deferredTail === null) this.#deferredHead = request;
    else this.#deferredTail.next = request;
    this.#deferredTail = request;
  }

  /** The gather list has been given to the engine. */
  sendStarted(): void {
    assert(this.#beingSent.count === 0);
    this.sentBytes += this.gather.totalBytes;
    this.gather.clear();
    this.answers = 0;
    this.#areaIndex ^= 1;
    this.#areaAt = 0;
    const sent = this.#beingSent;
    this.#beingSent = this.#kept;
    this.#kept = sent;
  }

  sendFinished(): void {
    const sent = this.#beingSent;
    for (let i = 0; i < sent.count; i++) this.sink.onReplied(sent.items[i]!);
    sent.clear();
  }

  /** The connection has ended: gives back all that is not being sent. */
  abandon(): void {
    this.gather.clear();
    this.answers = 0;
    this.#areaAt = 0;
    const kept = this.#kept;
    for (let i = 0; i < kept.count; i++) this.sink.onReplied(kept.items[i]!);
    kept.clear();
    let request = this.#deferredHead;
    this.#deferredHead = this.#deferredTail = null;
    this.#exclusive = null;
    while (request !== null) {
      const next: PendingRequest | null = request.next;
      request.next = null;
      this.drop(request);
      request = next;
    }
  }

  /** A request that finished after the connection ended. */
  drop(request: PendingRequest): void {
    const { parent } = request;
    this.sink.onReplied(request);
    if (parent === null) return;
    if (--parent.openPieces === 0 && parent.unsubmittedBytes === 0) this.sink.onReplied(parent);
  }

  #try(request: PendingRequest): boolean {
    if (this.#exclusive !== null && request.parent !== this.#exclusive) return false;
    if (request.parent !== null) return request.parent.sequential ? this.#tryNextInRow(request) : this.#tryChunk(request, request.parent);
    const chunked = this.extended || (this.structured && (request.op === ExportOp.read || request.op === ExportOp.blockStatus));
    if (request.errno !== 0) return this.#tryError(request, chunked);
    if (request.op === ExportOp.read) return this.#tryData(request, ReplyFlag.done);
    if (request.op === ExportOp.blockStatus) return this.#tryStatus(request, ReplyFlag.done);
    if (chunked) return this.#tryDone(request);
    if (!this.#room(SIMPLE_REPLY_BYTES, 0)) return false;
    encodeSimpleReply(this.arena.view, this.#header(SIMPLE_REPLY_BYTES), 0, request.cookieHigh, request.cookieLow);
    this.sink.onReplied(request);
    return true;
  }

  #tryDone(request: PendingRequest): boolean {
    if (!this.#room(EXTENDED_HEADER_BYTES, 0)) return false;
    encodeDone(this.arena.view, this.#header(EXTENDED_HEADER_BYTES), request, request.offsetBytes);
    this.sink.onReplied(request);
    return true;
  }

  #tryError(request: PendingRequest, chunked: boolean): boolean {
    const { errno } = request;
    const { view } = this.arena;
    const bytes = chunked ? chunkHeaderBytes(this.extended) + ERROR_DATA_BYTES : SIMPLE_REPLY_BYTES;
    if (!this.#room(bytes, 0)) return false;
    if (chunked) encodeErrorChunk(view, this.#header(bytes), this.extended, request, request.offsetBytes, errno);
    else encodeSimpleReply(view, this.#header(bytes), errno, request.cookieHigh, request.cookieLow);
    this.sink.onReplied(request);
    return true;
  }

  /** The status of one context. */
  #tryStatus(request: PendingRequest, flags: number): boolean {
    const { extended } = this;
    const { extentCount, extents, context, offsetBytes } = request;
    const bytes = statusBytes(extended, extentCount);
    if (!this.#room(bytes, 0)) return false;
    encodeStatus(this.arena.view, this.#header(bytes), extended, flags, request, offsetBytes, contextId(context), extents!, extentCount);
    this.sink.onReplied(request);
    return true;
  }

  /** Header and data of a READ or of a piece of it. */
  #tryData(request: PendingRequest, flags: number): boolean {
    const { data, offsetBytes, lengthBytes } = request;
    const { extended } = this;
    const { view } = this.arena;
    const bytes = this.structured ? offsetDataBytes(extended) : SIMPLE_REPLY_BYTES;
    if (!this.#room(bytes, data.count)) return false;
    const at = this.#header(bytes);
    const requestOffset = request.parent === null ? offsetBytes : request.parent.offsetBytes;
    if (this.structured) encodeOffsetData(view, at, extended, flags, request, requestOffset, offsetBytes, lengthBytes);
    else encodeSimpleReply(view, at, 0, request.cookieHigh, request.cookieLow);
    this.#append(request);
    return true;
  }

  /** A piece of a READ in structured replies, or one context of a BLOCK_STATUS: a chunk of its own, in any order; the last has DONE. */
  #tryChunk(piece: PendingRequest, parent: PendingRequest): boolean {
    const last = parent.openPieces === 1 && parent.unsubmittedBytes === 0;
    if (piece.errno !== 0) {
      if (parent.errno === 0) parent.errno = piece.errno;
    } else if (parent.errno === 0) {
      const flags = last ? ReplyFlag.done : 0;
      if (piece.op === ExportOp.blockStatus) {
        if (!this.#tryStatus(piece, flags)) return false;
      } else if (!this.#tryData(piece, flags)) return false;
      this.#closePiece(parent, true);
      return true;
    }
    this.sink.onReplied(piece);
    this.#closePiece(parent, false);
    return true;
  }

  /** A piece of a READ with a simple reply: only when it is its turn. */
  #tryNextInRow(piece: PendingRequest): boolean {
    const parent = piece.parent!;
    if (piece.errno !== 0 && parent.errno === 0) parent.errno = piece.errno;
    if (parent.errno !== 0) {
      if (parent.headerSent) this.sink.onBroken(`a READ failed (errno ${parent.errno}) after a part of its data was sent`);
      this.sink.onReplied(piece);
      this.#closePiece(parent, false);
      return true;
    }
    if (piece.offsetBytes !== parent.nextOffsetBytes) return false;
    if (!this.#room(SIMPLE_REPLY_BYTES, piece.data.count)) return false;
    if (!parent.headerSent) {
      encodeSimpleReply(this.arena.view, this.#header(SIMPLE_REPLY_BYTES), 0, parent.cookieHigh, parent.cookieLow);
      parent.headerSent = true;
      this.#exclusive = parent;
    }
    this.#append(piece);
    parent.nextOffsetBytes += piece.lengthBytes;
    this.#closePiece(parent, true);
    return true;
  }

  #closePiece(parent: PendingRequest, sent: boolean): void {
    if (--parent.openPieces > 0 || parent.unsubmittedBytes > 0) return;
    this.#exclusive = this.#exclusive === parent ? null : this.#exclusive;
    if (sent || parent.headerSent) this.sink.onReplied(parent);
    else this.push(parent);
  }

  #append(request: PendingRequest): void {
    const { data } = request;
    const { offsets, lengths, count } = data;
    assert(data.totalBytes === request.lengthBytes, 'the export gave more or less data than the READ asked for');
    for (let i = 0; i < count; i++) this.gather.add(offsets[i]!, lengths[i]!);
    this.#kept.push(request);
  }

  /** Room for a header of so many bytes and so many ranges of data. */
  #room(headerBytes: number, ranges: number): boolean {
    if (this.#areaAt + headerBytes <= REPLY_AREA_BYTES && this.gather.hasRoom(ranges + 1) && this.#kept.count < MAX_REQUESTS_PER_CONNECTION)
      return true;
    this.#full = true;
    return false;
  }

  #header(bytes: number): number {
    this.answers++;
    return this.#area(bytes);
  }

  #area(bytes: number): number {
    const at = this.areasOffset + this.#areaIndex * REPLY_AREA_BYTES + this.#areaAt;
    this.#areaAt += bytes;
    this.gather.add(at, bytes);
    return at;
  }
}
