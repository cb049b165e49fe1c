import fs from 'node:fs';
import { addonFailure, loadAddon, type Addon } from './addon.js';
import { errno, errnoName } from './errno.js';
import { EngineError } from './errors.js';
import { checkUnixPath } from './listen.js';

/** Descriptors that one message carries at most (Linux SCM_MAX_FD). */
export const MAX_PASSED = 253;

export interface Received {
  readonly bytes: Uint8Array;
  /** The receiver's own from here on. */
  readonly descriptors: readonly number[];
}

/**
 * A connected Unix socket on which bytes and open descriptors travel together, from one process to another. A stream: bytes may come in other portions than
 * they were sent in; descriptors come with the first byte of the message that they were sent with, or before it. For set-up, not for the hot path: each call waits in a
 * thread of libuv's pool. One send and one receive at a time. Throws ERR_UNSUPPORTED without the addon.
 */
export class DescriptorChannel {
  readonly #addon: Addon = requireAddon();
  #pending = 0;
  #closed = false;

  /** `fd`: the channel's own from here on. */
  constructor(private readonly fd: number) {}

  /** To whoever listens at the path. Throws with the errno's name (ENOENT, ECONNREFUSED). */
  static connect(path: string): DescriptorChannel {
    checkUnixPath(path);
    const fd = requireAddon().connectUnix(path);
    if (fd < 0) throw new EngineError(errnoName(fd), `cannot connect to ${path}: ${errnoName(fd)}`);
    return new DescriptorChannel(fd);
  }

  /** Takes the connection over from a socket of Node's that has not begun to read, and leaves that one destroyed. */
  static takeOver(socket: { destroy(): unknown }): DescriptorChannel {
    const { _handle: handle } = socket as unknown as { readonly _handle: { readonly fd: number } | null };
    const fd = handle === null ? -errno.EBADF : requireAddon().duplicate(handle.fd);
    socket.destroy();
    if (fd < 0) throw new EngineError(errnoName(fd), `the connection cannot be taken over: ${errnoName(fd)}`);
    return new DescriptorChannel(fd);
  }

  /** All of it, or it rejects: ETIMEDOUT where the peer takes nothing for so long, EPIPE where it has gone. The sender's descriptors stay its own, and have to stay open until then. */
  async send(bytes: Uint8Array, descriptors: readonly number[], timeoutMs: number): Promise<void> {
    const sent = await this.#do(() => this.#addon.sendDescriptors(this.fd, timeoutMs, bytes, Int32Array.from(descriptors)));
    if (sent < 0) throw new EngineError(errnoName(sent), `sending to the other process: ${errnoName(sent)}`);
  }

  /** What has come, when something has; null: the peer has closed. Rejects with ETIMEDOUT where nothing comes for so long. */
  async receive(timeoutMs: number): Promise<Received | null> {
    const received = await this.#do(() => this.#addon.receiveDescriptors(this.fd, timeoutMs));
    if (typeof received === 'number')
      throw new EngineError(errnoName(received), `receiving from the other process: ${errnoName(received)}`);
    if (!this.#closed) return received.bytes.length === 0 ? null : received;
    for (const fd of received.descriptors) fs.closeSync(fd);
    return null;
  }

  /** What waits ends soon. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#addon.shutdown(this.fd);
    this.#release();
  }

  async #do<T>(call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new EngineError('EBADF', 'the channel is closed');
    this.#pending++;
    try {
      return await call();
    } finally {
      this.#pending--;
      this.#release();
    }
  }

  /** Not while a thread uses it: its number would be somebody else's. */
  #release(): void {
    if (this.#closed && this.#pending === 0) fs.closeSync(this.fd);
  }
}

function requireAddon(): Addon {
  const addon = loadAddon();
  if (addon === null) throw new EngineError('ERR_UNSUPPORTED', `passing descriptors needs the addon (${addonFailure()})`);
  return addon;
}
