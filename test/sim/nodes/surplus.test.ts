import { describe, expect, it } from 'vitest';
import { CalmWorld } from './calm.js';
import type { ClusterNode } from './cluster-node.js';

const KEEP_MS = 2_000;
const MS = 1e6;

/** Three nodes, one vdisk on two of them. A member was away, and when it is back the third node has taken its place. */
class LeftOver extends CalmWorld {
  readonly left: ClusterNode;

  constructor(seed: number) {
    super(seed, { replicationFactor: 2, keepSurplusMs: KEEP_MS });
    this.complete();
    this.writeAll();
    this.drain();
    this.left = this.others[0]!;
    this.left.kill();
    this.until(() => this.members.length === 2 && !this.members.includes(this.left), 'another member in its place');
    this.complete();
    this.left.start();
    this.until(() => this.hasReplica(this.left), 'the copy from before');
  }

  get vdiskId(): string {
    return this.cluster.vdisks[0]!.id;
  }

  hasReplica(node: ClusterNode): boolean {
    return node.part !== null && [...node.replicas].length > 0;
  }

  /** Nothing of the copy is left, in memory or on the disk. */
  isGone(node: ClusterNode): boolean {
    const store = node.part?.options.ports.store;
    return store !== undefined && !this.hasReplica(node) && store.layersOf(this.vdiskId).length + store.deletingLayers().length === 0;
  }

  restart(node: ClusterNode): void {
    node.kill();
    node.start();
    this.until(() => node.isServing, 'its start');
  }
}

describe('a copy that its group has no place for', () => {
  it('is removed after some time; its node can hold one again, and start with what both left in its log', () => {
    const world = new LeftOver(1);
    const { left } = world;
    const sinceNs = world.cluster.clock.nowNs;
    world.until(() => left.counters2.letGo === 1, 'the end of the copy');
    expect(world.isGone(left)).toBe(true);
    expect(world.cluster.clock.nowNs - sinceNs).toBeGreaterThan((KEEP_MS - 100) * MS);

    world.restart(left);
    expect(left.part!.problems).toEqual([]);
    expect(world.isGone(left)).toBe(true);

    world.others[0]!.kill();
    world.until(() => world.members.length === 2 && world.members.includes(left), 'it as a member again');
    world.writeAll();
    world.drain();
    expect(world.compare()).toEqual([]);
    world.restart(left);
    world.complete();
    world.drain();
    expect(left.part!.problems).toEqual([]);
    expect(world.compare()).toEqual([]);
  });

  it('is removed whenever its node dies meanwhile', () => {
    let seen = 0;
    for (let afterMs = 0; afterMs <= 8; afterMs++) {
      const world = new LeftOver(2);
      const { left, cluster } = world;
      world.until(() => !world.hasReplica(left), 'the beginning of its end');
      const deathNs = cluster.clock.nowNs + afterMs * MS;
      world.until(() => cluster.clock.nowNs >= deathNs, 'that moment');
      if (!world.isGone(left)) seen++;
      world.restart(left);
      world.until(() => world.isGone(left), `the end of the copy, its node killed after ${afterMs} ms`);
      expect(left.part!.problems).toEqual([]);
    }
    expect(seen).toBeGreaterThan(2);
  });

  it('stays while a member is away, and takes its place', () => {
    const world = new LeftOver(3);
    const { left, cluster } = world;
    const resyncs = left.counters2.resyncs;
    world.others[0]!.kill();
    const endNs = cluster.clock.nowNs + 3 * KEEP_MS * MS;
    world.until(() => world.members.includes(left), 'it as a member again');
    world.until(() => cluster.clock.nowNs >= endNs, 'the time after which it would have gone');
    expect(left.counters2.letGo).toBe(0);
    expect(left.counters2.resyncs - resyncs).toBeLessThanOrEqual(1);
    world.drain();
    expect(world.compare()).toEqual([]);
    expect(world.members.length).toBe(2);
  });
});
