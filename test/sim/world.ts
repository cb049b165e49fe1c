import type { FaultOperation } from 'uring-engine/faulty';
import type { Client, ClientPaths } from './client.js';
import { Load, type Pace } from './load.js';
import { drainsOf, SimNode, type NodeBugs, type NodeShape } from './node.js';
import { OnePath } from './one-path.js';
import { traceKind } from './trace.js';

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

export interface WorldOptions {
  readonly seed: number;
  readonly bugs?: NodeBugs;
  /** Keep the trace as text. */
  readonly isRead?: boolean;
  /** Instead of what the seed says. */
  readonly shape?: Partial<NodeShape> & { readonly vdiskCount?: number; readonly hotBlocks?: number };
}

const PACE: Pace = { maxThinkNs: [40_000, 150_000, 600_000], maxLongNs: 8_000_000 };

/** A node with its disk, datapaths with their clients, what they have seen. */
export class World extends Load {
  readonly node: SimNode;
  readonly pace = PACE;
  /** What the node said when it gave up. */
  fatal = '';
  corruptBlocks = 0;
  /** Told of each disk operation that was carried out. */
  onDisk: (operation: FaultOperation, path: string, atBytes: number, lengthBytes: number) => void = () => undefined;
  readonly #paths: OnePath[] = [];

  constructor(readonly options: WorldOptions) {
    const { seed, isRead, shape: { vdiskCount, hotBlocks, durability } = {} } = options;
    super({ seed, isRead, vdiskCount, hotBlocks, isVolatile: durability === 'flush' });
    const { clock } = this;
    const shape: NodeShape = {
      vdisks: this.vdisks.map(({ id }) => id),
      streams: 1 + clock.below(2),
      segmentBytes: [128, 192, 256][clock.below(3)]! << 10,
      segments: 4 + clock.below(4),
      cachePages: [8, 32, 128][clock.below(3)]!,
      maxLatencyNs: [100_000, 300_000, 1_500_000][clock.below(3)]!,
      drains: drainsOf(seed),
      ...options.shape,
    };
    this.node = new SimNode(clock, this.memory, this.trace, shape, this, options.bugs);
    this.node.onGone = () => this.#nodeGone();
    this.node.disk.observer = (operation, path, at, length, result) => this.#onDisk(operation, path, at, length, result);
  }

  makePaths(client: Client, floor: SharedArrayBuffer, isDirect: boolean): ClientPaths {
    const paths = new OnePath(client, this.node, floor, isDirect);
    this.#paths.push(paths);
    return paths;
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
    for (const paths of this.#paths) if (!paths.client.isDead && !paths.client.isOver) paths.nodeGone();
  }

  #onDisk(operation: FaultOperation, path: string, atBytes: number, lengthBytes: number, result: number): void {
    const name = this.trace.nameOf(path);
    if (this.trace.isRead) names[name] = path;
    this.trace.add(Disk, OPERATIONS.indexOf(operation), name, atBytes, lengthBytes, result);
    this.onDisk(operation, path, atBytes, lengthBytes);
  }
}
