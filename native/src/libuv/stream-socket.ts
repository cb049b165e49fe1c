import type { Socket } from 'node:net';
import type { Arena } from '../arena.js';
import { errno, errnoOf } from '../errno.js';
import type { Gather } from '../gather.js';

interface Receive {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly all: boolean;
  done: number;
  readonly callback: (result: number) => void;
}

/** One socket of the libuv engine: receives into the arena on demand; what Node has read ahead waits (Node's stream bounds it). */
export class StreamSocket {
  #ended = false;
  #failure = 0;
  #receive: Receive | null = null;
  #send: ((result: number) => void) | null = null;

  constructor(
    readonly arena: Arena,
    readonly socket: Socket,
  ) {
    socket.pause();
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  receive(offset: number, lengthBytes: number, all: boolean, callback: (result: number) => void): void {
    this.#receive = { offset, lengthBytes, all, done: 0, callback };
    // Never answered during the call: the caller's state is not ready for it.
    queueMicrotask(this.#onReadable);
  }

  send(gather: Gather, callback: (result: number) => void): void {
    this.#send = callback;
    const { socket, arena } = this;
    const total = gather.totalBytes;
    if (this.#failure !== 0 || socket.destroyed) {
      queueMicrotask(() => this.#sent(this.#failure || -errno.EPIPE));
      return;
    }
    socket.cork();
    for (let i = 0; i < gather.count; i++) {
      const piece = arena.bytes.subarray(gather.offsets[i], gather.offsets[i]! + gather.lengths[i]!);
      const last = i === gather.count - 1;
      socket.write(piece, last ? error => this.#written(error, total) : undefined);
    }
    socket.uncork();
  }

  #written(error: Error | null | undefined, total: number): void {
    if (error) this.#sent(errnoOf(error));
    // Node calls a write done whose socket was destroyed meanwhile.
    else if (this.socket.destroyed) this.#sent(this.#failure || -errno.EPIPE);
    else this.#sent(total);
  }

  /** Ends both directions now: a receive that waits ends with 0, a send with -EPIPE. */
  shutdown(): void {
    this.#ended = true;
    this.socket.destroy();
  }

  /** As {@link shutdown}; what waits ends with -ECANCELED. */
  cancel(): void {
    this.#failure ||= -errno.ECANCELED;
    this.socket.destroy();
  }

  /** What waits to be received ends with what has come, or -ECANCELED; the socket goes on. */
  interrupt(): void {
    if (this.#receive !== null) this.#received(this.#receive.done || -errno.ECANCELED);
  }

  destroy(): void {
    this.#leave();
    this.socket.destroy();
  }

  get unreadBytes(): number {
    return this.socket.readableLength;
  }

  /** The descriptor inside Node's handle, or -1 where it is closed. */
  descriptor(): number {
    return (this.socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
  }

  /** The socket goes on elsewhere: its end here must not be seen by the peer (close, without shutdown). */
  letGo(): void {
    this.#leave();
    (this.socket as unknown as { _handle: { close(): void } })._handle.close();
  }

  #leave(): void {
    this.socket.removeAllListeners();
    this.socket.on('error', () => undefined);
  }

  readonly #onReadable = (): void => {
    const receive = this.#receive;
    if (receive === null) return;
    for (;;) {
      const want = receive.lengthBytes - receive.done;
      const available = Math.min(want, this.socket.readableLength);
      const chunk = available > 0 ? (this.socket.read(available) as Buffer | null) : (this.socket.read(0) as null);
      if (chunk === null) break;
      this.arena.bytes.set(chunk, receive.offset + receive.done);
      receive.done += chunk.length;
      if (receive.done === receive.lengthBytes || !receive.all) return this.#received(receive.done);
    }
    this.#receiveEnds(receive);
  };

  /** Nothing more will come; what has come so far counts. */
  #receiveEnds(receive: Receive): void {
    if (this.#ended || (this.#failure !== 0 && receive.done > 0)) this.#received(receive.done);
    else if (this.#failure !== 0) this.#received(this.#failure);
  }

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#onReadable();
  };

  readonly #onError = (error: Error): void => {
    this.#failure ||= errnoOf(error);
  };

  readonly #onClose = (): void => {
    if (!this.#ended) this.#failure ||= -errno.ECONNRESET;
    if (this.#receive !== null) this.#receiveEnds(this.#receive);
    if (this.#send !== null) this.#sent(this.#failure || -errno.EPIPE);
  };

  #received(result: number): void {
    const receive = this.#receive;
    this.#receive = null;
    receive?.callback(result);
  }

  #sent(result: number): void {
    const callback = this.#send;
    this.#send = null;
    callback?.(result);
  }
}
