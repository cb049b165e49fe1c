import { connect, type Socket } from 'node:net';
import { decodeControl, encodeControl } from '../wire/control.js';
import { createHeader, encodeHeader, FrameType, type FrameHeader } from '../wire/frame.js';
import { heartbeat } from '../wire/heartbeat.js';
import { errorMessage, helloReply, WIRE_VERSION_MAX, WIRE_VERSION_MIN } from '../wire/hello.js';
import { GatepathError } from '../base/errors.js';
import { HEADER_BYTES, MAX_META_BYTES, MAX_META_REQUESTS, MAX_META_WATCHES } from '../wire/limits.js';
import { metaEvent, metaReply, type MetaReply, type MetaRequest } from '../wire/meta.js';
import { checkKey, checkPrefix, checkTransaction } from './check.js';
import { MetaUnavailable } from './errors.js';
import { FrameStream } from './frame-stream.js';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

const RECONNECT_FIRST_MS = 20;
const RECONNECT_LAST_MS = 500;
/** From the connection to the answer to HELLO: a process that is stopped still takes connections. */
const HELLO_TIMEOUT_MS = 1_000;
/** A server that says nothing for so long, not even to heartbeats, is left. Its store may take longer: that is not its silence. */
const HEARTBEAT_MS = 500;
const SILENT_AFTER_MS = 2_000;
/** So many answers in a row that the store behind is not available: another Stargate may still reach it. */
const LEAVE_AFTER_FAILURES = 3;
/** Endpoints beside the first one. */
const MAX_OTHERS = 64;

/** Where a metadata store is served: options of node:net's connect. */
export type MetaEndpoint = { readonly path: string } | TcpEndpoint;
/** `node`: who has to be there, where that can be proved. */
export interface TcpEndpoint {
  readonly host: string;
  readonly port: number;
  readonly node?: string;
}

export interface WireStoreOptions {
  /** Of the Stargate of this machine: asked first, whenever a connection is needed. */
  readonly socketPath: string;
  /** Others of the same cluster, in this order behind it. See {@link WireStore.setOthers}. */
  readonly others?: readonly MetaEndpoint[];
  readonly software: string;
  /** How connections over TCP are made; absent: in the clear. */
  readonly connectTcp?: (endpoint: TcpEndpoint) => Socket;
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
 * The metadata store of a Stargate, over its socket; where that does not answer, over another one's of the same cluster. Reconnects by itself. Reads that were
 * under way when the connection broke are asked again; a transaction whose outcome is unknown is rejected with MetaUnavailable. After a break each watch is
 * told `broken`.
 */
export class WireStore implements MetadataStore {
  readonly #pending = new Map<number, Pending>();
  readonly #watches = new Map<number, WireWatch>();
  #stream: FrameStream | null = null;
  #ready = false;
  #lastTag = 0;
  #failures = 0;
  /** In this round over the endpoints: the next one. */
  #next = 0;
  #current = 0;
  /** Answers in a row that the store behind does not answer, or none at all. */
  #unavailable = 0;
  #leaving = false;
  #others: readonly MetaEndpoint[];
  #at = '';
  #retry: NodeJS.Timeout | null = null;
  #watchdog: NodeJS.Timeout | null = null;
  #heardMs = 0;
  #closed = false;
  #problem = 'not connected yet';

  constructor(private readonly options: WireStoreOptions) {
    this.#others = options.others ?? [];
    this.#connect();
  }

  /** Where it is connected to; empty: nowhere. */
  get endpoint(): string {
    return this.#ready ? this.#at : '';
  }

  /** Endpoints of the same cluster, as they are known now. The connection that there is stays. */
  setOthers(others: readonly MetaEndpoint[]): void {
    this.#others = others.slice(0, MAX_OTHERS);
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

  /** The protocol has no question of its own for it: who asks by the wire looks at few keys. */
  async keys(prefix: string): Promise<readonly string[]> {
    return (await this.range(prefix)).items.map(({ key }) => key);
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
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
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
    if (pending.sent) this.#isUnavailable();
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
    this.#current = this.#next;
    const endpoint = this.#next === 0 ? { path: this.options.socketPath } : this.#others[this.#next - 1]!;
    this.#at = 'path' in endpoint ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
    const { connectTcp = connect } = this.options;
    const socket = 'path' in endpoint ? connect({ ...endpoint }) : connectTcp(endpoint);
    const stream = new FrameStream(socket, {
      onFrame: (header, payload) => this.#onFrame(header, payload),
      onClosed: message => this.#onLost(message),
    });
    this.#stream = stream;
    this.#heardMs = performance.now();
    this.#watchdog = setInterval(() => this.#watchOver(stream), HEARTBEAT_MS);
    this.#watchdog.unref();
    stream.send(
      encodeControl(FrameType.hello, {
        versionMin: WIRE_VERSION_MIN,
        versionMax: WIRE_VERSION_MAX,
        role: 'meta',
        software: this.options.software,
      }),
    );
  }

  #watchOver(stream: FrameStream): void {
    const silentMs = performance.now() - this.#heardMs;
    const mostMs = this.#ready ? SILENT_AFTER_MS : HELLO_TIMEOUT_MS;
    // One interval on top: it is this process that may have stood still.
    if (silentMs > mostMs + HEARTBEAT_MS / 2) {
      this.#leaving = this.#ready;
      stream.close(`it was silent for ${Math.round(silentMs)} ms`);
    } else if (this.#ready) stream.send(HEARTBEAT);
  }

  #onFrame(header: FrameHeader, payload: Uint8Array): void {
    this.#heardMs = performance.now();
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
    this.#unavailable = 0;
    const reconnected = this.#failures > 0 || this.#next > 0;
    this.#failures = 0;
    this.#next = 0;
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
    if (reply.kind !== 'failed') {
      this.#unavailable = 0;
      pending.resolve(reply);
    } else if (reply.unknown) {
      pending.reject(new MetaUnavailable(reply.message));
      this.#isUnavailable();
    } else pending.reject(Object.assign(new Error(reply.message), { code: reply.code }));
  }

  #isUnavailable(): void {
    if (!this.#ready || ++this.#unavailable < LEAVE_AFTER_FAILURES || this.#others.length === 0) return;
    this.#leaving = true;
    this.#stream!.close('the store behind it does not answer');
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
    const wasReady = this.#ready;
    this.#ready = false;
    this.#stream = null;
    this.#problem = `${this.#at}: ${message}`;
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    if (this.#closed) return;
    for (const [tag, pending] of [...this.#pending]) {
      if (pending.sent && pending.request.kind === 'transaction')
        this.#reject(tag, `${message}; the outcome of the transaction is unknown`);
      else pending.sent = false;
    }
    this.#retry = setTimeout(() => this.#connect(), this.#delayToNextMs(wasReady));
  }

  /** One endpoint after the other at once, and a pause before each further round. Behind a connection that broke, the first round begins anew. */
  #delayToNextMs(wasReady: boolean): number {
    if (this.#leaving) {
      this.#leaving = false;
      this.#next = (this.#current + 1) % (this.#others.length + 1);
      if (this.#next > 0) return 0;
    } else if (!wasReady && ++this.#next <= this.#others.length) return 0;
    this.#next = 0;
    return Math.min(RECONNECT_LAST_MS, RECONNECT_FIRST_MS * 2 ** Math.min(this.#failures++, 10));
  }
}

const HEARTBEAT = heartbeatFrame();

function heartbeatFrame(): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES);
  encodeHeader(new DataView(frame.buffer), 0, heartbeat(createHeader(), 0));
  return frame;
}

function unexpected(reply: MetaReply): Error {
  return new Error(`the metadata server answered with "${reply.kind}", which is no answer to what was asked`);
}
