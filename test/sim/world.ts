import { VirtualClock, type FaultOperation } from 'uring-engine/faulty';
import { IoOp } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import type { Client, Operation } from './client.js';
import { Datapath } from './datapath.js';
import { History } from './history.js';
import { Memory } from './memory.js';
import { SimNode, type NodeBugs, type NodeShape } from './node.js';
import { Trace, traceKind } from './trace.js';
import { Workload } from './workload.js';

const VDISK_IDS = ['0d2c8a10-5b6e-4a53-9f0e-7a5d0c1e2f30', '0d2c8a11-1c7f-4b1e-8d6a-3f2b9c4d5e6f'];
const OPERATIONS: readonly FaultOperation[] = [
  'open',
  'read',
  'write',
  'sync',
  'allocate',
  'truncate',
  'rename',
  'remove',
  'makeDirectory',
  'syncDirectory',
];

const names: string[] = [];
const Disk = traceKind(
  (operation, path, at, length, result) =>
    `disk: ${OPERATIONS[operation]} ${names[path]} ${at}+${length}${result < 0 ? `: ${result}` : ''}`,
);
const Corrupt = traceKind((_vdisk, offset) => `node: block ${offset / 4096} is damaged`);

/** A vdisk and what is known of it. */
export interface Vdisk {
  readonly id: string;
  readonly index: number;
  readonly workload: Workload;
  readonly history: History;
  /** Changes of clients that died, until the node has ended their sessions. */
  readonly abandoned: Operation[];
}

export interface WorldOptions {
  readonly seed: number;
  readonly bugs?: NodeBugs;
  /** Keep the trace as text. */
  readonly isRead?: boolean;
  /** Instead of what the seed says. */
  readonly shape?: Partial<NodeShape> & { readonly vdiskCount?: number; readonly hotBlocks?: number };
}

/** Counted over a run. */
export interface WorldCounters {
  asked: number;
  changes: number;
  reads: number;
  trims: number;
  replayed: number;
  lostPaths: number;
  closed: number;
}

/** One clock and everything that lives by it: a node with its disk, datapaths with their clients, what they have seen. */
export class World {
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly memory = new Memory();
  readonly vdisks: readonly Vdisk[];
  readonly node: SimNode;
  readonly datapaths: Datapath[] = [];
  readonly counters: WorldCounters = { asked: 0, changes: 0, reads: 0, trims: 0, replayed: 0, lostPaths: 0, closed: 0 };
  /** What must not happen, beside what the checker finds. */
  readonly complaints: string[] = [];
  /** What the node said when it gave up. */
  fatal = '';
  /** Damage has been planted: it may be reported. */
  mayBeCorrupt = false;
  /** The disk has been full: changes may be refused for that. */
  mayBeFull = false;
  corruptBlocks = 0;
  nextClient = 1;
  nextOperation = 1;
  /** Told of each disk operation that was carried out. */
  onDisk: (operation: FaultOperation, path: string, atBytes: number, lengthBytes: number) => void = () => undefined;
  #generation = 0;

  constructor(readonly options: WorldOptions) {
    this.clock = new VirtualClock(options.seed);
    const { clock } = this;
    this.trace = new Trace(clock, options.isRead === true);
    const count = options.shape?.vdiskCount ?? 1 + clock.below(2);
    this.vdisks = VDISK_IDS.slice(0, count).map((id, index) => ({
      id,
      index,
      workload: new Workload(clock, options.shape?.hotBlocks),
      history: new History(),
      abandoned: [],
    }));
    const shape: NodeShape = {
      vdisks: this.vdisks.map(({ id }) => id),
      streams: 1 + clock.below(2),
      segmentBytes: [128, 192, 256][clock.below(3)]! << 10,
      segments: 4 + clock.below(4),
      cachePages: [8, 32, 128][clock.below(3)]!,
      maxLatencyNs: [100_000, 300_000, 1_500_000][clock.below(3)]!,
      ...options.shape,
    };
    this.node = new SimNode(clock, this.memory, this.trace, shape, this, options.bugs);
    this.node.onGone = () => this.#nodeGone();
    this.node.disk.observer = (operation, path, at, length, result) => this.#onDisk(operation, path, at, length, result);
  }

  // ---------------------------------------------------------------- time

  /** The next event. The power may have gone in it: see `node.disk.isOff`. */
  step(): void {
    if (!this.clock.step()) throw new Error('simulation: nothing happens any more');
  }

  // ---------------------------------------------------------------- datapaths

  /** A datapath that takes the vdisks over from any other: of a newer attachment, or another one of the same. */
  startDatapath(shards: number, isDirect: boolean, depth: number, newGeneration: boolean): Datapath {
    if (newGeneration || this.#generation === 0) this.#generation++;
    const datapath = new Datapath(this, this.#generation, `datapath-${this.datapaths.length}`, shards, isDirect, depth);
    this.datapaths.push(datapath);
    return datapath;
  }

  /** Clients that live and whose sessions are not over. */
  get clients(): Client[] {
    return this.datapaths.flatMap(({ clients }) => clients).filter(client => !client.isDead && !client.isOver);
  }

  get outstanding(): number {
    return this.datapaths.filter(({ isDead }) => !isDead).reduce((sum, datapath) => sum + datapath.outstanding, 0);
  }

  answered(client: Client, { op, wish, startedNs }: Operation, status: IoStatus): void {
    const { counters } = this;
    counters.asked++;
    if (wish.op === IoOp.read) counters.reads++;
    else if (wish.op !== IoOp.flush) counters.changes++;
    if (wish.op === IoOp.trim) counters.trims++;
    if (status === IoStatus.ok) return;
    if (status === IoStatus.closed) counters.closed++;
    else if (!(status === IoStatus.corrupt && this.mayBeCorrupt) && !(status === IoStatus.noSpace && this.mayBeFull)) {
      this.complaints.push(`client ${client.number}: #${op}, asked at ${startedNs}, was answered with status ${status}`);
    }
  }

  /** A client died with this open. */
  abandoned(vdisk: Vdisk, operation: Operation): void {
    vdisk.abandoned.push(operation);
  }

  // ---------------------------------------------------------------- the node

  onServing(): void {
    for (const problem of this.node.part!.problems) {
      if (!this.mayBeCorrupt) this.complaints.push(`vdisk ${problem.vdiskId} is not served: ${problem.message}`);
    }
  }

  onFatal(message: string): void {
    this.fatal = message;
  }

  onBadBlock(vdiskId: string, offsetBytes: number): void {
    this.corruptBlocks++;
    this.trace.add(
      Corrupt,
      this.vdisks.findIndex(({ id }) => id === vdiskId),
      offsetBytes,
    );
    if (!this.mayBeCorrupt) this.complaints.push(`vdisk ${vdiskId}: block ${offsetBytes / 4096} is said to be damaged`);
  }

  #nodeGone(): void {
    this.fatal = '';
    for (const client of this.clients) client.nodeGone();
  }

  #onDisk(operation: FaultOperation, path: string, atBytes: number, lengthBytes: number, result: number): void {
    const name = this.trace.nameOf(path);
    if (this.trace.isRead) names[name] = path;
    this.trace.add(Disk, OPERATIONS.indexOf(operation), name, atBytes, lengthBytes, result);
    this.onDisk(operation, path, atBytes, lengthBytes);
  }
}
