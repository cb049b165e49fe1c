import type { Engine, EngineClient } from 'uring-engine';
import { Blocker, IoOp, type PathRequest, type StargatePath } from '../../src/wire/path.js';
import type { SessionListener, SessionRequest, VdiskServing } from '../../src/wire/serving.js';
import { sessionKey } from '../../src/wire/session.js';
import { IoStatus } from '../../src/wire/status.js';

const PAGE = 4_096;

/** What a Stargate keeps over its restarts: contents, and which requests of which session it has applied. */
export class MemoryStore {
  term = 0;
  readonly vdisks = new Map<string, MemoryVdisk>();

  add(id: string, sizeBytes: number, shard = 0): MemoryVdisk {
    const vdisk = new MemoryVdisk(id, shard, new Uint8Array(sizeBytes));
    this.vdisks.set(id, vdisk);
    return vdisk;
  }
}

export class MemoryVdisk {
  readonly sessions = new Map<string, { applied: Set<number>; highest: number; closed: boolean }>();
  generation = 0;
  /** Every request that was applied, in order: `${session}#${clientSeq}`. */
  readonly log: string[] = [];
  violations: string[] = [];

  constructor(
    readonly id: string,
    readonly shard: number,
    readonly content: Uint8Array,
  ) {}
}

export interface MemoryServingOptions {
  readonly engine: Engine;
  readonly store: MemoryStore;
  readonly shard?: number;
  /** Arena bytes for read data, page-aligned. */
  readonly base: number;
  readonly pages: number;
  readonly random: (below: number) => number;
  /** Requests are applied and answered up to this long after they arrived; 0: within the call that submits them. */
  readonly delayNs: number;
}

/**
 * A Stargate's shard with the contents in memory: keeps the contract of VdiskServing (order, dedupe, generations, pins), nothing else.
 * Reads hand out pages that are poisoned when they are released; writes are read from the arena as late as possible.
 */
export class MemoryServing implements VdiskServing, EngineClient {
  readonly freePages: number[] = [];
  readonly #client: number;
  readonly paths = new Set<MemoryPath>();
  #timerArmed = false;
  /** Set by tests: statuses to answer instead of doing it. */
  fault: ((request: PathRequest) => IoStatus | null) | null = null;
  /** Set by tests: this one controls the vdisks now. */
  controller: string | null = null;
  /** What sessions have asked for: `${vdiskId} ${node}`. */
  readonly handovers: string[] = [];
  /** Nodes that sessions said to have left. */
  readonly left: string[] = [];
  /** How sessions were opened, in order: as shared, or as the holder's. */
  readonly openings: ('shared' | 'holder')[] = [];
  blocker: Blocker = Blocker.unknown;

  constructor(readonly options: MemoryServingOptions) {
    this.#client = options.engine.register(this);
    for (let i = 0; i < options.pages; i++) this.freePages.push(options.base + i * PAGE);
  }

  shardOf(vdiskId: string): number {
    return this.options.store.vdisks.get(vdiskId)?.shard ?? -1;
  }

  openSession(request: SessionRequest, listener: SessionListener): void {
    const vdisk = this.options.store.vdisks.get(request.vdiskId);
    if (vdisk === undefined || vdisk.shard !== (this.options.shard ?? 0)) {
      listener.onRefused('not-served', 'not here');
      return;
    }
    if (request.left !== undefined) this.left.push(request.left);
    if (this.controller !== null) {
      listener.onRefused('moved', 'another node controls it', this.controller);
      return;
    }
    this.openings.push(request.shared === true ? 'shared' : 'holder');
    const key = sessionKey(request);
    const known = vdisk.sessions.get(key);
    if (request.generation < vdisk.generation || known?.closed === true) {
      listener.onRefused('closed', 'a newer attachment has ended this session');
      return;
    }
    if (request.generation > vdisk.generation) this.#endOlder(vdisk, request.generation);
    for (const path of [...this.paths]) if (path.key === key) path.end('fenced');
    if (known === undefined) vdisk.sessions.set(key, { applied: new Set(), highest: 0, closed: false });
    const path = new MemoryPath(this, vdisk, key, request, listener);
    this.paths.add(path);
    listener.onOpened(path, { term: this.options.store.term, sizeBytes: vdisk.content.length });
  }

  closeSession(request: SessionRequest, done: () => void): void {
    const key = sessionKey(request);
    for (const path of [...this.paths]) if (path.key === key) path.end('fenced');
    const known = this.options.store.vdisks.get(request.vdiskId)?.sessions.get(key);
    if (known !== undefined) known.closed = true;
    done();
  }

  requestHandover(vdiskId: string, toNode: string): void {
    this.handovers.push(`${vdiskId} ${toNode}`);
  }

  /** Another node takes over. */
  move(toNode: string): void {
    this.controller = toNode;
    for (const path of [...this.paths]) path.end('fenced', toNode);
  }

  wantTimer(): void {
    if (this.#timerArmed) return;
    this.#timerArmed = true;
    this.options.engine.timer(1 + this.options.random(this.options.delayNs), this.#client, 0);
  }

  onCompletion(): void {
    this.#timerArmed = false;
    for (const path of [...this.paths]) path.work();
    if ([...this.paths].some(path => path.busy)) this.wantTimer();
  }

  #endOlder(vdisk: MemoryVdisk, generation: number): void {
    vdisk.generation = generation;
    for (const session of vdisk.sessions.values()) session.closed = true;
    for (const path of [...this.paths]) if (path.vdisk === vdisk) path.end('closed');
  }
}

export class MemoryPath implements StargatePath {
  readonly kind = 'same-shard';
  /** Arrived, not applied yet; applied, not answered yet. */
  #arrived: PathRequest[] = [];
  #applied: PathRequest[] = [];
  #lastSeq = 0;
  #closed = false;
  readonly #pages = new Map<PathRequest, number[]>();

  constructor(
    readonly serving: MemoryServing,
    readonly vdisk: MemoryVdisk,
    readonly key: string,
    readonly request: SessionRequest,
    readonly listener: SessionListener,
  ) {}

  get busy(): boolean {
    return this.#arrived.length + this.#applied.length > 0;
  }

  submit(request: PathRequest): void {
    if (this.#closed) throw new Error('submitted to a closed path');
    if (request.clientSeq <= this.#lastSeq) this.vdisk.violations.push(`#${request.clientSeq} came after #${this.#lastSeq}`);
    this.#lastSeq = request.clientSeq;
    this.#arrived.push(request);
    if (this.serving.options.delayNs === 0) this.work(true);
    else this.serving.wantTimer();
  }

  /** Applies some, in order, and answers some of those, in any order. */
  work(everything = false): void {
    const { random } = this.serving.options;
    const apply = everything ? this.#arrived.length : random(this.#arrived.length + 1);
    for (const request of this.#arrived.splice(0, apply)) {
      const status = this.serving.fault?.(request) ?? this.#apply(request);
      if (status === null) {
        // No page is free: this one and those behind it wait.
        this.#arrived.unshift(request);
        break;
      }
      request.status = status;
      request.term = this.serving.options.store.term;
      this.#applied.push(request);
    }
    let answer = everything ? this.#applied.length : random(this.#applied.length + 1);
    while (answer-- > 0 && !this.#closed) {
      const [request] = this.#applied.splice(random(this.#applied.length), 1);
      request!.owner.onReply(request!);
    }
  }

  release(request: PathRequest): void {
    const pages = this.#pages.get(request);
    if (pages === undefined) throw new Error(`#${request.clientSeq} released twice, or never answered`);
    this.#pages.delete(request);
    for (const page of pages) this.serving.options.engine.arena.bytes.fill(0xdd, page, page + PAGE);
    this.serving.freePages.push(...pages);
  }

  close(): void {
    this.#closed = true;
    this.serving.paths.delete(this);
    for (const request of this.#applied) if (this.#pages.has(request)) this.release(request);
    this.#arrived = [];
    this.#applied = [];
  }

  blockedBy(): Blocker {
    return this.serving.blocker;
  }

  end(reason: 'closed' | 'fenced', node?: string): void {
    this.close();
    this.listener.onEnded(reason, node);
  }

  #apply(request: PathRequest): IoStatus | null {
    const { op, offsetBytes, lengthBytes, clientSeq } = request;
    const { content } = this.vdisk;
    if (offsetBytes + lengthBytes > content.length) return IoStatus.invalid;
    if (op === IoOp.read) return this.#read(request);
    if (op === IoOp.map) {
      request.extents[0] = Math.ceil(lengthBytes / 2);
      request.extents[1] = 0;
      request.extents[2] = lengthBytes - Math.ceil(lengthBytes / 2);
      request.extents[3] = 3;
      request.extentCount = 2;
      return IoStatus.ok;
    }
    if (op === IoOp.flush || op === IoOp.prefetch) return IoStatus.ok;
    const session = this.vdisk.sessions.get(this.key)!;
    if (session.applied.has(clientSeq)) return IoStatus.ok;
    if (clientSeq < session.highest) this.vdisk.violations.push(`#${clientSeq} is applied behind #${session.highest}`);
    session.highest = clientSeq;
    session.applied.add(clientSeq);
    this.vdisk.log.push(`${this.request.shard}#${clientSeq}`);
    if (op === IoOp.write) this.#write(request);
    else content.fill(0, offsetBytes, offsetBytes + lengthBytes);
    return IoStatus.ok;
  }

  #write({ offsetBytes, lengthBytes, payload }: PathRequest): void {
    const { bytes } = this.serving.options.engine.arena;
    let at = offsetBytes;
    for (let i = 0; i < payload.count; i++) {
      const from = payload.offsets[i]!;
      this.vdisk.content.set(bytes.subarray(from, from + payload.lengths[i]!), at);
      at += payload.lengths[i]!;
    }
    if (at !== offsetBytes + lengthBytes) this.vdisk.violations.push('a payload is not as long as its request');
  }

  #read(request: PathRequest): IoStatus | null {
    const { offsetBytes, lengthBytes, data } = request;
    const { bytes } = this.serving.options.engine.arena;
    const first = offsetBytes % PAGE;
    const count = Math.ceil((first + lengthBytes) / PAGE);
    if (this.serving.freePages.length < count) return null;
    const pages = this.serving.freePages.splice(0, count);
    this.#pages.set(request, pages);
    let at = offsetBytes;
    pages.forEach((page, i) => {
      const inPage = i === 0 ? first : 0;
      const length = Math.min(PAGE - inPage, offsetBytes + lengthBytes - at);
      bytes.set(this.vdisk.content.subarray(at, at + length), page + inPage);
      data.add(page + inPage, length);
      at += length;
    });
    return IoStatus.ok;
  }
}
