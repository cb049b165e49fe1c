import { expect, it } from 'vitest';
import { CalmWorld } from './calm.js';
import type { ClusterNode } from './cluster-node.js';

/** Four nodes, one vdisk on three of them. */
class Removing extends CalmWorld {
  constructor(seed: number) {
    super(seed, { nodeCount: 4, replicationFactor: 3, minMembers: 2 });
    this.writeAll();
    this.complete();
  }

  /** All that live hear of it, as of whatever the metadata says of nodes. */
  remove(node: ClusterNode): void {
    for (const { part } of this.cluster.nodes) {
      part?.groups!.setDraining([node.nodeId]);
      part?.groups!.setRemovals(new Map([[node.nodeId, 3]]));
    }
  }

  isMember(node: ClusterNode): boolean {
    return this.members.some(one => one === node);
  }
}

it('a node that is removed gives its copy to another one before it leaves, also where it controls the vdisk', () => {
  for (let seed = 1; seed <= 2; seed++) {
    const world = new Removing(seed);
    const going = seed % 2 === 0 ? world.controller : world.others[0]!;
    let least = world.members.length;
    world.remove(going);
    world.until(() => {
      least = Math.min(least, world.members.length);
      return world.members.length === 3 && !world.isMember(going);
    }, 'another member in its place');
    expect(least, `seed ${seed}`).toBe(3);
    world.writeAll();
    world.drain();
    expect(world.compare()).toEqual([]);
  }
});

it('a controller that is dead and removed is followed though nobody wants the vdisk, and its copy is replaced', () => {
  const world = new Removing(5);
  for (const datapath of world.cluster.datapaths) datapath.die();
  const dead = world.controller;
  dead.kill();
  world.remove(dead);
  world.until(() => world.members.length === 3 && !world.isMember(dead), 'another member in its place');
});
