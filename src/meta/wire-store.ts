import { connect } from 'node:net';
import { decodeControl, encodeControl } from '../wire/control.js';
import { FrameType, type FrameHeader } from '../wire/frame.js';
import { errorMessage, helloReply, WIRE_VERSION_MAX, WIRE_VERSION_MIN } from '../wire/hello.js';
import { GatepathError } from '../base/errors.js';
import { MAX_META_BYTES, MAX_META_REQUESTS, MAX_META_WATCHES } from '../wire/limits.js';
import { metaEvent, metaReply, type MetaReply, type MetaRequest } from '../wire/meta.js';
import { checkKey, checkPrefix, checkTransaction } from './check.js';
import { MetaUnavailable } from './errors.js';
import { FrameStream } from './frame-stream.js';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

const RECONNECT_FIRST_MS = 20;
const RECONNECT_LAST_MS = 500;

export interface WireStoreOptions {
  readonly socketPath: string;
  readonly software: string;
  /** A request is given up (MetaUnavailable) after so long without an answer. */
  readonly requestTimeoutMs?: number;
}

interface Pending {
  readonly request: MetaRequest;
  readonly resolve: (reply: MetaReply) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
  sent: boolean;
}

interface WireWatch {
  readonly prefix: string;
  readonly listener: WatchListener;
  /** The server could not begin it; it is asked for again. */
  refused: boolean;
}

/**
 * The metadata store of a Stargate, over its Unix socket. Reconnects by itself. Reads that were under way when the connection broke are asked again;
 * a transaction whose outcome is unknown is rejected with MetaUnavailable. After a break each watch is told `broken`.
 */
export class WireStore implements MetadataStore {
  readonly #pending = new Map<number, Pending>();
  readonly #watches = new Map<number, WireWatch>();
  #stream: FrameStream | null = null;
  #ready = false;
  #lastTag = 0;
  #failures = 0;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;
  #problem = 'not connected yet';

  constructor(private readonly options: WireStoreOptions) {
    this.#connect();
  }

  async get(key: string): Promise<Versioned | null> {
    checkKey(key);
    const reply = await this.#ask({ kind: 'get', key });
    if (reply.kind !== 'item') throw unexpected(reply);
    return reply.item;
  }

  async range(prefix: string): Promise<RangeResult> {
    checkPrefix(prefix);
    const reply = await this.#ask({ kind: 'range', prefix });
    if (reply.kind !== 'items') throw unexpected(reply);
    return { items: reply.items };
  }

  async transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    checkTransaction(compares, operations);
    const reply = await this.#ask({ kind: 'transaction', compares: [...compares], operations: [...operations] });
    if (reply.kind === 'applied') return { ok: true, version: reply.version };
    if (reply.kind === 'conflict') return { ok: false };
    throw unexpected(reply);
  }

  watch(prefix: string, listener: WatchListener): Watch {
    checkPrefix(prefix);
    if (this.#watches.size === MAX_META_WATCHES) {
      const action = 'this is a fault of the program: report it';
      throw new GatepathError('invalid', 'ERR_META_LIMIT', `a metadata connection has at most ${MAX_META_WATCHES} watches`, action);
    }
    const tag = this.#nextTag();
    this.#watches.set(tag, { prefix, listener, refused: false });
    if (this.#ready) this.#sendWatch(tag, prefix);
    return {
      close: () => {
        if (!this.#watches.delete(tag) || !this.#ready) return;
        this.#send(this.#nextTag(), { kind: 'unwatch', watch: tag });
      },
    };
  }

  close(): Promise<void> {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#watches.clear();
    for (const tag of [...this.#pending.keys()]) this.#reject(tag, 'the store was closed');
    this.#stream?.close('closed');
    return Promise.resolve();
  }

  // ---------------------------------------------------------------- requests

  #ask(request: MetaRequest): Promise<MetaReply> {
    if (this.#closed) return Promise.reject(new MetaUnavailable('the store was closed'));
    if (this.#pending.size === MAX_META_REQUESTS)
      return Promise.reject(new MetaUnavailable(`more than ${MAX_META_REQUESTS} metadata requests wait for ${this.options.socketPath}`));
    return new Promise((resolve, reject) => {
      const tag = this.#nextTag();
      const { requestTimeoutMs = 5_000 } = this.options;
      const timer = setTimeout(() => this.#reject(tag, `no answer within ${requestTimeoutMs} ms (${this.#problem})`), requestTimeoutMs);
      this.#pending.set(tag, { request, resolve, reject, timer, sent: false });
      if (this.#ready) this.#sendPending(tag);
    });
  }

  #sendPending(tag: number): void {
    const pending = this.#pending.get(tag);
    // The connection may break at any send.
    if (pending === undefined || !this.#ready) return;
    pending.sent = true;
    try {
      this.#send(tag, pending.request);
    } catch (error) {
      clearTimeout(pending.timer);
      this.#pending.delete(tag);
      pending.reject(error as Error);
    }
  }

  #sendWatch(tag: number, prefix: string): void {
    this.#send(tag, { kind: 'watch', prefix });
  }

  #send(tag: number, request: MetaRequest): void {
    this.#stream?.send(encodeControl(FrameType.metaRequest, request, tag, MAX_META_BYTES));
  }

  #reject(tag: number, why: string): void {
    const pending = this.#pending.get(tag);
    if (pending === undefined) return;
    this.#pending.delete(tag);
    clearTimeout(pending.timer);
    pending.reject(
      new MetaUnavailable(`the metadata store at ${this.options.socketPath} does not answer: ${why}; is the Stargate running?`),
    );
  }

  #nextTag(): number {
    this.#lastTag = (this.#lastTag % 0xffff_fffe) + 1;
    return this.#lastTag;
  }

  // ---------------------------------------------------------------- the connection

  #connect(): void {
    const socket = connect(this.options.socketPath);
    const stream = new FrameStream(socket, {
      onFrame: (header, payload) => this.#onFrame(header, payload),
      onClosed: message => this.#onLost(message),
    });
    this.#stream = stream;
    stream.send(
      encodeControl(FrameType.hello, {
        versionMin: WIRE_VERSION_MIN,
        versionMax: WIRE_VERSION_MAX,
        role: 'datapath',
        software: this.options.software,
      }),
    );
  }

  #onFrame(header: FrameHeader, payload: Uint8Array): void {
    try {
      if (header.type === FrameType.helloReply) this.#onReady(payload);
      else if (header.type === FrameType.metaReply) this.#onReply(header.tag, decodeControl(metaReply, payload));
      else if (header.type === FrameType.metaEvent) this.#watches.get(header.tag)?.listener(decodeControl(metaEvent, payload));
      else if (header.type === FrameType.error) {
        const { code, message } = decodeControl(errorMessage, payload);
        this.#stream!.close(`${code}: ${message}`);
      }
    } catch (error) {
      this.#stream!.close((error as Error).message);
    }
  }

  #onReady(payload: Uint8Array): void {
    decodeControl(helloReply, payload);
    this.#ready = true;
    const reconnected = this.#failures > 0;
    this.#failures = 0;
    // Watches first: what changes behind the answers to the reads below is told.
    for (const [tag, { prefix }] of this.#watches) this.#sendWatch(tag, prefix);
    for (const tag of [...this.#pending.keys()]) this.#sendPending(tag);
    if (reconnected && this.#ready) for (const { listener } of [...this.#watches.values()]) listener({ broken: true });
  }

  #onReply(tag: number, reply: MetaReply): void {
    const pending = this.#pending.get(tag);
    if (pending === undefined) {
      // Of a watch, or of a request that was given up.
      const watch = this.#watches.get(tag);
      if (watch !== undefined) this.#onWatchReply(tag, watch, reply);
      return;
    }
    this.#pending.delete(tag);
    clearTimeout(pending.timer);
    if (reply.kind !== 'failed') pending.resolve(reply);
    else if (reply.unknown) pending.reject(new MetaUnavailable(reply.message));
    else pending.reject(Object.assign(new Error(reply.message), { code: reply.code }));
  }

  #onWatchReply(tag: number, watch: WireWatch, reply: MetaReply): void {
    if (reply.kind === 'failed') {
      watch.refused = true;
      setTimeout(() => {
        if (this.#ready && this.#watches.has(tag)) this.#sendWatch(tag, watch.prefix);
      }, RECONNECT_LAST_MS).unref();
    } else if (watch.refused) {
      watch.refused = false;
      watch.listener({ broken: true });
    }
  }

  #onLost(message: string): void {
    this.#ready = false;
    this.#stream = null;
    this.#problem = message;
    if (this.#closed) return;
    for (const [tag, pending] of [...this.#pending]) {
      if (pending.sent && pending.request.kind === 'transaction')
        this.#reject(tag, `${message}; the outcome of the transaction is unknown`);
      else pending.sent = false;
    }
    const delayMs = Math.min(RECONNECT_LAST_MS, RECONNECT_FIRST_MS * 2 ** Math.min(this.#failures++, 10));
    this.#retry = setTimeout(() => this.#connect(), delayMs);
  }
}

function unexpected(reply: MetaReply): Error {
  return new Error(`the metadata server answered with "${reply.kind}", which is no answer to what was asked`);
}
