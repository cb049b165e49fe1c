import { VirtualClock } from 'uring-engine/faulty';
import type { Group, ReplicationMutations, Seen } from '../../../src/stargate/core/replication/effects.js';
import type { MemberId } from '../../../src/stargate/core/replication/entry.js';
import { baseOfMember, nodeOfMember } from '../../../src/wire/replicate.js';
import { taggedBody } from './body.js';
import { Checker } from './checker.js';
import { SimMetadata } from './metadata.js';
import { MS, SimNetwork, type Weather } from './network.js';
import { SimNode } from './node.js';

/** The mutants of the design's list that this simulation knows: those of the core, and one of the store's identity. */
export type Mutant = keyof ReplicationMutations | 'amnesiacKept' | 'memoryKept';

export interface ClusterOptions {
  readonly seed: number;
  readonly mutant?: Mutant | undefined;
  readonly durability?: 'always' | 'flush' | undefined;
  /** Keep the timeline as text. */
  readonly isReadable?: boolean;
  /** Make its hash. */
  readonly isHashed?: boolean;
}

/** One vdisk's group: nodes, network, metadata store, and a client that writes tags which nobody writes twice. */
export class ClusterWorld {
  readonly clock: VirtualClock;
  readonly network: SimNetwork;
  readonly metadata: SimMetadata;
  readonly checker = new Checker();
  readonly nodes: readonly SimNode[];
  readonly counters = {
    takeovers: 0,
    proposals: 0,
    unknown: 0,
    resigned: 0,
    admitted: 0,
    commits: 0,
    alarm: 0,
    crashes: 0,
    wiped: 0,
    left: 0,
    /** Takeovers from a log that may lack something; and those while a member still had its memory. */
    cold: 0,
    coldTooSoon: 0,
  };
  readonly lines: string[] = [];
  readonly replicationFactor: number;
  readonly minMembers: number;
  readonly mutations: ReplicationMutations;
  readonly syncMs: number;
  #hash = 0x811c9dc5;
  #tags = 0;

  constructor(readonly options: ClusterOptions) {
    this.clock = new VirtualClock(options.seed);
    const { clock } = this;
    const { mutant } = options;
    this.mutations = mutant === undefined || mutant === 'amnesiacKept' || mutant === 'memoryKept' ? {} : { [mutant]: true };
    const count = 3 + clock.below(3);
    this.replicationFactor = 2 + clock.below(2);
    this.minMembers = this.replicationFactor === 2 ? 1 : 1 + clock.below(2);
    this.syncMs = [1, 5, 20][clock.below(3)]!;
    const weather: Weather = {
      loss: [0, 0.02, 0.1][clock.below(3)]!,
      doubled: [0, 0.05, 0.2][clock.below(3)]!,
      delayMs: [2, 10, 40][clock.below(3)]!,
    };
    this.network = new SimNetwork(clock, count + 1, weather);
    this.nodes = Array.from({ length: count }, (_, i) => new SimNode(this, i));
    const members = this.nodes.slice(0, this.replicationFactor).map(node => node.base);
    // Placed, and never served yet.
    this.metadata = new SimMetadata({ epoch: 1, term: 0, controller: members[0]!, members, nonce: 'placed', historyId: 1 });
  }

  // ---------------------------------------------------------------- what happened

  say(line: () => string): void {
    const { isReadable, isHashed } = this.options;
    if (!isReadable && !isHashed) return;
    const text = `${(this.clock.nowNs / MS).toFixed(3).padStart(12)} ms  ${line()}`;
    for (let i = 0; i < text.length; i++) this.#hash = Math.imul(this.#hash ^ text.charCodeAt(i), 0x01000193);
    if (isReadable) this.lines.push(text);
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  // ---------------------------------------------------------------- who is who

  nodeOf(member: MemberId): SimNode {
    return this.nodes[Number(/^n(\d+)/.exec(member)![1])]!;
  }

  get group(): Group {
    return this.metadata.group;
  }

  /** Those whose stores are still the ones that the record names. */
  get members(): SimNode[] {
    return this.group.members.map(id => this.nodeOf(id)).filter(node => this.group.members.includes(node.id));
  }

  /** Those whose stores are; they may have started again. */
  get holders(): SimNode[] {
    return this.group.members.map(id => this.nodeOf(id)).filter(node => this.group.members.some(id => baseOfMember(id) === node.base));
  }

  get isForgetful(): boolean {
    return this.options.durability === 'flush';
  }

  /** What the metadata store shows beside the record. */
  get seen(): Seen | undefined {
    if (!this.isForgetful) return undefined;
    const living = this.nodes.filter(node => node.isUp && !node.isPaused);
    return { current: this.nodes.map(node => node.id), living: living.map(({ id }) => nodeOfMember(id)) };
  }

  /** The record has changed: whether somebody takes over from what is on its disk, and who could have had more. */
  recordChanged(before: Group): void {
    const { group } = this;
    if ((group.lossTerm ?? 0) <= (before.lossTerm ?? 0)) return;
    this.counters.cold++;
    const hasMemory = before.members.some(id => this.nodes.some(node => node.id === id && node.isUp));
    if (hasMemory) this.counters.coldTooSoon++;
  }

  get controller(): SimNode | undefined {
    return this.nodes.find(node => node.isServing && node.term === this.group.term);
  }

  pick<T>(list: readonly T[]): T | undefined {
    return list[this.clock.below(list.length)];
  }

  // ---------------------------------------------------------------- clients and placement

  /** Writes at a node that says it serves: perhaps one whose term is over. */
  write(): void {
    const node = this.pick(this.nodes.filter(one => one.isServing && !one.isPaused));
    node?.step({ kind: 'write', body: taggedBody(`w${++this.#tags}`) });
  }

  takeOver(node: SimNode | undefined): void {
    if (node === undefined || !node.isUp || node.isPaused) return;
    this.say(() => `${node.id} is asked to take over`);
    node.step({ kind: 'takeOver' });
  }

  /** A replica is missing: the controller is asked to take in a node that has none. */
  place(): void {
    const { group, controller } = this;
    if (group.members.length >= this.replicationFactor || controller === undefined || controller.isPaused) return;
    const node = this.pick(this.nodes.filter(one => one.isUp && !group.members.includes(one.id)));
    if (node === undefined) return;
    this.say(() => `${controller.id} is asked to take ${node.id} in`);
    controller.step({ kind: 'addMember', member: node.id });
  }

  /** What the metadata store shows of the nodes, as the controllers read it. */
  showAlive(): void {
    const members = this.nodes.filter(node => node.isUp && !node.isPaused).map(node => node.id);
    for (const node of this.nodes) {
      if (!node.isServing || node.isPaused) continue;
      node.step({ kind: 'alive', members });
      // A watch, which may break.
      if (this.clock.below(4) === 0) node.step({ kind: 'recordSeen', term: this.group.term });
    }
  }
}
