import { EngineError } from 'uring-engine';
import type { ClockEvent } from 'uring-engine/faulty';
import { OplogError } from '../../../src/stargate/oplog/index.js';
import { baseOfMember } from '../../../src/wire/replicate.js';
import { traceKind } from '../trace.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import type { ClusterPath } from './cluster-path.js';
import { batchesOn, rotBatch, rotPayload } from './log-on-disk.js';
import { numberOf } from './metadata.js';

export type FaultKind =
  | 'kill'
  | 'power'
  | 'stop'
  | 'pause'
  | 'cut'
  | 'alone'
  | 'metadata'
  | 'answers'
  | 'link'
  | 'slow'
  | 'hang'
  | 'path'
  | 'datapath'
  | 'takeover'
  | 'handover'
  | 'ioError'
  | 'full'
  | 'emptied'
  | 'rot'
  | 'severed'
  | 'successor';

/** How often each comes, of all that comes. */
const WEIGHTS: Readonly<Record<FaultKind, number>> = {
  kill: 4,
  power: 4,
  stop: 2,
  pause: 3,
  cut: 3,
  alone: 2,
  metadata: 2,
  answers: 2,
  link: 3,
  slow: 1,
  hang: 1,
  path: 3,
  datapath: 1,
  takeover: 2,
  handover: 2,
  ioError: 1,
  full: 1,
  emptied: 1,
  rot: 3,
  severed: 4,
  successor: 8,
};

const KINDS = Object.keys(WEIGHTS) as FaultKind[];
/** In one history of so many logs rot: then no disk is emptied. */
const ROT_IN = 4;
/** In one of so many who follows a controller that hangs may hang too. */
const SUCCESSOR_IN = 6;
/** Between two looks whether somebody has followed. */
const FOLLOWED_MS = 3;
const MOST_ROT = 4;
const MS = 1e6;
const EIO = 5;
const RESTART_MS = 200;
const Happens = traceKind(
  (kind, node, other, ms) => `fault: ${KINDS[kind]}, node ${node}${other > 0 ? ` and ${other}` : ''}${ms > 0 ? ` for ${ms} ms` : ''}`,
);
const Heals = traceKind(() => 'fault: everything heals');

export interface FaultOptions {
  readonly kinds?: readonly FaultKind[];
  /** Longest time from one to the next. */
  readonly maxGapMs?: number;
}

/** Things that go wrong, one after another, each for a while. */
export class Faults {
  readonly counters = { kills: 0, powerCuts: 0, pauses: 0, partitions: 0, emptied: 0, rotten: 0, full: 0, successors: 0 };
  /** The one node in a history whose disk rots. */
  #rotten: ClusterNode | null = null;
  #isOver = false;
  readonly #later = new Set<ClockEvent>();
  readonly #stopping = new Set<ClusterNode>();
  readonly #kinds: FaultKind[];
  readonly #maxGapMs: number;

  constructor(
    readonly cluster: Cluster,
    options: FaultOptions,
    readonly replaceDatapath: (isCrash: boolean) => void,
  ) {
    const { clock } = cluster;
    const { seed } = cluster.options;
    const isLeftOut: Partial<Record<FaultKind, boolean>> = {
      emptied: seed % ROT_IN === 2,
      rot: seed % ROT_IN !== 2,
      severed: !cluster.isMigrating,
      successor: seed % SUCCESSOR_IN !== 0,
    };
    const kinds = options.kinds ?? KINDS.filter(kind => isLeftOut[kind] !== true);
    this.#kinds = kinds.flatMap(kind => Array<FaultKind>(WEIGHTS[kind]).fill(kind));
    this.#maxGapMs = options.maxGapMs ?? 300;
    cluster.metadata.oneLostIn = [0, 40, 8][clock.below(3)]!;
    this.#next();
  }

  /** All is well from here on: networks, disks, processes. */
  heal(): void {
    const { cluster } = this;
    this.#isOver = true;
    cluster.trace.add(Heals);
    for (const event of this.#later) cluster.clock.cancel(event);
    cluster.metadata.oneLostIn = 0;
    cluster.metadata.isSilent = false;
    for (const node of cluster.nodes) {
      node.disk.maxLatencyNs = node.shape.maxLatencyNs;
      node.disk.faults.clear();
      node.disk.faults.release();
      this.#makeRoom(node);
      node.engine?.resume();
    }
    cluster.network.heal();
    for (const node of cluster.nodes) this.mend(node);
  }

  mend(node: ClusterNode): void {
    // One that is about to stop would go away in the middle of what is looked at when all is well.
    const isGoing = this.cluster.fatal.has(node) || (this.#isOver && this.#stopping.delete(node));
    if (isGoing && node.part !== null) node.kill();
    if (node.part !== null) return;
    try {
      node.start();
    } catch (error) {
      if (!(error instanceof EngineError || error instanceof OplogError)) throw error;
      // Its disk has no room for it, or gives errors: whoever starts processes tries again.
      node.kill();
      this.#for(RESTART_MS, () => this.mend(node));
    }
  }

  #next(): void {
    const { clock } = this.cluster;
    clock.after(5 * MS + clock.below(this.#maxGapMs * MS), () => {
      if (this.#isOver) return;
      this.#happen(this.#kinds[clock.below(this.#kinds.length)]!);
      this.#next();
    });
  }

  #for(ms: number, end: () => void): void {
    const { clock } = this.cluster;
    const event = clock.after(ms * MS, () => {
      this.#later.delete(event);
      end();
    });
    this.#later.add(event);
  }

  #happen(kind: FaultKind): void {
    const { cluster, counters } = this;
    const { clock, nodes, metadata, trace } = cluster;
    const node = nodes[clock.below(nodes.length)]!;
    const other = nodes[clock.below(nodes.length)]!;
    const isShort = clock.below(3) === 0;
    const ms = 1 + clock.below(isShort ? 60 : 2_500);
    trace.add(Happens, KINDS.indexOf(kind), node.number, kind === 'cut' || kind === 'link' ? other.number : 0, ms);
    switch (kind) {
      case 'kill':
      case 'power':
      case 'stop':
        if (node.part === null || (kind === 'stop' && this.#stopping.has(node))) return;
        node.engine!.resume();
        if (kind === 'stop') {
          this.#stopping.add(node);
          node.stop(() => {
            this.#stopping.delete(node);
            this.#for(ms, () => this.mend(node));
          });
          // One that does not get to its end is killed.
          return this.#for(1_500, () => this.#crash(node, false, ms));
        }
        if (kind === 'kill') counters.kills++;
        else counters.powerCuts++;
        return this.#crash(node, kind === 'power', ms);
      case 'pause':
        return this.#pause(node, ms);
      case 'cut':
        counters.partitions++;
        return this.#cut([[node.number, other.number]], clock.below(2) === 0, ms);
      case 'alone': {
        counters.partitions++;
        const reachesMetadata = clock.below(2) === 0;
        const pairs = nodes.map(({ number }): [number, number] => [node.number, number]);
        return this.#cut(reachesMetadata ? pairs : [...pairs, [node.number, 0]], clock.below(4) > 0, ms);
      }
      case 'metadata':
        if (clock.below(2) === 0) return this.#cut([[node.number, 0]], true, ms);
        metadata.isSilent = true;
        return this.#for(ms, () => (metadata.isSilent = false));
      case 'answers':
        // What is asked of it happens.
        return this.#cut([[0, node.number]], false, ms);
      case 'link':
        return node.part === null || node === other ? undefined : node.peers!.cut(other.number);
      case 'slow':
        node.disk.maxLatencyNs = 40e6;
        return this.#for(ms, () => (node.disk.maxLatencyNs = node.shape.maxLatencyNs));
      case 'hang':
        node.disk.faults.add({
          operation: 'any',
          path: clock.below(2) === 0 ? /\.seg$/ : /\.ext$/,
          error: 'hang',
          times: 1 + clock.below(4),
        });
        return this.#for(ms, () => node.disk.faults.release());
      case 'path': {
        const client = cluster.clients[clock.below(Math.max(1, cluster.clients.length))];
        return clock.below(2) === 0 ? client?.cut() : client?.stall(clock.below(50 * MS));
      }
      case 'datapath':
        return this.replaceDatapath(clock.below(2) === 0);
      case 'takeover':
        return node.turn(part => {
          for (const group of part.groups!.all.values()) if (clock.below(2) === 0) group.step({ kind: 'takeOver' });
        });
      case 'handover':
        return node.turn(part => {
          for (const { id } of cluster.vdisks) part.requestHandover(id, other.nodeId);
        });
      case 'ioError':
        node.disk.faults.add({
          operation: (['write', 'sync', 'allocate'] as const)[clock.below(3)]!,
          path: clock.below(3) === 0 ? /\.ext$/ : /\.seg$/,
          stage: (['before', 'partly', 'after'] as const)[clock.below(3)]!,
          error: EIO,
          skip: clock.below(4),
        });
        return;
      case 'full':
        return this.#fill(node, ms);
      case 'emptied':
        return this.#empty(node, ms);
      case 'rot':
        return this.#rot(node, ms);
      case 'severed':
        return this.#sever(ms);
      case 'successor':
        return this.#hangOneAfterTheOther(ms);
    }
  }

  /** The machine of a controller is cut off from everything, with the datapaths that are there; others go on without it. */
  #sever(ms: number): void {
    const { cluster } = this;
    const { clock, nodes } = cluster;
    const { id } = cluster.vdisks[clock.below(cluster.vdisks.length)]!;
    const controller = this.#controllerOf(id);
    const { number } = controller;
    this.counters.partitions++;
    this.#cut(
      [0, ...nodes.map(node => node.number)].map((other): [number, number] => [number, other]),
      true,
      ms,
    );
    this.#takeOver(id, controller);
    for (const { paths } of cluster.clients) if ((paths as ClusterPath).home.at !== number) paths.cut();
  }

  #controllerOf(vdiskId: string): ClusterNode {
    const { metadata } = this.cluster;
    return this.cluster.node(numberOf(metadata.groups.get(vdiskId)!.controller));
  }

  /** A controller stands still, and so does whoever has won its place: before it serves, or a moment later. Others follow when they miss it, or are asked to at once. */
  #hangOneAfterTheOther(ms: number): void {
    const { cluster } = this;
    const { clock } = cluster;
    const { id } = cluster.vdisks[clock.below(cluster.vdisks.length)]!;
    const first = this.#controllerOf(id);
    const untilNs = clock.nowNs + ms * MS;
    const hangs = (node: ClusterNode, forMs: number): void => {
      this.#pause(node, forMs);
      if (clock.below(2) === 0) this.#for(1 + clock.below(30), () => this.#takeOver(id, node));
    };
    const look = (): void => {
      const next = this.#controllerOf(id);
      if (next !== first) {
        this.counters.successors++;
        return hangs(next, 1 + clock.below(ms));
      }
      if (clock.nowNs < untilNs) this.#for(FOLLOWED_MS, look);
    };
    hangs(first, ms);
    look();
  }

  /** Another one than that node is asked to, if it has the vdisk. */
  #takeOver(vdiskId: string, node: ClusterNode): void {
    const others = this.cluster.nodes.filter(one => one !== node && !one.isPaused && one.part?.groups?.all.has(vdiskId) === true);
    const other = others[this.cluster.clock.below(Math.max(1, others.length))];
    other?.turn(part => part.groups!.all.get(vdiskId)?.step({ kind: 'takeOver' }));
  }

  #pause(node: ClusterNode, ms: number): void {
    if (node.part === null) return;
    this.counters.pauses++;
    node.engine!.pause();
    this.#for(ms, () => node.engine?.resume());
  }

  /** Its disks are replaced by empty ones: once, and where every group keeps a member. */
  #empty(node: ClusterNode, ms: number): void {
    if (this.counters.emptied > 0 || !this.#isKept(node)) return;
    this.counters.emptied++;
    if (node.part !== null) node.powerCut();
    node.replaceDisk();
    this.#for(ms, () => this.mend(node));
  }

  /** Every group keeps another member than the node, whatever comes of what the metadata was asked for. */
  #isKept(node: ClusterNode): boolean {
    const { metadata, vdisks } = this.cluster;
    return vdisks.every(({ id }) => metadata.possible(id).every(({ members }) => members.some(one => baseOfMember(one) !== node.member)));
  }

  /**
   * It is gone, and of what its logs had durably some cannot be read when it comes back. What is found at once is all that redundancy mends: a member that goes on
   * alone with what has rotted unseen may be the last that has it.
   */
  #rot(node: ClusterNode, ms: number): void {
    const { clock } = this.cluster;
    if ((this.#rotten !== null && this.#rotten !== node) || node.part === null || !this.#isKept(node)) return;
    // One that was paused hears now what has come meanwhile, and may have the others taken out.
    node.engine!.resume();
    if (!this.#isKept(node)) return;
    this.#rotten = node;
    this.counters.rotten++;
    this.#crash(node, clock.below(2) === 0, ms);
    for (let stream = 0; stream < node.shape.streams; stream++) {
      const durable = batchesOn(node, stream).filter(({ wasDurable }) => wasDurable);
      for (let i = durable.length > 0 ? clock.below(MOST_ROT) : 0; i > 0; i--) {
        const batch = durable[clock.below(durable.length)]!;
        const entry = batch.entries.find(({ payloadAt }) => payloadAt >= 0);
        if (entry === undefined || clock.below(2) === 0) rotBatch(node, batch);
        else rotPayload(node, entry);
      }
    }
  }

  /** Somebody else takes the file system's space, and gives it back. */
  #fill(node: ClusterNode, ms: number): void {
    const { disk } = node;
    const isStoreFull = this.cluster.clock.below(2) === 0;
    this.counters.full++;
    this.cluster.mayBeFull = !this.cluster.waitsForSpace;
    disk.capacityBytes = disk.usedBytes + this.cluster.clock.below(64 << 10);
    if (isStoreFull && node.store !== null) node.store.isFull = true;
    this.#for(ms, () => this.#makeRoom(node));
  }

  #makeRoom(node: ClusterNode): void {
    node.disk.capacityBytes = Infinity;
    if (node.store !== null) node.store.isFull = false;
  }

  #crash(node: ClusterNode, isPower: boolean, downMs: number): void {
    if (node.part === null) return;
    this.#stopping.delete(node);
    if (isPower) node.powerCut();
    else node.kill();
    this.#for(downMs, () => this.mend(node));
  }

  #cut(pairs: readonly (readonly [number, number])[], isBothWays: boolean, ms: number): void {
    const { network } = this.cluster;
    for (const [from, to] of pairs) {
      network.block(from, to);
      if (isBothWays) network.block(to, from);
    }
    this.#for(ms, () => {
      for (const [from, to] of pairs) {
        network.clear(from, to);
        network.clear(to, from);
      }
    });
  }

  /** Processes that cannot go on end, and start again. */
  sweep(): void {
    for (const node of [...this.cluster.fatal.keys()]) this.#crash(node, false, 20);
  }
}
