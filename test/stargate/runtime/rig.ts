import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArenaRegion, createArena, createEngine, Gather, type Arena, type Engine } from 'uring-engine';
import { createProbes } from '../../../src/base/probe.js';
import { TransferBuffers, transferBufferBytes } from '../../../src/stargate/cache/transfer-buffers.js';
import { UnifiedCache } from '../../../src/stargate/cache/unified-cache.js';
import { MAX_CONTROL_BYTES } from '../../../src/stargate/core/controller.js';
import { ExtentStore, LayerRemoval } from '../../../src/stargate/extents/index.js';
import { OPLOG_MEMORY_BYTES } from '../../../src/stargate/oplog/index.js';
import { Delays } from '../../../src/stargate/runtime/delays.js';
import { DRAIN_LIMITS, REMOVE_RETRY_NS } from '../../../src/stargate/runtime/limits.js';
import { NodePart, type StargateMutations } from '../../../src/stargate/runtime/node-part.js';
import type { VdiskDescription } from '../../../src/stargate/runtime/vdisks.js';
import { SimulatedStore, type SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { sharedArena } from '../../support/disk-rig.js';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type StargatePath } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';

export const VDISK = '0d2c8a10-5b6e-4a53-9f0e-7a5d0c1e2f30';
const CACHE_PAGES = 64;
const BUFFERS = [32, 16, 4] as const;
/** What tests write from and read into. */
const SCRATCH_BYTES = 8 << 20;
/** Small segments, so that few writes fill a log. */
const LOG_SEGMENT_BYTES = 4 << 20;
const LOG_BYTES = 32 << 20;

const ARENA_BYTES = 48 << 20;

/** One of the real engines, or one over a faulty disk. */
export type EngineKind = 'io_uring' | 'libuv' | ((arena: Arena) => Engine);

export type Step = (resume: (value?: unknown) => void) => void;
export type Scenario = Generator<Step, void, unknown>;

/**
 * One shard's Stargate over an engine and a directory, with a scratch of arena memory for payloads. Scenarios are generators: each step is a
 * function that is called back, since the engine may own the thread.
 */
export class Rig {
  readonly engine: Engine;
  readonly arena: Arena;
  readonly node: NodePart;
  readonly store: SimulatedStore;
  readonly delays: Delays;
  readonly scratch: number;
  fatal = '';
  readonly corrupt: number[] = [];
  readonly unreadable: number[] = [];
  /** Whether the disk was said to be full, each time that it was said. */
  readonly fullSaid: boolean[] = [];
  readonly #waitServing: (() => void)[] = [];
  #serving = false;

  constructor(
    kind: EngineKind,
    readonly directory: string,
    readonly storeDisk: SimulatedStoreDisk,
    /** null: `node.serve` is called by the test. */
    vdisks: readonly VdiskDescription[] | null,
    mutations: StargateMutations = {},
  ) {
    this.arena = typeof kind === 'string' ? createArena(ARENA_BYTES) : sharedArena(ARENA_BYTES);
    this.engine = typeof kind === 'string' ? createEngine({ arena: this.arena, kind }) : kind(this.arena);
    this.delays = new Delays(this.engine);
    const region = new ArenaRegion(this.arena);
    const { engine } = this;
    this.scratch = region.take(SCRATCH_BYTES);
    const simulated = (this.store = new SimulatedStore(storeDisk, engine, { random: Math.random }));
    const extents = new ExtentStore(engine, join(directory, 'extents'), region.take(4096));
    const oplogMemory = region.take(OPLOG_MEMORY_BYTES);
    this.node = new NodePart({
      engine,
      ports: {
        arena: this.arena,
        extents,
        store: simulated.store,
        cache: new UnifiedCache(region.take(CACHE_PAGES * 4096), CACHE_PAGES),
        buffers: new TransferBuffers(region.take(transferBufferBytes(BUFFERS)), BUFFERS),
        zeroBlock: region.take(4096),
        controlScratch: region.take(MAX_CONTROL_BYTES),
        drains: DRAIN_LIMITS,
        probes: createProbes(),
        clock: engine,
      },
      removal: new LayerRemoval(
        simulated.store,
        extents,
        message => (this.fatal = message),
        call => this.delays.after(REMOVE_RETRY_NS, call),
      ),
      nodeId: 'node-1',
      shard: 0,
      shards: 1,
      streams: 1,
      oplog: () => ({
        memoryOffset: oplogMemory,
        directory: join(directory, 'oplog', 'stream-0'),
        capacityBytes: LOG_BYTES,
        segmentBytes: LOG_SEGMENT_BYTES,
      }),
      ...(vdisks === null ? {} : { vdisks }),
      mutations,
      onFull: 'error',
      onServing: () => {
        this.#serving = true;
        for (const resume of this.#waitServing.splice(0)) resume();
      },
      onFatal: message => (this.fatal = message),
      onDiskFull: isFull => void this.fullSaid.push(isFull),
      onBadBlock: (_vdiskId, offsetBytes, errno) => void (errno === 0 ? this.corrupt : this.unreadable).push(offsetBytes),
    });
  }

  /** Runs the scenario from the first turn on; resolves when it has ended. */
  async run(scenario: (rig: Rig) => Scenario): Promise<void> {
    const running = scenario(this);
    let failure: Error | undefined;
    const next = (value?: unknown): void => {
      try {
        const step = running.next(value);
        if (step.done) this.engine.stop();
        else step.value(next);
      } catch (error) {
        failure = error as Error;
        this.engine.stop();
      }
    };
    const client = this.engine.register({ onCompletion: () => next() });
    this.engine.timer(0, client, 0);
    await this.engine.run();
    this.engine.destroy();
    if (failure !== undefined) throw failure;
  }

  serving: Step = resume => (this.#serving ? resume() : void this.#waitServing.push(resume));

  open(generation = 1, datapathUuid = 'a', shard = 0, vdiskId = VDISK): Step {
    return resume =>
      this.node.openSession(
        { vdiskId, generation, datapathUuid, shard },
        {
          onOpened: path => resume(new TestSession(this, path)),
          onRefused: reason => resume(reason),
          onEnded: () => undefined,
        },
      );
  }

  stop: Step = resume => this.node.stop(resume);
}

/** A client of one path: requests by number, contents by value. */
export class TestSession {
  clientSeq = 0;
  lowWater = 1;
  constructor(
    readonly rig: Rig,
    readonly path: StargatePath,
  ) {}

  /** Resumes with the status. */
  write(offsetBytes: number, content: Uint8Array, clientSeq = ++this.clientSeq): Step {
    return resume => {
      const request = this.request(IoOp.write, offsetBytes, content.length, clientSeq, answered => resume(answered.status));
      this.rig.arena.bytes.set(content, this.rig.scratch);
      request.payload.add(this.rig.scratch, content.length);
      this.path.submit(request);
    };
  }

  zero(offsetBytes: number, lengthBytes: number, op: IoOp = IoOp.zero): Step {
    return resume => this.path.submit(this.request(op, offsetBytes, lengthBytes, ++this.clientSeq, answered => resume(answered.status)));
  }

  /** Resumes with the content, or the status of a failure. */
  read(offsetBytes: number, lengthBytes: number): Step {
    return resume => {
      const request = this.request(IoOp.read, offsetBytes, lengthBytes, ++this.clientSeq, answered => {
        if (answered.status !== IoStatus.ok) return resume(answered.status);
        const content = new Uint8Array(lengthBytes);
        let at = 0;
        for (let i = 0; i < answered.data.count; i++) {
          const from = answered.data.offsets[i]!;
          content.set(this.rig.arena.bytes.subarray(from, from + answered.data.lengths[i]!), at);
          at += answered.data.lengths[i]!;
        }
        this.path.release(answered);
        resume(at === lengthBytes ? content : 'short');
      });
      this.path.submit(request);
    };
  }

  /** Resumes with [lengthBytes, flags] pairs. */
  map(offsetBytes: number, lengthBytes: number): Step {
    return resume => {
      const request = this.request(IoOp.map, offsetBytes, lengthBytes, ++this.clientSeq, answered =>
        resume([...answered.extents.subarray(0, answered.extentCount * 2)]),
      );
      this.path.submit(request);
    };
  }

  request(op: IoOp, offsetBytes: number, lengthBytes: number, clientSeq: number, onReply: (request: PathRequest) => void): PathRequest {
    return {
      op,
      offsetBytes,
      lengthBytes,
      clientSeq,
      lowWater: this.lowWater,
      fua: false,
      payload: new Gather(),
      status: IoStatus.ok,
      term: 0,
      data: new Gather(),
      extents: new Float64Array(2 * MAX_MAP_EXTENTS),
      extentCount: 0,
      pathTag: 0,
      submittedNs: 0,
      owner: { onReply },
    };
  }
}

/** Waits on the engine's clock. */
export function delay(rig: Rig, ns: number): Step {
  return resume => rig.delays.after(ns, resume);
}

export function describeVdisk(term: number, sizeBytes = 1 << 30, vdiskId = VDISK): VdiskDescription {
  return { vdiskId, sizeBytes, historyId: 1, term, nonce: `n${term}` };
}

export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'gp-runtime-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Content that names itself. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = seed * 2654435761;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
