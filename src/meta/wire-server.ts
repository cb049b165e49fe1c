import { chmodSync, unlinkSync } from 'node:fs';
import { connect, createServer, Socket, type Server } from 'node:net';
import type { Logger } from '../base/log.js';
import { decodeControl, encodeControl, WireFormatError } from '../wire/control.js';
import { createHeader, encodeHeader, FrameType, type FrameHeader } from '../wire/frame.js';
import { heartbeatReply } from '../wire/heartbeat.js';
import { chooseVersion, helloMessage, versionMismatch, type HelloReply } from '../wire/hello.js';
import { HEADER_BYTES, MAX_META_BYTES, MAX_META_REQUESTS, MAX_META_WATCHES } from '../wire/limits.js';
import { metaRequest, type MetaReply, type MetaRequest, type NodeQuestion } from '../wire/meta.js';
import { Blocker } from '../wire/path.js';
import { MetaUnavailable } from './errors.js';
import { FrameStream } from './frame-stream.js';
import type { MetadataStore, Watch } from './store.js';

/** sun_path without its final NUL. */
const MAX_UNIX_PATH_BYTES = 107;
/** Connections of one server: datapaths and tools of this machine. */
const MAX_CONNECTIONS = 256;
/** Requests of one connection that are being worked on; a client that connects again begins all its watches at once. */
const MAX_REQUESTS = MAX_META_REQUESTS + 2 * MAX_META_WATCHES;

export interface MetaServerOptions {
  readonly store: MetadataStore;
  readonly software: string;
  /** What this node says to others that ask. Absent: nothing. */
  readonly answer?: (question: NodeQuestion) => Promise<unknown>;
  readonly log: Logger;
}

/**
 * Serves a metadata store over a Unix socket, and over connections that others have accepted, on the main thread. For the datapaths of other
 * processes, which have no store of their own.
 */
export class MetaServer {
  readonly server: Server;
  readonly #connections = new Set<MetaConnection>();

  constructor(private readonly options: MetaServerOptions) {
    this.server = createServer(socket => this.#take(socket));
  }

  /** A connection that came to another listener of this process, with what was received of it. */
  adopt(fd: number, received: Uint8Array): void {
    const socket = new Socket({ fd, readable: true, writable: true });
    socket.setNoDelay(true);
    socket.unshift(received);
    this.#take(socket);
  }

  #take(socket: Socket): void {
    const { log } = this.options;
    if (this.#connections.size === MAX_CONNECTIONS) {
      log.log('warn', `a metadata connection was refused: there are ${MAX_CONNECTIONS}`);
      socket.destroy();
      return;
    }
    const connection = new MetaConnection(socket, this.options, () => this.#connections.delete(connection));
    this.#connections.add(connection);
  }

  /**
   * A socket file that nobody listens on (left by a killed process) is replaced. Rejects with MetaSocketError `ERR_ADDRESS_IN_USE` or `ERR_PATH_TOO_LONG`,
   * or the error of the system.
   */
  async listen(socketPath: string, mode = 0o600): Promise<void> {
    if (Buffer.byteLength(socketPath) > MAX_UNIX_PATH_BYTES) {
      throw new MetaSocketError(
        'ERR_PATH_TOO_LONG',
        `${socketPath}: the path of a socket has at most ${MAX_UNIX_PATH_BYTES} bytes; use a shorter directory`,
      );
    }
    try {
      await this.#bind(socketPath);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      if (await isListening(socketPath)) {
        throw new MetaSocketError(
          'ERR_ADDRESS_IN_USE',
          `${socketPath}: another process listens there; stop it or choose another directory`,
        );
      }
      unlinkSync(socketPath);
      await this.#bind(socketPath);
    }
    chmodSync(socketPath, mode);
  }

  #bind(socketPath: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(socketPath, () => {
        this.server.off('error', reject);
        resolve();
      });
    });
  }

  close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.server.close(() => resolve()));
    for (const connection of this.#connections) connection.close();
    return closed;
  }
}

export class MetaSocketError extends Error {
  constructor(
    readonly code: 'ERR_ADDRESS_IN_USE' | 'ERR_PATH_TOO_LONG',
    message: string,
  ) {
    super(message);
    this.name = 'MetaSocketError';
  }
}

function isListening(socketPath: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(socketPath, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Says that this process gets on; its store may still be waited for. */
function heartbeatAnswer(number: number): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES);
  encodeHeader(new DataView(frame.buffer), 0, heartbeatReply(createHeader(), number, 0, Blocker.unknown, 0));
  return frame;
}

class MetaConnection {
  readonly #stream: FrameStream;
  readonly #watches = new Map<number, Watch>();
  #greeted = false;
  #working = 0;

  constructor(
    socket: Socket,
    private readonly options: MetaServerOptions,
    onGone: () => void,
  ) {
    this.#stream = new FrameStream(socket, {
      onFrame: (header, payload) => this.#onFrame(header, payload),
      onClosed: () => {
        for (const watch of this.#watches.values()) watch.close();
        this.#watches.clear();
        onGone();
      },
    });
  }

  close(): void {
    this.#stream.close('the server stops');
  }

  #onFrame(header: FrameHeader, payload: Uint8Array): void {
    try {
      if (!this.#greeted && header.type === FrameType.hello) this.#greet(payload);
      else if (this.#greeted && header.type === FrameType.heartbeat) this.#stream.send(heartbeatAnswer(header.clientSeq));
      else if (this.#greeted && header.type === FrameType.metaRequest) void this.#serve(header.tag, decodeControl(metaRequest, payload));
      else this.#fail('ERR_WIRE_ORDER', `a frame of type ${header.type} is not expected now`);
    } catch (error) {
      if (!(error instanceof WireFormatError)) throw error;
      this.#fail(error.code, error.message);
    }
  }

  #greet(payload: Uint8Array): void {
    const hello = decodeControl(helloMessage, payload);
    const version = chooseVersion(hello);
    if (version === null) {
      const { code, message } = versionMismatch(hello);
      this.#fail(code, message);
      return;
    }
    this.#greeted = true;
    const reply: HelloReply = { version, software: this.options.software, maxRequests: 1, maxBytes: 1 };
    this.#stream.send(encodeControl(FrameType.helloReply, reply));
  }

  #fail(code: string, message: string): void {
    this.options.log.log('warn', 'a metadata connection was refused', { code, message });
    this.#stream.end(encodeControl(FrameType.error, { code, message }));
  }

  async #serve(tag: number, request: MetaRequest): Promise<void> {
    if (++this.#working > MAX_REQUESTS) {
      this.#stream.close(`more than ${MAX_REQUESTS} requests at once`);
      return;
    }
    const reply = await this.#carryOut(tag, request).catch((error: unknown) => failure(error));
    this.#working--;
    this.#stream.send(this.#encode(tag, reply));
  }

  #encode(tag: number, reply: MetaReply): Uint8Array {
    try {
      return encodeControl(FrameType.metaReply, reply, tag, MAX_META_BYTES);
    } catch (error) {
      return encodeControl(FrameType.metaReply, failure(error), tag);
    }
  }

  async #carryOut(tag: number, request: MetaRequest): Promise<MetaReply> {
    const { store, answer } = this.options;
    if (request.kind === 'ask') {
      if (answer === undefined) throw new RangeError('there is no node to ask here');
      return { kind: 'answer', answer: await answer(request.question) };
    }
    if (request.kind === 'get') return { kind: 'item', item: await store.get(request.key) };
    if (request.kind === 'range') return { kind: 'items', items: [...(await store.range(request.prefix)).items] };
    if (request.kind === 'transaction') {
      const result = await store.transaction(request.compares, request.operations);
      return result.ok ? { kind: 'applied', version: result.version } : { kind: 'conflict' };
    }
    if (request.kind === 'unwatch') {
      this.#watches.get(request.watch)?.close();
      this.#watches.delete(request.watch);
      return { kind: 'done' };
    }
    if (this.#watches.size === MAX_META_WATCHES || this.#watches.has(tag))
      throw new RangeError(`a connection has ${MAX_META_WATCHES} watches at most`);
    const watch = store.watch(request.prefix, hint => this.#stream.send(encodeControl(FrameType.metaEvent, hint, tag)));
    this.#watches.set(tag, watch);
    return { kind: 'done' };
  }
}

function failure(error: unknown): MetaReply {
  const { message, code } = error as Error & { code?: unknown };
  return {
    kind: 'failed',
    code: typeof code === 'string' ? code.slice(0, 64) : 'ERR_META',
    message: String(message).slice(0, 4_000),
    unknown: error instanceof MetaUnavailable,
  };
}
