import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import { IoOp } from '../../../src/wire/path.js';
import type { Client } from '../client.js';
import type { Datapath } from '../datapath.js';
import type { Cluster } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import type { Resizer } from './resizer.js';

/** A directed schedule: what goes wrong, in which order, while a datapath asks as ever. Then all heals, as at the end of each history. */
export interface Story {
  /** Number of the machine of the datapath; of none of the nodes, where it is beyond them. */
  readonly home: number;
  readonly shards?: number;
  readonly depth?: number;
  readonly play: (stage: Stage) => void;
}

const MS = 1e6;
const MAX_STEP_NS = 60e9;

/** The metadata store in the network. */
export const METADATA = 0;

/** What a story does with the nodes, and waits for. One vdisk. */
export class Stage {
  constructor(
    readonly cluster: Cluster,
    readonly datapath: Datapath,
    readonly resizer: Resizer,
  ) {
    const { replicationFactor } = cluster;
    this.until(() => this.members.length === replicationFactor && this.serving !== undefined, 'all members');
  }

  until(done: () => boolean, what: string): void {
    const { clock } = this.cluster;
    const end = clock.nowNs + MAX_STEP_NS;
    while (!done()) {
      // What must not be has come: the rest of the story may not come about.
      if (this.cluster.complaints.length > 0 || clock.nowNs > end)
        throw new Error(`the story waits for ${what}; ${[...this.cluster.fatal.values()].join()}`);
      this.cluster.step();
    }
  }

  for(ms: number): void {
    const { clock } = this.cluster;
    const end = clock.nowNs + ms * MS;
    while (clock.nowNs < end) this.cluster.step();
  }

  /** So many requests more are answered. */
  answers(count: number): void {
    const { counters } = this.cluster;
    const wanted = counters.asked + count;
    this.until(() => counters.asked >= wanted, `${count} answers`);
  }

  get #record(): { readonly members: readonly string[]; readonly controller: string } {
    return this.cluster.metadata.groups.get(this.cluster.vdisks[0]!.id)!;
  }

  get members(): ClusterNode[] {
    return this.cluster.nodes.filter(({ self }) => this.#record.members.includes(self));
  }

  replica(node: ClusterNode): GroupVdisk {
    return [...node.replicas][0]!;
  }

  /** Who the record says controls it, if it serves. */
  get serving(): ClusterNode | undefined {
    return this.cluster.nodes.find(node => this.#record.controller === node.self && this.#serves(node));
  }

  #serves(node: ClusterNode): boolean {
    return node.isServing && [...node.replicas].some(({ controller }) => controller !== null);
  }

  /** The controller and the members that only follow. */
  get cast(): readonly [ClusterNode, ...ClusterNode[]] {
    const controller = this.serving!;
    return [controller, ...this.members.filter(node => node !== controller)];
  }

  block(a: ClusterNode | number, b: ClusterNode | number): void {
    const { network } = this.cluster;
    network.block(numberOf(a), numberOf(b));
    network.block(numberOf(b), numberOf(a));
  }

  blockOneWay(from: ClusterNode | number, to: ClusterNode | number): void {
    this.cluster.network.block(numberOf(from), numberOf(to));
  }

  clear(a: ClusterNode | number, b: ClusterNode | number): void {
    const { network } = this.cluster;
    network.clear(numberOf(a), numberOf(b));
    network.clear(numberOf(b), numberOf(a));
  }

  takeOver(node: ClusterNode): void {
    node.turn(() => this.replica(node).step({ kind: 'takeOver' }));
    this.serves(node);
  }

  serves(node: ClusterNode): void {
    this.until(() => this.serving === node, `node ${node.number} as controller`);
  }

  /** Nothing is asked but what the story asks; all is answered. */
  quiet(): void {
    this.datapath.isPaused = true;
    this.until(() => this.datapath.outstanding === 0, 'the last answers');
  }

  /** Where it asks now. */
  ask(client: Client, op: IoOp, block: number): () => boolean {
    let isAnswered = false;
    client.ask({ op, offsetBytes: block * BLOCK_BYTES, lengthBytes: BLOCK_BYTES }, () => (isAnswered = true));
    return () => isAnswered;
  }

  /** The size is wanted, and asked for at that node; others are asked when it says nothing. */
  resize(blocks: number, at: ClusterNode): void {
    this.resizer.want(blocks, at.nodeId);
  }

  resized(): void {
    this.until(() => this.resizer.isIdle, 'the size');
  }

  write(client: Client, block: number): void {
    this.until(this.ask(client, IoOp.write, block), 'a write');
  }

  read(client: Client, block: number): void {
    this.until(this.ask(client, IoOp.read, block), 'a read');
  }
}

const numberOf = (node: ClusterNode | number): number => (typeof node === 'number' ? node : node.number);
