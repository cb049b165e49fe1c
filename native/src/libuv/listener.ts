import fs from 'node:fs';
import net from 'node:net';
import { dirname } from 'node:path';
import type { Addon } from '../addon.js';
import type { ListenOptions, SocketAddress } from '../engine.js';
import { errno } from '../errno.js';
import { EngineError } from '../errors.js';
import { addressOf, checkUnixPath, DEFAULT_BACKLOG, DEFAULT_MODE, isStale, listenError } from '../listen.js';

/** What is taken from Node's inside: it has no synchronous way to listen, and none to learn why it could not. */
interface Handle {
  listen(backlog: number): number;
  close(): void;
}
interface NetInternals {
  _createServerHandle(address: string, port: number, addressType: number, fd: undefined, flags: number): Handle | number;
}
interface ServerInternals {
  _handle: Handle;
  _listen2(address: null, port: number, addressType: number, backlog: number): void;
}

/** One listening socket of the libuv engine. Node accepts connections ahead; they are handed out one per accept. */
export class Listener {
  readonly #server: net.Server;
  readonly #waiting: ((socket: net.Socket | null, error: number) => void)[] = [];
  readonly #accepted: net.Socket[] = [];

  private constructor(
    readonly addon: Addon | null,
    /** -1 where Node has made the socket itself. */
    readonly fd: number,
    readonly address: SocketAddress | null,
  ) {
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, socket => {
      // Nothing is read yet, but it may fail all the same.
      socket.on('error', ignore);
      const waiter = this.#waiting.shift();
      if (waiter === undefined) this.#accepted.push(socket);
      else waiter(socket, 0);
    });
    this.#server.on('error', ignore);
  }

  /** A socket that listens already. */
  static fromDescriptor(addon: Addon | null, fd: number, backlog = DEFAULT_BACKLOG): Listener {
    const listener = new Listener(addon, fd, null);
    listener.#server.listen({ fd, backlog });
    if (!listener.#server.listening) throw new EngineError('ERR_ARGUMENT', `descriptor ${fd} is not a listening socket`);
    return listener;
  }

  /** A new socket, without the addon. Throws as `Engine.listen` does. */
  static bind(address: SocketAddress, options: ListenOptions): Listener {
    const { backlog = DEFAULT_BACKLOG, mode = DEFAULT_MODE } = options;
    if (address.family === 'unix') {
      checkUnixPath(address.path);
      // libuv has EACCES for it.
      if (!fs.existsSync(dirname(address.path))) throw listenError(address, -errno.ENOENT);
      if (isStale(address.path)) fs.unlinkSync(address.path);
    } else if (net.isIP(address.host) === 0) throw listenError(address, -errno.EINVAL);
    const isUnix = address.family === 'unix';
    const { _createServerHandle: create } = net as unknown as NetInternals;
    const handle = isUnix
      ? create(address.path, -1, -1, undefined, 0)
      : create(address.host, address.port, net.isIP(address.host), undefined, 0);
    if (typeof handle === 'number') throw listenError(address, handle);
    const result = handle.listen(backlog);
    if (result < 0) {
      handle.close();
      throw listenError(address, result);
    }
    const listener = new Listener(null, -1, address);
    const server = listener.#server as unknown as ServerInternals;
    server._handle = handle;
    server._listen2(null, -1, -1, backlog);
    if (isUnix) fs.chmodSync(address.path, mode);
    return listener;
  }

  accept(callback: (socket: net.Socket | null, error: number) => void): void {
    const socket = this.#accepted.shift();
    if (socket === undefined) this.#waiting.push(callback);
    else callback(socket, 0);
  }

  cancel(): void {
    for (const waiter of this.#waiting.splice(0)) waiter(null, -errno.ECANCELED);
  }

  /** Connections that Node has accepted and nobody has asked for. */
  get accepted(): number {
    return this.#accepted.length;
  }

  close(): void {
    this.#waiting.length = 0;
    for (const socket of this.#accepted.splice(0)) socket.destroy();
    this.#server.close();
  }

  localAddress(): SocketAddress {
    if (this.addon !== null && this.fd >= 0) return addressOf(this.addon, this.fd);
    const bound = this.#server.address();
    if (bound !== null && typeof bound === 'object') return { family: 'tcp', host: bound.address, port: bound.port };
    if (this.address !== null) return this.address;
    throw new EngineError('ERR_UNSUPPORTED', 'the address of a Unix listener that was taken over is not known without the addon');
  }
}

function ignore(): void {
  return undefined;
}
