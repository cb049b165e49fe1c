import { RECV_ALL, type ClientId, type Engine, type Slot } from 'uring-engine';
import { createHeader, decodeHeader, type FrameFault, type FrameHeader } from '../wire/frame.js';
import { HEADER_BYTES } from '../wire/limits.js';
import { CHUNK_BYTES, INLINE_BYTES, RECV_BYTES } from './limits.js';
import type { MemoryShare, TransportMemory } from './memory.js';

/** {@link FrameHandler.place}: leave the payload where it was received (up to INLINE_BYTES). */
export const KEEP = -1;
/** There is no memory, or too much is outstanding: ask again after {@link FrameReceiver.resume}. Nothing is received meanwhile. */
export const WAIT = -2;
/** The frame is not acceptable; the handler has dealt with it and stopped the receiver. */
export const REFUSE = -3;

export interface FrameHandler {
  /**
   * A header has come. Returns the arena offset where the payload is to go, or KEEP (also without payload), WAIT, REFUSE. May be asked several
   * times for one frame after KEEP or WAIT.
   */
  place(header: FrameHeader): number;
  /** A whole frame. `payloadOffset`: arena offset of the payload; inside {@link FrameReceiver.chunk} when it was kept, and valid there during the call, or as long as the chunk is held. */
  onFrame(header: FrameHeader, payloadOffset: number): void;
  onFault(fault: FrameFault): void;
  /** The peer has closed (0) or the socket failed (-errno). */
  onLost(result: number): void;
}

/**
 * Cuts what a socket receives into frames. One receive is outstanding at a time, into the chunk or straight into a payload's
 * place. A chunk whose payloads are still in use is held by their users; the receiver goes on in another one.
 */
export class FrameReceiver {
  lastReceivedNs: number;
  /** The chunk received into. */
  chunk: number;
  readonly #header = createHeader();
  #haveHeader = false;
  #start: number;
  #end: number;
  /** Payload on its way straight to its place: where it began, where it goes on, what is missing. */
  #target = -1;
  #targetNext = 0;
  #targetLeft = 0;
  #armed = false;
  #paused = false;
  #stopped = false;
  #pumping = false;

  constructor(
    private readonly engine: Engine,
    private readonly memory: TransportMemory,
    private readonly share: MemoryShare,
    private readonly slot: Slot,
    private readonly client: ClientId,
    private readonly tag: number,
    private readonly handler: FrameHandler,
    /** A chunk taken for `share`, owned by the receiver from now on. */
    chunk: number,
  ) {
    this.chunk = this.#start = this.#end = chunk;
    this.lastReceivedNs = engine.nowNs;
  }

  /** A receive is outstanding: memory that it may write to must not be given away. */
  get armed(): boolean {
    return this.#armed;
  }

  /** Bytes that another shard has received already; before the first `resume`. */
  prime(bytes: Uint8Array): void {
    this.engine.arena.bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Takes no further frame and arms no further receive until `resume`. */
  pause(): void {
    this.#paused = true;
  }

  /** Starts, or goes on after WAIT, a lack of memory or `pause`. */
  resume(): void {
    this.#paused = false;
    this.#pump();
  }

  stop(): void {
    this.#stopped = true;
  }

  /** A copy of what is received and not consumed; for a connection that moves. */
  leftover(): Uint8Array {
    return this.engine.arena.bytes.slice(this.#start, this.#end);
  }

  /** After the socket's last completion: gives the chunk back. A payload place belongs to the handler. */
  destroy(): void {
    this.memory.drop(this.chunk);
  }

  onReceived(result: number): void {
    this.#armed = false;
    if (this.#stopped) return;
    if (result <= 0 || (this.#targetLeft > 0 && result < this.#targetLeft)) {
      this.handler.onLost(Math.min(result, 0));
      return;
    }
    this.lastReceivedNs = this.engine.nowNs;
    if (this.#targetLeft > 0) {
      const target = this.#target;
      this.#target = -1;
      this.#targetLeft = 0;
      this.#deliver(target);
    } else this.#end += result;
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    let more = true;
    while (more && !this.#paused && !this.#stopped && !this.#armed) more = this.#step();
    this.#pumping = false;
  }

  /** Consumes one frame, or arms a receive, or finds that it has to wait: then false. */
  #step(): boolean {
    if (this.#targetLeft > 0) return this.#receiveTarget();
    const available = this.#end - this.#start;
    if (!this.#haveHeader) {
      if (available < HEADER_BYTES) return this.#receiveChunk(HEADER_BYTES);
      const fault = decodeHeader(this.engine.arena.view, this.#start, this.#header);
      if (fault !== null) {
        this.handler.onFault(fault);
        return false;
      }
      this.#haveHeader = true;
    }
    const { payloadBytes } = this.#header;
    const place = this.handler.place(this.#header);
    if (place === WAIT || place === REFUSE) return false;
    if (payloadBytes === 0) {
      this.#start += HEADER_BYTES;
      this.#deliver(0);
      return true;
    }
    if (place >= 0) {
      this.#toPlace(place, payloadBytes);
      return true;
    }
    if (payloadBytes > INLINE_BYTES) {
      this.handler.onFault('ERR_FRAME_LENGTH');
      return false;
    }
    if (available < HEADER_BYTES + payloadBytes) return this.#receiveChunk(HEADER_BYTES + payloadBytes);
    const payloadOffset = this.#start + HEADER_BYTES;
    this.#start = payloadOffset + payloadBytes;
    this.#deliver(payloadOffset);
    return true;
  }

  #deliver(payloadOffset: number): void {
    this.#haveHeader = false;
    this.handler.onFrame(this.#header, payloadOffset);
  }

  #toPlace(place: number, payloadBytes: number): void {
    const from = this.#start + HEADER_BYTES;
    const have = Math.min(payloadBytes, this.#end - from);
    this.engine.arena.bytes.copyWithin(place, from, from + have);
    this.#start = from + have;
    if (have === payloadBytes) {
      this.#deliver(place);
      return;
    }
    this.#target = place;
    this.#targetNext = place + have;
    this.#targetLeft = payloadBytes - have;
  }

  #receiveTarget(): boolean {
    this.#armed = true;
    this.engine.recv(this.slot, this.#targetNext, this.#targetLeft, RECV_ALL, this.client, this.tag);
    return false;
  }

  /** Receives behind what is there, where `frameBytes` from `#start` on will have room. */
  #receiveChunk(frameBytes: number): boolean {
    const chunkEnd = this.chunk + CHUNK_BYTES;
    const crowded = this.#start + frameBytes > chunkEnd || chunkEnd - this.#end < INLINE_BYTES;
    if ((crowded || this.#start === this.#end) && !this.#moveToFront(crowded)) {
      this.memory.wait(this.share);
      return false;
    }
    const room = this.chunk + CHUNK_BYTES - this.#end;
    this.#armed = true;
    this.engine.recv(this.slot, this.#end, Math.min(room, RECV_BYTES), 0, this.client, this.tag);
    return false;
  }

  /** Puts what is left at the front of this chunk, if nobody else uses it, or of another one. */
  #moveToFront(needed: boolean): boolean {
    const { bytes } = this.engine.arena;
    if (this.memory.references(this.chunk) === 1) {
      bytes.copyWithin(this.chunk, this.#start, this.#end);
      this.#end = this.chunk + (this.#end - this.#start);
      this.#start = this.chunk;
      return true;
    }
    if (!needed) return true;
    const next = this.memory.take(CHUNK_BYTES, this.share);
    if (next < 0) return false;
    bytes.copyWithin(next, this.#start, this.#end);
    this.#end = next + (this.#end - this.#start);
    this.#start = next;
    this.memory.drop(this.chunk);
    this.chunk = next;
    return true;
  }
}
