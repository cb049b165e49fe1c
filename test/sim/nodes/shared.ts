import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import { IoOp } from '../../../src/wire/path.js';
import { findingsIn } from '../checker.js';
import type { Datapath } from '../datapath.js';
import { MAX_EVENTS } from '../limits.js';
import type { NodeBugs } from '../node.js';
import { Cluster } from './cluster.js';
import { RECOVERY_NS } from './limits.js';
import { numberOf } from './metadata.js';
import { activate } from './migrations.js';

const HOLDER = 2;

export interface MigrationResult {
  readonly violations: readonly string[];
  /** Of the vdisk, while its controller was cut off. */
  readonly takeovers: number;
}

/**
 * One live migration by seed: a datapath that holds the vdisk and writes, another one that shares it and reads, at the machine of the controller. That machine is
 * cut off, with the shared reader: it goes on asking a controller that has been followed by another one. Then all heals, and the reader is activated while the holder writes.
 */
export class Migration {
  readonly cluster: Cluster;
  readonly #holder: Datapath;

  constructor(seed: number, bugs?: NodeBugs) {
    this.cluster = new Cluster({ seed, ...(bugs && { bugs }), shape: { nodeCount: 3, vdiskCount: 1, hotBlocks: 6 } });
    this.cluster.nextHome = HOLDER;
    for (const node of this.cluster.nodes) node.start();
    this.#holder = this.cluster.startDatapath(1, false, 4, true);
  }

  run(): MigrationResult {
    const { cluster } = this;
    const { clock, network, counters } = cluster;
    this.#until(() => counters.asked > 20, 'the first answers');
    const controller = this.#controller;
    cluster.nextHome = controller;
    const shared = cluster.startShared(1, 4);
    const [client] = shared.clients;
    this.#until(() => client!.session.counters.opened > 0 && counters.reads > 20, 'reads of the shared attachment');
    const takeoversBefore = this.#takeovers;
    for (let other = 0; other <= cluster.nodes.length; other++) {
      network.block(controller, other);
      network.block(other, controller);
    }
    this.#for(2e9 + clock.below(2e9));
    network.heal();
    const takeovers = this.#takeovers - takeoversBefore;
    this.#for(clock.below(1e9));
    if (this.#holder.clients.some(client => client.isOver)) cluster.complaints.push('the holder was ended before the activation');
    let isActivated = false;
    activate(cluster, shared, () => (isActivated = true));
    this.#until(() => isActivated && this.#holder.clients.every(client => client.isOver), 'the activation');
    this.#for(clock.below(1e9));
    shared.isPaused = true;
    this.#until(() => shared.outstanding === 0, 'the last answers');
    for (const { block, blocks } of client!.vdisk.workload.runs(8))
      client!.ask({ op: IoOp.read, offsetBytes: block * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES });
    this.#until(() => shared.outstanding === 0, 'the final reads');
    const violations = [...cluster.complaints, ...findingsIn(cluster.vdisks).map(({ message }) => message)];
    for (const node of cluster.nodes) node.disk.killAll();
    return { violations, takeovers };
  }

  get #controller(): number {
    return numberOf(this.cluster.metadata.groups.get(this.cluster.vdisks[0]!.id)!.controller);
  }

  get #takeovers(): number {
    return this.cluster.metadata.groups.get(this.cluster.vdisks[0]!.id)!.term;
  }

  #for(forNs: number): void {
    const { clock } = this.cluster;
    const endNs = clock.nowNs + forNs;
    this.#steps(() => clock.nowNs >= endNs);
  }

  #until(done: () => boolean, what: string): void {
    const { clock, complaints } = this.cluster;
    const endNs = clock.nowNs + RECOVERY_NS;
    this.#steps(() => done() || clock.nowNs >= endNs || complaints.length > 0);
    if (!done() && complaints.length === 0) complaints.push(`no progress: ${what} did not come about`);
  }

  #steps(done: () => boolean): void {
    for (let events = 0; !done(); events++) {
      if (events === MAX_EVENTS) throw new Error(`simulation: no end in ${MAX_EVENTS} events`);
      this.cluster.step();
    }
  }
}
