import { expect } from 'vitest';
import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { Client } from '../client.js';
import type { NodeShape } from '../node.js';
import { Cluster, type ClusterShape } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import { differences, readReplica } from './contents.js';

export const HOT_BLOCKS = 48;
const SHAPE = {
  nodeCount: 3,
  vdiskCount: 1,
  keepSurplusMs: 600_000,
  hotBlocks: HOT_BLOCKS,
  streams: 1,
  segmentBytes: 256 << 10,
  segments: 24,
  cachePages: 8,
};
export const SECOND = 1e9;

/** One vdisk on the first nodes of a cluster where nothing goes wrong but what the test does. */
export class CalmWorld {
  readonly cluster: Cluster;
  readonly client: Client;

  constructor(seed: number, shape: Partial<NodeShape> & ClusterShape = {}) {
    this.cluster = new Cluster({ seed, shape: { ...SHAPE, replicationFactor: 2, ...shape } });
    const { cluster } = this;
    for (const node of cluster.nodes) node.start();
    const datapath = cluster.startDatapath(1, false, 0, true);
    this.client = datapath.clients[0]!;
    this.until(() => this.client.session.state.kind === 'open', 'a session');
  }

  until(done: () => boolean, what: string, withinNs = 300 * SECOND): void {
    const { clock } = this.cluster;
    const end = clock.nowNs + withinNs;
    while (!done()) {
      if (clock.nowNs > end) throw new Error(`${what} did not come about`);
      this.cluster.step();
    }
  }

  replica(node: ClusterNode): GroupVdisk {
    return [...node.replicas][0]!;
  }

  controls(node: ClusterNode): boolean {
    return node.part !== null && [...node.replicas].some(({ controller }) => controller !== null);
  }

  /** As many members as there are to be, one of them in control. */
  complete(): void {
    const { replicationFactor } = this.cluster;
    const isComplete = (): boolean => this.members.length === replicationFactor && this.members.some(node => this.controls(node));
    this.until(isComplete, 'all members');
  }

  get members(): ClusterNode[] {
    const { members } = this.cluster.metadata.groups.get(this.cluster.vdisks[0]!.id)!;
    return this.cluster.nodes.filter(node => members.includes(node.member));
  }

  get controller(): ClusterNode {
    return this.members.find(node => this.controls(node))!;
  }

  get others(): ClusterNode[] {
    return this.members.filter(node => node !== this.controller);
  }

  ask(op: IoOp, block: number, blocks = 1): IoStatus {
    let status: IoStatus | null = null;
    this.client.ask({ op, offsetBytes: block * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES }, answered => (status = answered));
    this.until(() => status !== null, 'an answer');
    return status!;
  }

  writeAll(): void {
    for (let block = 0; block < HOT_BLOCKS; block += 4) expect(this.ask(IoOp.write, block, 4)).toBe(IoStatus.ok);
  }

  /** All of it is in the extents of all members. */
  drain(): void {
    this.complete();
    this.settle();
  }

  settle(): void {
    const isDrained = (node: ClusterNode): boolean => {
      const { local, replica } = this.replica(node);
      return local.index.isEmpty && local.appliedSeq === replica.member.log.lastSeq;
    };
    this.until(() => this.members.every(isDrained), 'drained replicas');
  }

  /** Every block as each member has it. */
  compare(): string[] {
    return this.compareAll(this.members);
  }

  compareAll(nodes: readonly ClusterNode[]): string[] {
    const vdisk = this.cluster.vdisks[0]!;
    const contents = new Map<ClusterNode, Map<number, Buffer | null>>();
    for (const node of nodes) readReplica(node, this.replica(node), vdisk, blocks => contents.set(node, blocks));
    this.until(() => contents.size === nodes.length, 'contents');
    return differences(vdisk, contents);
  }
}

/** One where disks rot. Whatever nobody has is expected to be said. */
export class DamagedWorld extends CalmWorld {
  readonly bad: string[] = [];

  constructor(seed: number, shape: Partial<NodeShape> & ClusterShape = {}) {
    super(seed, shape);
    const { cluster } = this;
    cluster.onBadBlock = (node, _vdisk, offsetBytes, lengthBytes) =>
      void this.bad.push(`node ${node.number}: block ${offsetBytes / BLOCK_BYTES} + ${lengthBytes / BLOCK_BYTES}`);
    cluster.mayBeCorrupt = true;
  }
}
