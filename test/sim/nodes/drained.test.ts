import { expect, it } from 'vitest';
import { MAX_EVENTS } from '../limits.js';
import { Cluster } from './cluster.js';
import { RECOVERY_NS } from './limits.js';
import { numberOf } from './metadata.js';

const SEEDS = 4;

/** Three nodes with one vdisk, and a datapath on the machine of one that is drained: it asks that one first. */
class Drained {
  readonly cluster: Cluster;
  readonly drained: number;

  constructor(seed: number) {
    this.cluster = new Cluster({ seed, shape: { nodeCount: 3, replicationFactor: 3, minMembers: 1, vdiskCount: 1, hotBlocks: 6 } });
    for (const node of this.cluster.nodes) node.start();
    this.drained = 1 + (seed % 3);
    this.cluster.nextHome = this.drained;
    this.cluster.startDatapath(1, false, 4, true);
    const { counters } = this.cluster;
    this.until(() => counters.asked > 20);
    for (const node of this.cluster.nodes) node.part!.groups!.setDraining([`node-${this.drained}`]);
    this.until(() => this.controller !== this.drained && this.members === 3);
    this.serve();
  }

  get controller(): number {
    return numberOf(this.#group.controller);
  }

  get members(): number {
    return this.#group.members.length;
  }

  get #group() {
    return this.cluster.metadata.groups.get(this.cluster.vdisks[0]!.id)!;
  }

  /** Until requests are answered that were asked from now on. */
  serve(): void {
    const { counters } = this.cluster;
    const before = counters.asked;
    this.until(() => counters.asked > before + 40);
  }

  until(done: () => boolean): void {
    const { clock, complaints } = this.cluster;
    const endNs = clock.nowNs + RECOVERY_NS;
    for (let events = 0; !done(); events++) {
      if (clock.nowNs >= endNs || events === MAX_EVENTS || complaints.length > 0) throw new Error(`no end: ${complaints.join('; ')}`);
      this.cluster.step();
    }
  }
}

it('a drained node leaves a takeover to another member, also where the datapath is on its machine', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const world = new Drained(seed);
    const killed = world.controller;
    world.cluster.node(killed).kill();
    world.until(() => world.controller !== killed);
    expect(world.controller, `seed ${seed}`).not.toBe(world.drained);
    world.serve();
  }
});

it('a drained node takes over where no other member is left', () => {
  const world = new Drained(1);
  for (const node of world.cluster.nodes) if (node.number !== world.drained) node.kill();
  world.until(() => world.controller === world.drained);
  world.serve();
});

it('a drained node takes over where the other member, which lives, cannot be reached', () => {
  const world = new Drained(1);
  const { nodes, network } = world.cluster;
  const killed = world.controller;
  const other = nodes.find(({ number }) => number !== killed && number !== world.drained)!.number;
  network.block(world.drained, other);
  network.block(other, world.drained);
  world.cluster.node(killed).kill();
  world.until(() => world.controller === world.drained);
  world.serve();
});
