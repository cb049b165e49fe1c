import type { FaultOperation } from 'uring-engine/faulty';
import type { Durability } from '../../../src/stargate/core/controller.js';
import type { Group, Seen } from '../../../src/stargate/core/replication/effects.js';
import type { PathLoss } from '../../../src/transport/path-listener.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { Client, ClientPaths, Operation } from '../client.js';
import { Load, type Pace, type Vdisk } from '../load.js';
import { drainsOf, type NodeBugs, type NodeShape } from '../node.js';
import { traceKind } from '../trace.js';
import { ClusterNode } from './cluster-node.js';
import { ClusterPath, Home } from './cluster-path.js';
import { Metadata } from './metadata.js';
import { Network } from './network.js';
import { Quarantines } from './quarantines.js';
import { Sizes } from './sizes.js';
import { SMALL_VDISK_BYTES, VDISK_BYTES } from '../workload.js';
import { Watcher } from './watcher.js';

export interface ClusterOptions {
  readonly seed: number;
  readonly isRead?: boolean;
  readonly bugs?: NodeBugs;
  /** Instead of what the seed says. */
  readonly shape?: Partial<NodeShape> & ClusterShape;
}

export interface ClusterShape {
  readonly nodeCount?: number;
  readonly replicationFactor?: number;
  readonly minMembers?: number;
  readonly durability?: Durability;
  readonly vdiskCount?: number;
  readonly hotBlocks?: number;
  /** How long a node keeps a copy that is one too many. */
  readonly keepSurplusMs?: number;
  /** Vdisks are resized all the time; missing: in some runs, by their seeds. */
  readonly resizes?: boolean;
  /** Live migrations, one after the other; missing: in some runs, by their seeds. */
  readonly migrates?: boolean;
  readonly quotas?: boolean;
  /** Missing: datapaths tell connections that the other end has closed from others, and suspect what it had (rule 19). False: as histories were before. */
  readonly suspects?: boolean;
  /** In one run of so many whole segments are zeroed and trimmed. */
  readonly wholeSegmentsIn?: number;
}

/** Time is made of the milliseconds in which members are missed, not of the microseconds of a disk. */
const PACE: Pace = { maxThinkNs: [3_000_000, 8_000_000, 30_000_000], maxLongNs: 200_000_000 };
/** A replica that is brought up then gets a million blocks. */
const WHOLE_SEGMENTS_IN = 64;
/** In production it is minutes, in which a history would not come to it. */
const KEEP_SURPLUS_MS = [20, 300, 600_000];
const CUTS_SEGMENTS_IN = 16;
/** By the remainder of their division by five. */
const RESIZING_SEEDS: readonly number[] = [0, 4];
const MIGRATING_SEEDS: readonly number[] = [2];
/** Of so many seeds one has quotas. */
const QUOTAS_IN = 6;
/** By the remainder of their division by seven. */
const WAITING_SEEDS: readonly number[] = [2, 4];
const OPERATIONS: readonly FaultOperation[] = ['write', 'sync', 'allocate', 'read'];

const Disk = traceKind(
  (node, operation, at, length, result) =>
    `disk ${node}: ${OPERATIONS[operation] ?? 'other'} ${at}+${length}${result < 0 ? `: ${result}` : ''}`,
);

/** Nodes, their network and metadata store, datapaths on their machines: one clock. */
export class Cluster extends Load {
  readonly pace = PACE;
  readonly network: Network;
  readonly metadata: Metadata;
  readonly nodes: readonly ClusterNode[];
  readonly watcher: Watcher;
  readonly quarantines = new Quarantines(this);
  /** Of each vdisk. */
  readonly sizes: ReadonlyMap<Vdisk, Sizes>;
  /** Resizes that are known to have come about. */
  resized = 0;
  readonly replicationFactor: number;
  readonly minMembers: number;
  readonly keepSurplusMs: number;
  readonly durability: Durability;
  /** Takeovers from logs that may lack something; and those while a member had its memory, and could be heard. */
  readonly losses = { told: 0, tooSoon: 0 };
  /** Processes that have said they cannot go on. */
  readonly fatal = new Map<ClusterNode, string>();
  readonly #homes = new Map<string, Home>();
  /** Node on whose machine the next datapath runs; null: any. */
  nextHome: number | null = null;

  constructor(readonly options: ClusterOptions) {
    const { vdiskCount, hotBlocks, wholeSegmentsIn = WHOLE_SEGMENTS_IN, durability = 'always' } = options.shape ?? {};
    super({ seed: options.seed, isRead: options.isRead, vdiskCount, hotBlocks, wholeSegmentsIn, isVolatile: durability === 'flush' });
    this.durability = durability;
    const { clock } = this;
    this.network = new Network(clock);
    this.metadata = new Metadata(this);
    const count = options.shape?.nodeCount ?? 3 + clock.below(2);
    this.replicationFactor = options.shape?.replicationFactor ?? 2 + clock.below(2);
    this.minMembers = options.shape?.minMembers ?? (this.replicationFactor === 2 ? 1 : 1 + clock.below(2));
    // Of the seed itself, not of its clock: other seeds' histories stay what they are.
    this.keepSurplusMs = options.shape?.keepSurplusMs ?? KEEP_SURPLUS_MS[options.seed % KEEP_SURPLUS_MS.length]!;
    const shape: NodeShape = {
      vdisks: this.vdisks.map(({ id }) => id),
      streams: 1 + clock.below(2),
      segmentBytes: [128, 256, 512][clock.below(3)]! << 10,
      segments: 8 + clock.below(24),
      cachePages: [8, 32, 128][clock.below(3)]!,
      maxLatencyNs: [300_000, 1_500_000, 6_000_000][clock.below(3)]!,
      onFull: this.waitsForSpace ? 'wait' : 'error',
      drains: drainsOf(options.seed),
      ...options.shape,
    };
    this.nodes = Array.from({ length: count }, (_, i) => new ClusterNode(this, i + 1, shape, options.bugs));
    this.watcher = new Watcher(this);
    this.sizes = new Map(this.vdisks.map(vdisk => [vdisk, new Sizes(this, vdisk, this.#firstBytes)]));
    for (const node of this.nodes) {
      node.onGone = () => this.#gone(node);
      node.disk.observer = (operation, _path, at, length, result) =>
        this.trace.add(Disk, node.number, OPERATIONS.indexOf(operation), at, length, result);
    }
    for (const { id, index } of this.vdisks) {
      const members = Array.from({ length: this.replicationFactor }, (_, i) => this.nodes[(index + i) % count]!.member);
      this.metadata.sizes.set(id, { sizeBytes: this.#firstBytes, version: 1 });
      // Placed, and never served yet.
      this.metadata.groups.set(id, { epoch: 1, term: 0, controller: members[0]!, members, nonce: 'placed', historyId: 1 });
    }
    this.metadata.onChanged = () => {
      for (const node of this.nodes) node.noticed();
    };
  }

  /** Some are resized all the time. Of the seed itself: other seeds' histories stay what they are. */
  get isResizing(): boolean {
    return this.options.shape?.resizes ?? RESIZING_SEEDS.includes(this.options.seed % 5);
  }

  /** What a datapath hears of a connection that the other end has closed. */
  get lossOfDead(): PathLoss {
    return this.options.shape?.suspects === false ? 'lost' : 'hung-up';
  }

  /** In some a host is let in beside another one, and follows it. */
  get isMigrating(): boolean {
    return this.options.shape?.migrates ?? (!this.isResizing && MIGRATING_SEEDS.includes(this.options.seed % 5));
  }

  /** What the vdisks may take is dealt to them, in some. */
  get hasQuotas(): boolean {
    return this.options.shape?.quotas ?? this.options.seed % QUOTAS_IN === 1;
  }

  /** What has no space waits for it, in some: nobody hears of a full disk. */
  get waitsForSpace(): boolean {
    const { onFull } = this.options.shape ?? {};
    return onFull === undefined ? WAITING_SEEDS.includes(this.options.seed % 7) : onFull === 'wait';
  }

  /** Whole segments are cut off in few runs only: a replica that is brought up then gets a million blocks. */
  get cutsSegments(): boolean {
    return this.options.seed % CUTS_SEGMENTS_IN === 0;
  }

  get #firstBytes(): number {
    return !this.isResizing || this.cutsSegments ? VDISK_BYTES : SMALL_VDISK_BYTES;
  }

  get isForgetful(): boolean {
    return this.durability === 'flush';
  }

  /** What the metadata store shows beside a record. */
  get seen(): Seen | undefined {
    if (!this.isForgetful) return undefined;
    return { current: this.nodes.map(({ self }) => self), living: this.metadata.living.map(number => this.node(number).nodeId) };
  }

  /** A record says that something may be lost which it did not say before: from here on it may be, and is told. */
  lossMarked(vdiskId: string, before: Group): void {
    this.losses.told++;
    if (before.members.some(id => this.nodes.some(node => node.self === id && node.isServing && !node.isPaused))) this.losses.tooSoon++;
    this.memoryLost(
      before.term,
      this.vdisks.filter(({ id }) => id === vdiskId),
    );
  }

  node(number: number): ClusterNode {
    return this.nodes[number - 1]!;
  }

  makePaths(client: Client, floor: SharedArrayBuffer): ClientPaths {
    const { datapathUuid } = client.identity;
    let home = this.#homes.get(datapathUuid);
    if (home === undefined) {
      home = new Home(this, this.nextHome ?? 1 + this.clock.below(this.nodes.length));
      this.#homes.set(datapathUuid, home);
    }
    return new ClusterPath(client, home, floor);
  }

  override answered(client: Client, operation: Operation, status: IoStatus, term: number): void {
    const { vdisk } = client;
    const sizes = this.sizes.get(vdisk)!;
    super.answered(client, operation, status, term);
    const misfit = this.mayBeFull && status === IoStatus.noSpace ? null : sizes.misfit(operation.wish, status, operation.startedNs);
    if (misfit !== null) this.complaints.push(`vdisk ${vdisk.index}: size: #${operation.op} of client ${client.number} ${misfit}`);
    sizes.heard(term);
  }

  /** What the size does not explain, `answered` looks at. */
  protected override mayRefuse(client: Client, status: IoStatus): boolean {
    return super.mayRefuse(client, status) || (this.isResizing && (status === IoStatus.noSpace || status === IoStatus.invalid));
  }

  /** After each turn of a node. */
  observe(node: ClusterNode): void {
    this.watcher.observe(node);
  }

  onFatal(node: ClusterNode, message: string): void {
    this.fatal.set(node, message);
  }

  onBadBlock(node: ClusterNode, vdiskId: string, offsetBytes: number, lengthBytes: number): void {
    this.complaints.push(
      `node ${node.number}: vdisk ${vdiskId}: ${lengthBytes / 4096} blocks from ${offsetBytes / 4096} on are said to be lost`,
    );
  }

  onProblem(node: ClusterNode, vdiskId: string, problem: string): void {
    const isExpected = /already|is starting/.test(problem) || ((this.mayBeFull || this.waitsForSpace) && problem.includes('is full'));
    if (problem !== '' && !isExpected) this.complaints.push(`node ${node.number} does not hold vdisk ${vdiskId}: ${problem}`);
  }

  #gone(node: ClusterNode): void {
    this.fatal.delete(node);
    node.gone();
    this.watcher.gone(node);
    for (const other of this.nodes) if (other !== node && other.part !== null) other.peers!.peerGone(node.number);
  }
}
