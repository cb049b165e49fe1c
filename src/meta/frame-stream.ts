import type { Socket } from 'node:net';
import { createHeader, decodeHeader, type FrameHeader } from '../wire/frame.js';
import { HEADER_BYTES, MAX_META_BYTES } from '../wire/limits.js';

/** Bytes that may wait to be sent on one connection before it is taken for one that does not read. */
const MAX_UNSENT_BYTES = 4 * MAX_META_BYTES;

export interface FrameStreamListener {
  /** `payload` is readable during the call only. */
  onFrame(header: FrameHeader, payload: Uint8Array): void;
  /** Called once: the connection is gone, by whatever cause. */
  onClosed(message: string): void;
}

/** The frames of src/wire over a socket of Node's: for the metadata connections, which live on main threads. */
export class FrameStream {
  #buffer = new Uint8Array(64 * 1024);
  #length = 0;
  #closed = false;
  readonly #header = createHeader();

  constructor(
    private readonly socket: Socket,
    private readonly listener: FrameStreamListener,
  ) {
    socket.on('data', (data: Buffer) => this.#onData(data));
    socket.on('error', error => this.close(error.message));
    socket.on('close', () => this.close('the connection was closed'));
  }

  send(frame: Uint8Array): void {
    if (this.#closed) return;
    this.socket.write(frame);
    if (this.socket.writableLength > MAX_UNSENT_BYTES) this.close('the other side does not read what it is sent');
  }

  /** Sends what is waiting, then closes. */
  end(frame: Uint8Array): void {
    this.socket.end(frame);
  }

  close(message: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.socket.destroy();
    this.listener.onClosed(message);
  }

  #onData(data: Buffer): void {
    this.#append(data);
    const view = new DataView(this.#buffer.buffer);
    let at = 0;
    while (!this.#closed && this.#length - at >= HEADER_BYTES) {
      const fault = decodeHeader(view, at, this.#header);
      if (fault !== null) {
        this.close(`${fault}: what was received is no frame of this protocol`);
        return;
      }
      const end = at + HEADER_BYTES + this.#header.payloadBytes;
      if (end > this.#length) break;
      this.listener.onFrame(this.#header, this.#buffer.subarray(at + HEADER_BYTES, end));
      at = end;
    }
    this.#buffer.copyWithin(0, at, this.#length);
    this.#length -= at;
  }

  /** Grows up to the largest frame and one receive: a header that announces more is refused before. */
  #append(data: Buffer): void {
    const needed = this.#length + data.length;
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#buffer.length));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(data, this.#length);
    this.#length = needed;
  }
}
