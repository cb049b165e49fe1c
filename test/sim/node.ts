import type { ArenaRegion } from 'uring-engine';
import { FaultyDisk, FaultyEngine, PowerLoss, type VirtualClock } from 'uring-engine/faulty';
import { createProbes } from '../../src/base/probe.js';
import { TransferBuffers, transferBufferBytes } from '../../src/stargate/cache/transfer-buffers.js';
import { UnifiedCache } from '../../src/stargate/cache/unified-cache.js';
import { MAX_CONTROL_BYTES, type Durability } from '../../src/stargate/core/controller.js';
import type { DrainLimits } from '../../src/stargate/core/drainable.js';
import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';
import { ExtentStore, LayerRemoval } from '../../src/stargate/extents/index.js';
import { OPLOG_MEMORY_BYTES, type OplogMutations } from '../../src/stargate/oplog/index.js';
import type { GroupPorts } from '../../src/stargate/runtime/group/groups.js';
import { NodePart, type NodePartOptions, type StargateMutations } from '../../src/stargate/runtime/node-part.js';
import { SimulatedStoreDisk } from '../../src/stargate/store/simulated.js';
import type { EnospcPolicy } from '../../src/meta/model.js';
import { Delays } from '../../src/stargate/runtime/delays.js';
import { DRAIN_LIMITS, REMOVE_RETRY_NS } from '../../src/stargate/runtime/limits.js';
import { ENGINE_CAPACITY, TRANSFER_BUFFERS } from './limits.js';
import type { Memory } from './memory.js';
import { ResendingStore, type StoreBugs } from './store.js';
import { traceKind, type Trace } from './trace.js';
import { VDISK_BYTES } from './workload.js';

/** Directories that the process finds, durable, made by whoever set the node up. */
export const DIRECTORY = '/data/stargate';
/** Each round drains all that there is, each segment in one part. */
export const WHOLE_LOG: DrainLimits = { ...DRAIN_LIMITS, roundsPerLog: 1 };
/** So that a history of some hundred changes has many rounds and parts. */
const LITTLE: DrainLimits = {
  ...{ roundsPerLog: 16, hurryFill: 0.5 },
  ...{ calm: { lanes: 3, runBlocks: 4, blocks: 6 }, hurried: { lanes: 8, runBlocks: 4, blocks: 6 } },
};
/** Of the seed itself, not of its clock: other seeds' histories stay what they are. */
export const drainsOf = (seed: number): DrainLimits => (seed % 2 === 0 ? LITTLE : WHOLE_LOG);

export const oplogDirectory = (stream: number): string => `${DIRECTORY}/oplog/stream-${stream}`;
export const EXTENTS = `${DIRECTORY}/extents`;

/** How a node is made: the same at each of its starts. */
export interface NodeShape {
  readonly vdisks: readonly string[];
  readonly streams: number;
  readonly segmentBytes: number;
  readonly segments: number;
  readonly cachePages: number;
  readonly maxLatencyNs: number;
  /** `always`, where it is missing. */
  readonly durability?: Durability;
  /** What changes hear when the disk is full; missing: ENOSPC. */
  readonly onFull?: EnospcPolicy;
  /** Missing: extents are not scrubbed. */
  readonly scrubBytesPerSecond?: number;
  /** Missing: all at a time. */
  readonly drains?: DrainLimits;
  /** How much later a drain may be delivered once more. */
  readonly maxResendNs?: number;
}

/** Planted bugs, by the seams that are there for them. */
export interface NodeBugs {
  readonly engine?: (engine: FaultyEngine) => void;
  readonly oplog?: OplogMutations;
  readonly stargate?: StargateMutations;
  readonly store?: StoreBugs;
  /** A check of our own code that fails ends the process, not the run: what a bug comes to is to show in what clients see. */
  readonly checksEndProcess?: boolean;
  /** M9: whoever comes back with an empty disk is taken for the member it was. */
  readonly amnesiacKept?: boolean;
  /** With `durability: flush`: a node that starts again counts as holding what it had in memory. */
  readonly memoryKept?: boolean;
}

export interface NodeListener {
  onServing(): void;
  /** The process reports that it cannot go on, and ends (rule 6). */
  onFatal(message: string): void;
  onBadBlock(vdiskId: string, offsetBytes: number, lengthBytes: number): void;
}

export interface NodeCounters {
  starts: number;
  drains: number;
  tornTails: number;
  rotFound: number;
  resentDrains: number;
}

/** 0: there is only one. */
const who = (node: number): string => (node === 0 ? 'node' : `node ${node}`);

const Started = traceKind(
  (term, entries, torn, node) => `${who(node)}: starts, term ${term}; ${entries} entries in its logs, ${torn} bytes torn`,
);
const Serving = traceKind((term, node) => `${who(node)}: serves, term ${term}`);
const Fatal = traceKind((term, node) => `${who(node)}: fatal, term ${term}`);
const Stopped = traceKind(node => `${who(node)}: has stopped cleanly`);
const Ended = traceKind((power, node) => `${who(node)}: ${power === 1 ? 'POWER CUT' : 'KILLED'}`);

/** An engine whose process can be held: what happens meanwhile, it finds when it goes on. */
class PausableEngine extends FaultyEngine {
  #isPaused = false;
  #held: (() => void)[] = [];
  #isBroken = false;
  afterTurn: () => void = () => undefined;
  /** Our code's own checks end the process; without this, the run. */
  onThrow: ((error: Error) => void) | null = null;

  get isPaused(): boolean {
    return this.#isPaused;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.isDead || this.disk.isOff) return;
    this.turn();
    for (const call of this.#held.splice(0)) if (!this.isDead && !this.disk.isOff) this.turn(call);
  }

  override turn(call?: () => void): void {
    if (this.#isPaused) {
      if (call !== undefined) this.#held.push(call);
      return;
    }
    if (this.onThrow === null) return this.#run(call);
    if (this.#isBroken) return;
    try {
      this.#run(call);
    } catch (error) {
      this.#isBroken = true;
      this.onThrow(error as Error);
    }
  }

  #run(call?: () => void): void {
    super.turn(call);
    this.afterTurn();
  }
}

/**
 * One Stargate node: the production runtime over production oplog and extents, with the records of the production block store, on a
 * faulty disk. The disk outlives the process.
 */
export class SimNode {
  disk: FaultyDisk;
  storeDisk = new SimulatedStoreDisk();
  readonly counters: NodeCounters = { starts: 0, drains: 0, tornTails: 0, rotFound: 0, resentDrains: 0 };
  term = 0;
  engine: PausableEngine | null = null;
  part: NodePart | null = null;
  store: ResendingStore | null = null;
  isServing = false;
  /** Called when the process is gone, however it went. */
  onGone: () => void = () => undefined;

  constructor(
    readonly clock: VirtualClock,
    readonly memory: Memory,
    readonly trace: Trace,
    readonly shape: NodeShape,
    readonly listener: NodeListener,
    readonly bugs: NodeBugs = {},
    /** From 1 on, where there are several. */
    readonly number = 0,
  ) {
    this.disk = this.#newDisk();
  }

  #newDisk(): FaultyDisk {
    const { clock, memory, shape } = this;
    const disk = new FaultyDisk({ random: clock.random, maxLatencyNs: shape.maxLatencyNs });
    const { files } = new FaultyEngine(memory.arena, clock, disk, ENGINE_CAPACITY);
    files.makeDirectory(`${DIRECTORY}/oplog`);
    for (const path of ['/', '/data', DIRECTORY, `${DIRECTORY}/oplog`]) files.syncDirectory(path);
    disk.killAll();
    return disk;
  }

  /** No process has it: the disks are gone, and empty ones are there instead. */
  replaceDisk(): void {
    const { observer } = this.disk;
    this.disk = this.#newDisk();
    this.disk.observer = observer;
    this.storeDisk = new SimulatedStoreDisk();
  }

  /** A process starts, with a new term. False: the power went meanwhile. */
  start(): boolean {
    this.term++;
    this.counters.starts++;
    this.isServing = false;
    const engine = new PausableEngine(this.memory.arena, this.clock, this.disk, ENGINE_CAPACITY);
    engine.afterTurn = () => this.afterTurn();
    if (this.bugs.checksEndProcess === true) engine.onThrow = error => this.listener.onFatal(error.message);
    this.engine = engine;
    this.bugs.engine?.(engine);
    try {
      this.part = this.#compose(engine);
    } catch (error) {
      if (!(error instanceof PowerLoss)) throw error;
      return false;
    }
    const { streams } = this.part;
    const torn = streams.reduce((sum, { report }) => sum + report.tornBytes, 0);
    this.counters.tornTails += streams.filter(({ report }) => report.tornBytes > 0).length;
    this.counters.rotFound += streams.reduce((sum, { report }) => sum + report.rotRanges, 0);
    const entries = streams.reduce((sum, { report }) => sum + report.entries, 0);
    this.trace.add(Started, this.term, entries, torn, this.number);
    // The loop that a process runs begins with a turn.
    engine.poke();
    return !this.disk.isOff;
  }

  #compose(engine: FaultyEngine): NodePart {
    const { memory, shape, bugs, listener } = this;
    const region = memory.nodeRegion(Math.max(0, this.number - 1));
    const store = new ResendingStore(this.storeDisk, engine, this.clock, bugs.store, shape.maxResendNs);
    this.store = store;
    const zeroBlock = region.take(BLOCK_BYTES);
    memory.arena.bytes.fill(0, zeroBlock, zeroBlock + BLOCK_BYTES);
    const controlScratch = region.take(MAX_CONTROL_BYTES);
    const extents = new ExtentStore(engine, EXTENTS, region.take(BLOCK_BYTES), { openFiles: 2 });
    const oplogMemory = Array.from({ length: shape.streams }, () => region.take(OPLOG_MEMORY_BYTES));
    const { random } = this.clock;
    const delays = new Delays(engine);
    const again = (call: () => void): void => delays.after(REMOVE_RETRY_NS, call);
    const removal = new LayerRemoval(store.store, extents, message => listener.onFatal(message), again);
    removal.resume(store.store.deletingLayers());
    return new NodePart({
      engine,
      ports: {
        arena: memory.arena,
        extents,
        store: store.store,
        cache: new UnifiedCache(region.take(shape.cachePages * BLOCK_BYTES), shape.cachePages),
        buffers: new TransferBuffers(region.take(transferBufferBytes(TRANSFER_BUFFERS)), TRANSFER_BUFFERS),
        zeroBlock,
        controlScratch,
        drains: shape.drains ?? WHOLE_LOG,
        probes: createProbes(),
        clock: engine,
      },
      removal,
      nodeId: `node-${Math.max(1, this.number)}`,
      shard: 0,
      shards: 1,
      streams: shape.streams,
      onFull: shape.onFull ?? 'error',
      oplog: stream => ({
        memoryOffset: oplogMemory[stream]!,
        directory: oplogDirectory(stream),
        capacityBytes: shape.segments * shape.segmentBytes,
        segmentBytes: shape.segmentBytes,
        fillRandom: words => void words.forEach((_, i) => (words[i] = Math.floor(random() * 2 ** 32))),
        ...(bugs.oplog === undefined ? {} : { mutations: bugs.oplog }),
      }),
      ...this.duty(region),
      ...(bugs.stargate === undefined ? {} : { mutations: bugs.stargate }),
      ...(shape.scrubBytesPerSecond === undefined ? {} : { scrubBytesPerSecond: shape.scrubBytesPerSecond }),
      onServing: () => {
        this.isServing = true;
        this.trace.add(Serving, this.term, this.number);
        listener.onServing();
      },
      onFatal: message => {
        this.trace.add(Fatal, this.term, this.number);
        listener.onFatal(message);
      },
      onBadBlock: (vdiskId, offsetBytes, _errno, lengthBytes) => listener.onBadBlock(vdiskId, offsetBytes, lengthBytes),
    });
  }

  /** What it serves: of a node that is alone, everything there is. */
  protected duty(
    _region: ArenaRegion,
  ): Pick<NodePartOptions, 'vdisks'> | ({ readonly group: GroupPorts } & Pick<NodePartOptions, 'onSized'>) {
    const { term } = this;
    const { vdisks, durability = 'always' } = this.shape;
    return { vdisks: vdisks.map(vdiskId => ({ vdiskId, sizeBytes: VDISK_BYTES, historyId: 1, term, nonce: `n${term}`, durability })) };
  }

  protected afterTurn(): void {
    // For nodes of a cluster.
  }

  get isPaused(): boolean {
    return this.engine?.isPaused === true;
  }

  /** Runs `call` in a turn of the process, as something that came from outside would. Without a process nothing happens. */
  turn(call: (part: NodePart) => void): void {
    const { engine, part } = this;
    if (engine !== null && part !== null && !engine.isDead && !this.disk.isOff) engine.turn(() => call(part));
  }

  /** Drains, closes, ends. */
  stop(done: () => void): void {
    this.turn(part =>
      part.stop(() => {
        this.trace.add(Stopped, this.number);
        const { engine } = this;
        // Out of the turn that it is told in; the power may go before.
        this.clock.after(1, () => {
          if (this.engine !== engine || this.disk.isOff) return;
          this.#end(false);
          done();
        });
      }),
    );
  }

  kill(): void {
    this.trace.add(Ended, 0, this.number);
    this.#end(false);
  }

  powerCut(): void {
    this.trace.add(Ended, 1, this.number);
    this.#end(true);
  }

  #end(power: boolean): void {
    this.store?.crash();
    this.counters.drains += this.store?.commits ?? 0;
    this.counters.resentDrains += this.store?.resent ?? 0;
    if (power) this.disk.powerCut();
    else this.disk.killAll();
    this.engine = this.part = this.store = null;
    this.isServing = false;
    this.onGone();
  }
}
