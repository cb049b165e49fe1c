import { Gather } from 'uring-engine';
import type { VirtualClock } from 'uring-engine/faulty';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type StargatePath } from '../../src/wire/path.js';
import type { PathLoss } from '../../src/transport/path-listener.js';
import type { OpenedSession, SessionEnd, SessionRefusal, SessionRequest } from '../../src/wire/serving.js';
import { IoStatus } from '../../src/wire/status.js';
import { MAX_MESSAGE_NS } from './limits.js';
import type { Memory } from './memory.js';
import type { SimNode } from './node.js';

/** A way from a client to its node, which is a path once it is opened. */
export interface Connection extends StargatePath {
  /** It breaks: the client hears of it at once. */
  cut(how?: PathLoss): void;
  /** The node's answers do not arrive any more; some time later the client gives the connection up. */
  stall(forNs: number): void;
  /** The node's process is gone. */
  nodeGone(): void;
  /** Runs what the client does where it may use the path. */
  enter(call: () => void): void;
}

export interface LinkListener {
  onOpened(path: StargatePath, session: OpenedSession): void;
  /** `node`: where the vdisk is, as the node knows. */
  onRefused(reason: SessionRefusal, message: string, node?: string): void;
  /** Not after `close`. */
  onEnded(reason: SessionEnd | PathLoss, node?: string): void;
}

/** Pages of the longest read that a client asks for. */
const MAX_READ_RANGES = 32;
const NOTHING = new Gather(1);
const NO_EXTENTS = new Float64Array(0);

/** What lies between two processes: lets through what arrives, now or when it is whole again. */
export type Wire = (arrive: () => void) => void;
const WHOLE: Wire = arrive => arrive();

/** What one side has sent and the other has not got. */
class Direction {
  #lastNs = 0;
  #isLost = false;

  constructor(
    readonly clock: VirtualClock,
    readonly wire: Wire,
  ) {}

  /** In order, each after a time of its own. */
  send(arrive: () => void): void {
    this.#lastNs = Math.max(this.#lastNs + 1, this.clock.nowNs + 1 + this.clock.below(MAX_MESSAGE_NS));
    this.clock.at(this.#lastNs, () =>
      this.wire(() => {
        if (!this.#isLost) arrive();
      }),
    );
  }

  /** What is on its way does not arrive, nor does anything later. */
  lose(): void {
    this.#isLost = true;
  }
}

/**
 * A connection between a client and its node: messages in order, each side with memory of its own, and both lose what is on its way when it breaks. What
 * the production transports do, without their bytes.
 */
export class Link implements Connection {
  readonly kind = 'unix' as const;
  /** For the client: closed by it, or broken. */
  #isOpen = true;
  get isOpen(): boolean {
    return this.#isOpen;
  }
  /** For the node. */
  #isServed = true;
  readonly #up: Direction;
  readonly #down: Direction;
  #server: StargatePath | null = null;
  /** Requests that the node has, with the memory of their payload. */
  readonly #served = new Map<PathRequest, number>();

  constructor(
    readonly clock: VirtualClock,
    readonly memory: Memory,
    readonly node: SimNode,
    readonly identity: SessionRequest,
    readonly listener: LinkListener,
    up: Wire = WHOLE,
    down: Wire = WHOLE,
  ) {
    this.#up = new Direction(clock, up);
    this.#down = new Direction(clock, down);
    this.#up.send(() => this.#atNode(() => this.#openSession()));
  }

  // ---------------------------------------------------------------- the client's side

  enter(call: () => void): void {
    call();
  }

  submit(request: PathRequest): void {
    const { bytes } = this.memory.arena;
    const payload = Buffer.alloc(request.op === IoOp.write ? request.lengthBytes : 0);
    for (let i = 0, at = 0; i < request.payload.count && request.op === IoOp.write; at += request.payload.lengths[i++]!) {
      payload.set(bytes.subarray(request.payload.offsets[i], request.payload.offsets[i]! + request.payload.lengths[i]!), at);
    }
    const { op, offsetBytes, lengthBytes, clientSeq, lowWater, fua } = request;
    this.#up.send(() => this.#atNode(() => this.#serve({ op, offsetBytes, lengthBytes, clientSeq, lowWater, fua }, payload, request)));
  }

  release(request: PathRequest): void {
    for (let i = 0; i < request.data.count; i++) this.memory.buffers.give(request.data.offsets[i]!);
    request.data.clear();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#up.send(() => this.#atNode(() => this.#closeServer()));
  }

  /** The connection breaks: for the client now, for the node some time later. */
  cut(how: PathLoss = 'lost'): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#up.send(() => this.#atNode(() => this.#closeServer()));
    this.listener.onEnded(how);
  }

  stall(forNs: number): void {
    if (!this.#isOpen) return;
    this.#down.lose();
    this.clock.after(forNs, () => this.cut());
  }

  /** The node's process is gone: what it had sent arrives, or not. `how`: what the client makes of it. */
  nodeGone(how: PathLoss = 'lost'): void {
    this.#isServed = false;
    this.#letGo();
    this.#server = null;
    if (this.clock.below(2) === 0) this.#down.lose();
    this.clock.after(this.clock.below(2 * MAX_MESSAGE_NS), () =>
      this.#down.wire(() => {
        if (!this.#isOpen) return;
        this.#isOpen = false;
        this.listener.onEnded(how);
      }),
    );
  }

  // ---------------------------------------------------------------- the node's side

  #atNode(call: () => void): void {
    if (!this.#isServed) return;
    // Nobody listens there.
    if (this.node.part === null) return this.nodeGone();
    // A node that is paused gets to it later.
    this.node.turn(() => {
      if (this.#isServed) call();
    });
  }

  #openSession(): void {
    if (!this.node.isServing) return this.#toClient(() => this.listener.onRefused('not-served', 'it starts'), true);
    this.node.part!.openSession(this.identity, {
      onOpened: (path, session) => {
        // Closed meanwhile.
        if (!this.#isServed) return path.close();
        this.#server = path;
        this.#toClient(() => this.listener.onOpened(this, session));
      },
      onRefused: (reason, message, node) => this.#toClient(() => this.listener.onRefused(reason, message, node), true),
      onEnded: (reason, node) => {
        this.#server = null;
        this.#letGo();
        this.#toClient(() => this.listener.onEnded(reason, node), true);
      },
    });
  }

  #closeServer(): void {
    this.#server?.close();
    this.#server = null;
    this.#letGo();
    this.#isServed = false;
  }

  /** The path does not touch them any more. */
  #letGo(): void {
    for (const offset of this.#served.values()) if (offset >= 0) this.memory.buffers.give(offset);
    this.#served.clear();
  }

  #serve(
    fields: Pick<PathRequest, 'op' | 'offsetBytes' | 'lengthBytes' | 'clientSeq' | 'lowWater' | 'fua'>,
    payload: Buffer,
    asked: PathRequest,
  ): void {
    if (this.#server === null) return;
    const server = this.#server;
    const gather = new Gather(1);
    const offset = payload.length === 0 ? -1 : this.memory.takeBuffer();
    if (offset >= 0) {
      this.memory.arena.bytes.set(payload, offset);
      gather.add(offset, payload.length);
    }
    const { op, offsetBytes, lengthBytes, clientSeq, lowWater, fua } = fields;
    // All of one shape, as in production: what the node does with them is half of all that is done here.
    const request: PathRequest = {
      op,
      offsetBytes,
      lengthBytes,
      clientSeq,
      lowWater,
      fua,
      payload: gather,
      status: IoStatus.ok,
      term: 0,
      data: op === IoOp.read ? new Gather(MAX_READ_RANGES) : NOTHING,
      extents: op === IoOp.map ? new Float64Array(2 * MAX_MAP_EXTENTS) : NO_EXTENTS,
      extentCount: 0,
      pathTag: 0,
      submittedNs: 0,
      owner: { onReply: answered => this.#reply(answered, server, asked) },
    };
    this.#served.set(request, offset);
    server.submit(request);
  }

  #reply(request: PathRequest, server: StargatePath, asked: PathRequest): void {
    const offset = this.#served.get(request);
    if (offset === undefined) throw new Error('link: an answer to a request that was let go');
    this.#served.delete(request);
    if (offset >= 0) this.memory.buffers.give(offset);
    const { status, term } = request;
    const isData = request.op === IoOp.read && status === IoStatus.ok;
    const data = Buffer.concat(isData ? Array.from({ length: request.data.count }, (_, i) => this.#bytesOf(request.data, i)) : []);
    if (isData) server.release(request);
    this.#toClient(() => {
      if (isData) {
        const to = this.memory.takeBuffer();
        this.memory.arena.bytes.set(data, to);
        asked.data.add(to, data.length);
      }
      asked.status = status;
      asked.term = term;
      asked.owner.onReply(asked);
    });
  }

  #bytesOf(data: Gather, i: number): Uint8Array {
    return this.memory.arena.bytes.subarray(data.offsets[i], data.offsets[i]! + data.lengths[i]!);
  }

  /** `last`: nothing comes after it. */
  #toClient(arrive: () => void, last = false): void {
    this.#down.send(() => {
      if (!this.#isOpen) return;
      if (last) this.#isOpen = false;
      arrive();
    });
  }
}
