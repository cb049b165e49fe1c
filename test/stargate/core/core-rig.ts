import { crc32c } from '@node-rs/crc32';
import { ArenaRegion, createArena } from 'uring-engine';
import { createProbes } from '../../../src/base/probe.js';
import { TransferBuffers, transferBufferBytes } from '../../../src/stargate/cache/transfer-buffers.js';
import { UnifiedCache } from '../../../src/stargate/cache/unified-cache.js';
import { DRAIN_LIMITS } from '../../../src/stargate/runtime/limits.js';
import { BlockIndex } from '../../../src/stargate/core/block-index.js';
import {
  Controller,
  MAX_CONTROL_BYTES,
  type ControllerMutations,
  type ControllerPorts,
  type Durability,
} from '../../../src/stargate/core/controller.js';
import { BLOCK_BYTES, BlockState, type DrainCommit, type StoreOwner } from '../../../src/stargate/core/ports.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import { SimulatedStore, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { SpaceRule } from '../../../src/stargate/core/space-rule.js';
import { CoreClient } from './core-client.js';
import { MemoryExtents } from './memory-extents.js';
import { MemoryLog } from './memory-log.js';

const CACHE_PAGES = 32;
const BUFFERS = [8, 2, 3] as const;
const PAYLOAD_BYTES = 4 << 20;
const arena = createArena(24 << 20);

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
  readonly rule = new SpaceRule();
  /** Confirm rounds that were asked for. */
  rounds = 0;
  layer = 0;
  readonly #payload: number;
  #payloadUsed = 0;

  constructor(options: CoreRigOptions = {}) {
    const region = new ArenaRegion(arena);
    const later = (run: () => void): void => void this.pending.push(run);
    this.log = new MemoryLog(arena, region.take(1 << 20), later);
    this.extents = new MemoryExtents(arena, later);
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
      drains: DRAIN_LIMITS,
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
      rule: this.rule,
    };
    this.rule.onFull = 'error';
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

/** Blocks of one byte each: `blocks(1, 2)` is a block of ones and one of twos. */
export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_BYTES);
  values.forEach((value, i) => bytes.fill(value, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
  return bytes;
}
