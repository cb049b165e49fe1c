import { crc32c } from '@node-rs/crc32';
import { ArenaRegion, createArena, Gather } from 'uring-engine';
import { createProbes } from '../../../src/base/probe.js';
import { TransferBuffers, transferBufferBytes } from '../../../src/stargate/cache/transfer-buffers.js';
import { UnifiedCache } from '../../../src/stargate/cache/unified-cache.js';
import { BlockIndex } from '../../../src/stargate/core/block-index.js';
import {
  Controller,
  MAX_CONTROL_BYTES,
  type ControllerMutations,
  type ControllerPorts,
  type Durability,
} from '../../../src/stargate/core/controller.js';
import {
  BLOCK_BYTES,
  BlockState,
  NoRoom,
  type DrainCommit,
  type EntryDraft,
  type ExtentPort,
  type LogOwner,
  type OplogPort,
  type OplogUsage,
  type ReadOwner,
  type StoreOwner,
  type VdiskLog,
} from '../../../src/stargate/core/ports.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import { SimulatedStore, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type StargatePath } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';

const CACHE_PAGES = 32;
const BUFFERS = [8, 2, 3] as const;
const PAYLOAD_BYTES = 4 << 20;
const HELD_PLACES = 16;
const HELD_BYTES = 64 << 10;
const arena = createArena(24 << 20);

type LoggedEntry = Omit<EntryDraft, 'payload'> & {
  readonly lsn: number;
  readonly payload: Uint8Array;
  readonly owner: LogOwner;
  readonly tag: number;
};

/** A log in memory that makes entries durable when it is told to. */
export class MemoryLog implements OplogPort {
  readonly entries: LoggedEntry[] = [];
  /** Appends that are taken before the log is full. */
  room = Infinity;
  /** Why it takes no more then: for want of space, or only for the moment. */
  isFull = true;
  truncatedTo = 0;
  readonly usage: OplogUsage = { capacityBytes: 1, usedBytes: 0, oldestSegmentEndLsn: 0, endLsn: 0, durableLsn: 0 };
  #durable = 0;
  #held = 0;
  #endLsn = BLOCK_BYTES;
  readonly #refused = new Set<LogOwner>();

  constructor(
    readonly window: number,
    readonly later: (run: () => void) => void,
  ) {}

  append(_log: VdiskLog, draft: EntryDraft, owner: LogOwner, tag: number): number {
    if (this.room === 0) {
      this.#refused.add(owner);
      return this.isFull ? NoRoom.full : NoRoom.busy;
    }
    this.room--;
    const lsn = this.#endLsn + BLOCK_BYTES;
    const payload = bytesOf(draft.payload);
    this.#endLsn = lsn + Math.ceil(payload.length / BLOCK_BYTES) * BLOCK_BYTES;
    this.entries.push({ ...draft, lsn, payload, owner, tag });
    return lsn;
  }

  /** Tells of everything that was appended that it is held, as the end of a turn does. */
  hold(): void {
    while (this.#held < this.entries.length) {
      const { payload, owner, tag } = this.entries[this.#held]!;
      const at = this.#placeOf(this.#held++);
      arena.bytes.set(payload, at);
      owner.onHeld?.(tag, at, crc32c(payload));
    }
  }

  /** Small payloads that are held keep their places for a while. */
  #placeOf(index: number): number {
    return this.window + (this.entries[index]!.payload.length > HELD_BYTES ? 0 : (index % HELD_PLACES) * HELD_BYTES);
  }

  /** Makes the next `count` entries durable. */
  commit(count = Infinity): void {
    this.hold();
    for (let i = 0; i < count && this.#durable < this.entries.length; i++) {
      const { payload, owner, tag } = this.entries[this.#durable]!;
      const at = this.#placeOf(this.#durable++);
      arena.bytes.set(payload, at);
      owner.onDurable(tag, at, crc32c(payload));
    }
  }

  get inFlight(): number {
    return this.entries.length - this.#durable;
  }

  free(room = Infinity): void {
    this.room = room;
    const refused = [...this.#refused];
    this.#refused.clear();
    for (const owner of refused) owner.onLogSpace();
  }

  readPayload(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    const entry = this.entries.find(one => lsn >= one.lsn && lsn + lengthBytes <= one.lsn + one.payload.length);
    if (entry === undefined) throw new Error(`position ${lsn} is not in the log`);
    this.later(() => {
      arena.bytes.set(entry.payload.subarray(lsn - entry.lsn, lsn - entry.lsn + lengthBytes), arenaOffset);
      owner.onRead(tag, lengthBytes);
    });
  }

  truncate(_log: VdiskLog, oldestNeededLsn: number): void {
    this.truncatedTo = oldestNeededLsn;
  }
}

/** Extents in memory. */
export class MemoryExtents implements ExtentPort {
  readonly blocks = new Map<string, Uint8Array>();
  /** -errno of reads, until it is 0 again. */
  failReads = 0;
  reads = 0;

  constructor(readonly later: (run: () => void) => void) {}

  block(layer: number, segment: number, block: number): Uint8Array | undefined {
    return this.blocks.get(`${layer}/${segment}/${block}`);
  }

  put(layer: number, segment: number, block: number, content: Uint8Array): void {
    this.blocks.set(`${layer}/${segment}/${block}`, content.slice());
  }

  read(layer: number, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.reads++;
    this.later(() => {
      if (this.failReads < 0) return owner.onRead(tag, this.failReads);
      for (let i = 0; i < blocks; i++) {
        arena.bytes.set(this.block(layer, segment, block + i) ?? new Uint8Array(BLOCK_BYTES), arenaOffset + i * BLOCK_BYTES);
      }
      owner.onRead(tag, blocks * BLOCK_BYTES);
    });
  }

  write(layer: number, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.later(() => {
      for (let i = 0; i < blocks; i++) {
        this.put(layer, segment, block + i, arena.bytes.subarray(arenaOffset + i * BLOCK_BYTES, arenaOffset + (i + 1) * BLOCK_BYTES));
      }
      owner.onRead(tag, blocks * BLOCK_BYTES);
    });
  }

  punch(layer: number, segment: number, block: number, blocks: number, owner: ReadOwner, tag: number): void {
    this.later(() => {
      for (let i = 0; i < blocks; i++) this.blocks.delete(`${layer}/${segment}/${block + i}`);
      owner.onRead(tag, 0);
    });
  }

  sync(_layer: number, _segment: number, owner: ReadOwner, tag: number): void {
    this.later(() => owner.onRead(tag, 0));
  }

  removeLayer(_layer: number, owner: ReadOwner, tag: number): void {
    this.later(() => owner.onRead(tag, 0));
  }
}

export interface CoreRigOptions {
  readonly sizeBytes?: number;
  readonly mutations?: ControllerMutations;
  readonly cachePages?: number;
  /** Others hold the log too: reads of a shared vdisk wait for {@link CoreRig.confirm}. */
  readonly isReplicated?: boolean;
  readonly durability?: Durability;
}

/** A controller over a log and extents in memory; the block store, the cache and the buffers are real. What is asynchronous waits for `settle`. */
export class CoreRig {
  readonly arena = arena;
  readonly pending: (() => void)[] = [];
  readonly log: MemoryLog;
  readonly extents: MemoryExtents;
  readonly storeDisk = new SimulatedStoreDisk();
  readonly store: SimulatedStore;
  readonly buffers: TransferBuffers;
  readonly cache: UnifiedCache;
  readonly ports: ControllerPorts;
  readonly controller: Controller;
  readonly corrupt: number[] = [];
  readonly unreadable: number[] = [];
  failedErrno = 0;
  /** What the runtime says when it is asked: the log will not get room by itself. */
  isOutOfSpace = false;
  /** Confirm rounds that were asked for. */
  rounds = 0;
  layer = 0;
  readonly #payload: number;
  #payloadUsed = 0;

  constructor(options: CoreRigOptions = {}) {
    const region = new ArenaRegion(arena);
    const later = (run: () => void): void => void this.pending.push(run);
    this.log = new MemoryLog(region.take(1 << 20), later);
    this.extents = new MemoryExtents(later);
    const clients: { onCompletion(tag: number, result: number): void }[] = [];
    const timers = {
      register: (client: (typeof clients)[number]) => clients.push(client) - 1,
      timer: (_delayNs: number, client: number, tag: number) => {
        this.pending.push(() => clients[client]!.onCompletion(tag, 0));
        return 0;
      },
    };
    this.store = new SimulatedStore(this.storeDisk, timers, { random: () => 0.5 });
    this.buffers = new TransferBuffers(region.take(transferBufferBytes(BUFFERS)), BUFFERS);
    const pages = options.cachePages ?? CACHE_PAGES;
    this.cache = new UnifiedCache(region.take(pages * BLOCK_BYTES), pages);
    this.#payload = region.take(PAYLOAD_BYTES);
    this.ports = {
      arena,
      log: this.log,
      extents: this.extents,
      store: this.store.store,
      cache: this.cache,
      buffers: this.buffers,
      zeroBlock: region.take(BLOCK_BYTES),
      controlScratch: region.take(MAX_CONTROL_BYTES),
      probes: createProbes(),
      clock: { nowNs: 0 },
    };
    const owner: StoreOwner = {
      onLayerCreated: (_tag, layer) => (this.layer = layer),
      onCommitted: () => undefined,
      onStoreFull: () => undefined,
      onStoreFailed: () => undefined,
    };
    this.store.store.createLayer('vdisk', owner, 0);
    this.settle();
    const { sizeBytes = 4 * 2 ** 30, mutations = {}, durability = 'always' } = options;
    const { layer } = this;
    const state = {
      vdiskId: 'vdisk',
      sizeBytes,
      layer,
      term: 7,
      index: new BlockIndex(),
      sessions: new SessionTable(),
      drainedSeq: 0,
      drainedHash: 0,
      durability,
    };
    const host = {
      onLogFailed: (errno: number) => (this.failedErrno = errno),
      onBadBlock: (_vdiskId: string, offsetBytes: number, errno: number) =>
        void (errno === 0 ? this.corrupt : this.unreadable).push(offsetBytes),
      onCommitted: () => undefined,
      isOutOfSpace: () => this.isOutOfSpace,
      ...(options.isReplicated === true ? { confirm: () => void this.rounds++ } : {}),
    };
    this.controller = new Controller(this.ports, state, { vdiskId: 'vdisk', historyId: 1, lastSeq: 0, lastHash: 0 }, 1, host, mutations);
  }

  /** All blocks of memory that a merge or a read could get. */
  takeAllBuffers(): number[] {
    const taken: number[] = [];
    for (let offset = this.buffers.take(BLOCK_BYTES); offset >= 0; offset = this.buffers.take(BLOCK_BYTES)) taken.push(offset);
    return taken;
  }

  /** Lets what is asynchronous happen, in order, until nothing is left. */
  settle(): void {
    for (let run = this.pending.shift(); run !== undefined; run = this.pending.shift()) run();
  }

  /** Everything in the log becomes durable, and everything else comes to its end. */
  finish(): void {
    do {
      this.log.commit();
      this.settle();
    } while (this.log.inFlight > 0);
  }

  /** The segment's extents have this content from `block` on, as a drain up to `toSeq` would have left it. */
  drained(segment: number, block: number, content: Uint8Array, toSeq: number): void {
    const count = content.length / BLOCK_BYTES;
    const numbers = Array.from({ length: count }, (_, i) => i);
    const contents = numbers.map(i => content.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
    contents.forEach((one, i) => this.extents.put(this.layer, segment, block + i, one));
    const commit: DrainCommit = {
      layer: this.layer,
      segment,
      fromSeq: this.store.store.drainSeq(this.layer, segment),
      toSeq,
      count,
      block: Int32Array.from(numbers, i => block + i),
      blocks: new Int32Array(count).fill(1),
      state: new Uint8Array(count).fill(BlockState.data),
      crc: Uint32Array.from(contents, one => crc32c(one)),
      seq: new Float64Array(count).fill(toSeq),
    };
    const owner = {
      onCommitted: () => this.controller.index.drained(segment, toSeq),
      onLayerCreated: () => 0,
      onStoreFull: () => 0,
      onStoreFailed: () => 0,
    };
    this.store.store.commitDrain(commit, owner, 0);
  }

  /** Asks for a session; `finish` brings the answer. */
  ask(generation = 1, datapathUuid = 'a', shard = 0, shared = false): Opening {
    const opening: Opening = { client: null, refusal: null, answers: 0, ended: null };
    this.controller.openSession(
      { vdiskId: 'vdisk', generation, datapathUuid, shard, ...(shared ? { shared } : {}) },
      {
        onOpened: path => {
          opening.client = new CoreClient(this, path);
          opening.answers++;
        },
        onRefused: reason => {
          opening.refusal = reason;
          opening.answers++;
        },
        onEnded: reason => (opening.ended = reason),
      },
    );
    return opening;
  }

  open(generation = 1, datapathUuid = 'a', shard = 0, shared = false): CoreClient {
    const opening = this.ask(generation, datapathUuid, shard, shared);
    this.finish();
    if (opening.client === null) throw new Error(`refused: ${opening.refusal}`);
    return opening.client;
  }

  /** The members are asked, and all of them confirm. */
  confirm(): void {
    this.controller.onConfirmBegun();
    this.controller.onConfirmed();
    this.settle();
  }

  /** Memory with the content, until the test's end. */
  memory(content: Uint8Array): number {
    const at = this.#payload + this.#payloadUsed;
    this.#payloadUsed += Math.ceil(content.length / BLOCK_BYTES) * BLOCK_BYTES;
    if (this.#payloadUsed > PAYLOAD_BYTES) throw new Error('the rig has no more memory for payloads');
    arena.bytes.set(content, at);
    return at;
  }
}

export interface Opening {
  client: CoreClient | null;
  refusal: string | null;
  answers: number;
  ended: string | null;
}

/** What became of a request: `status` is null until it is answered. */
export interface Answer {
  readonly request: PathRequest;
  status: IoStatus | null;
  answers: number;
  /** Of a read that went well; the memory is given back at once. */
  content: Uint8Array | null;
}

/** A session's client: numbers its requests unless it is told the number. */
export class CoreClient {
  clientSeq = 0;
  lowWater = 1;

  constructor(
    readonly rig: CoreRig,
    readonly path: StargatePath,
  ) {}

  write(offsetBytes: number, content: Uint8Array, clientSeq = ++this.clientSeq): Answer {
    const answer = this.prepare(IoOp.write, offsetBytes, content.length, clientSeq);
    answer.request.payload.add(this.rig.memory(content), content.length);
    this.path.submit(answer.request);
    return answer;
  }

  zero(offsetBytes: number, lengthBytes: number, clientSeq = ++this.clientSeq): Answer {
    return this.#submit(IoOp.zero, offsetBytes, lengthBytes, clientSeq);
  }

  trim(offsetBytes: number, lengthBytes: number, clientSeq = ++this.clientSeq): Answer {
    return this.#submit(IoOp.trim, offsetBytes, lengthBytes, clientSeq);
  }

  read(offsetBytes: number, lengthBytes: number): Answer {
    return this.#submit(IoOp.read, offsetBytes, lengthBytes, ++this.clientSeq);
  }

  request(op: IoOp, offsetBytes: number, lengthBytes: number): Answer {
    return this.#submit(op, offsetBytes, lengthBytes, ++this.clientSeq);
  }

  #submit(op: IoOp, offsetBytes: number, lengthBytes: number, clientSeq: number): Answer {
    const answer = this.prepare(op, offsetBytes, lengthBytes, clientSeq);
    this.path.submit(answer.request);
    return answer;
  }

  prepare(op: IoOp, offsetBytes: number, lengthBytes: number, clientSeq: number): Answer {
    const answer: { -readonly [K in keyof Answer]: Answer[K] } = { status: null, answers: 0, content: null, request: null! };
    answer.request = {
      op,
      offsetBytes,
      lengthBytes,
      clientSeq,
      lowWater: this.lowWater,
      fua: false,
      payload: new Gather(),
      status: IoStatus.ok,
      term: 0,
      data: new Gather(300),
      extents: new Float64Array(2 * MAX_MAP_EXTENTS),
      extentCount: 0,
      pathTag: 0,
      owner: {
        onReply: request => {
          answer.status = request.status;
          answer.answers++;
          if (op !== IoOp.read || request.status !== IoStatus.ok) return;
          answer.content = bytesOf(request.data);
          this.path.release(request);
        },
      },
    };
    return answer;
  }
}

function bytesOf(gather: Gather): Uint8Array {
  const bytes = new Uint8Array(gather.totalBytes);
  let at = 0;
  for (let i = 0; i < gather.count; i++) {
    bytes.set(arena.bytes.subarray(gather.offsets[i], gather.offsets[i]! + gather.lengths[i]!), at);
    at += gather.lengths[i]!;
  }
  return bytes;
}

/** Blocks of one byte each: `blocks(1, 2)` is a block of ones and one of twos. */
export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_BYTES);
  values.forEach((value, i) => bytes.fill(value, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
  return bytes;
}
