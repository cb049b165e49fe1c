import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import { HISTORY_JUMP } from '../../../src/stargate/core/replication/limits.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { Client } from '../client.js';
import { CalmWorld, HOT_BLOCKS, SECOND } from './calm.js';
import type { ClusterNode } from './cluster-node.js';
import { readReplica } from './contents.js';

type Contents = ReadonlyMap<number, Buffer | null>;

/** Two nodes, one of which is lost with everything that was acknowledged while it was alone (rule 11). */
class Loss extends CalmWorld {
  readonly lost: ClusterNode;
  readonly left: ClusterNode;
  /** Where the log of the other one ends. */
  readonly lostSeq: number;
  /** What the one that is left has. */
  readonly before: Contents;

  constructor(seed: number, isDrained: boolean) {
    super(seed, { nodeCount: 2, replicationFactor: 2, minMembers: 1 });
    this.writeAll();
    if (isDrained) this.drain();
    else this.complete();
    this.writeAll();
    this.lost = this.controller;
    this.left = this.others[0]!;
    const { local, replica } = this.replica(this.left);
    this.until(() => local.appliedSeq === replica.member.log.lastSeq, 'everything applied');
    this.before = this.contents(this.left);
    this.left.kill();
    this.until(() => this.members.length === 1, 'a member less');
    this.writeAll();
    this.writeAll();
    if (isDrained) this.settle();
    this.lostSeq = this.replica(this.lost).replica.member.log.lastSeq;
  }

  get vdiskId(): string {
    return this.cluster.vdisks[0]!.id;
  }

  get recovered(): boolean {
    return this.left.part !== null && [...this.left.replicas].some(one => one.controller !== null);
  }

  contents(node: ClusterNode): Contents {
    let found: Contents | null = null;
    readReplica(node, this.replica(node), this.cluster.vdisks[0]!, blocks => (found = blocks));
    this.until(() => found !== null, 'contents');
    return found!;
  }

  /** The one that is left comes back, alone. */
  returnAlone(): void {
    this.lost.kill();
    this.left.start();
    this.pass(5 * SECOND);
  }

  pass(ns: number): void {
    const { clock } = this.cluster;
    const end = clock.nowNs + ns;
    clock.after(ns, () => undefined);
    this.until(() => clock.nowNs >= end, 'the time');
  }

  recover(isNew = true): void {
    this.cluster.metadata.recover(this.vdiskId, this.left.member, 2, isNew);
  }

  /** Another attachment: of the first one nobody goes on. */
  attachAnew(): Client {
    const client = this.cluster.startDatapath(1, false, 0, true).clients[0]!;
    this.until(() => client.session.state.kind === 'open', 'a session');
    return client;
  }

  write(client: Client, block: number, blocks: number): void {
    let status: IoStatus | null = null;
    client.ask({ op: IoOp.write, offsetBytes: block * BLOCK_BYTES, lengthBytes: blocks * BLOCK_BYTES }, answered => (status = answered));
    this.until(() => status !== null, 'an answer');
    expect(status).toBe(IoStatus.ok);
  }
}

/** Blocks from `from` on that differ. */
function changed(a: Contents, b: Contents, from = 0): number[] {
  return [...a].filter(([block, content]) => block >= from && !content!.equals(b.get(block)!)).map(([block]) => block);
}

describe('a vdisk whose only whole member never comes back', () => {
  it.each([
    ['log', false],
    ['extents', true],
  ])('is served again from the %s of a former member, by force alone, and ends what was there before', (_name, isDrained) => {
    const world = new Loss(1, isDrained);
    world.returnAlone();
    expect(world.recovered).toBe(false);
    let status: IoStatus | null = null;
    world.client.ask({ op: IoOp.write, offsetBytes: 0, lengthBytes: BLOCK_BYTES }, answered => (status = answered));
    world.pass(SECOND);
    expect(status).toBeNull();
    const { lastSeq } = world.replica(world.left).replica.member.log;
    world.recover();
    world.until(() => world.recovered, 'a controller');
    // The former session has ended, and what it had asked for is not done: its outcome would be one in another history.
    world.until(() => status !== null, 'an answer');
    expect([status, world.client.session.state.kind]).toEqual([IoStatus.closed, 'closed']);
    expect(changed(world.before, world.contents(world.left))).toEqual([]);
    const { base } = world.replica(world.left).replica.member.log;
    expect([base.seq, base.seq > world.lostSeq]).toEqual([lastSeq + HISTORY_JUMP, true]);
    world.write(world.attachAnew(), 0, 8);
    expect(world.left.counters2.recovered).toBe(1);
    expect(world.cluster.complaints).toEqual([]);
  });

  it('takes the lost member in as a new one when it returns after all, with nothing of what that one has', () => {
    const world = new Loss(2, true);
    world.returnAlone();
    world.recover();
    const client = world.attachAnew();
    world.write(client, 0, 8);
    world.lost.start();
    world.complete();
    world.write(client, 4, 8);
    world.drain();
    expect(world.lost.counters2.discarded).toBe(1);
    expect(changed(world.before, world.contents(world.lost), 12)).toEqual([]);
    expect(world.compare()).toEqual([]);
    // And both start again with what they have.
    for (const node of world.cluster.nodes) node.kill();
    for (const node of world.cluster.nodes) node.start();
    world.write(client, HOT_BLOCKS - 4, 4);
    world.complete();
    world.drain();
    expect(changed(world.before, world.contents(world.lost), 12).every(block => block >= HOT_BLOCKS - 4)).toBe(true);
    expect(world.compare()).toEqual([]);
    expect(world.cluster.complaints).toEqual([]);
  });

  it('is not harmed by a member that was only cut off: its controller ends, and what it took is gone', () => {
    const world = new Loss(3, true);
    const { network, nodes } = world.cluster;
    for (let other = 0; other <= nodes.length; other++) {
      network.block(world.lost.number, other);
      network.block(other, world.lost.number);
    }
    world.left.start();
    world.pass(SECOND);
    world.recover();
    world.until(() => world.recovered, 'a controller');
    expect([...world.lost.replicas].some(one => one.controller !== null)).toBe(true);
    network.heal();
    const client = world.attachAnew();
    world.write(client, 0, 8);
    world.complete();
    world.drain();
    expect(world.lost.counters2.discarded).toBe(1);
    expect(changed(world.before, world.contents(world.lost), 8)).toEqual([]);
    expect(world.compare()).toEqual([]);
    expect(world.cluster.complaints).toEqual([]);
  });

  it('comes back however often the node is killed on the way', () => {
    for (let seed = 10; seed < 14; seed++) {
      const world = new Loss(seed, seed % 2 === 0);
      const { clock } = world.cluster;
      world.returnAlone();
      world.recover();
      for (let kill = 0; kill < 3; kill++) {
        world.pass(clock.below(kill === 2 ? 8e9 : 1e8));
        world.left.kill();
        world.left.start();
      }
      world.until(() => world.recovered, 'a controller');
      expect(changed(world.before, world.contents(world.left)), `seed ${seed}`).toEqual([]);
      world.lost.start();
      world.complete();
      world.write(world.attachAnew(), 0, 4);
      world.drain();
      expect(world.compare(), `seed ${seed}`).toEqual([]);
      expect(world.cluster.complaints, `seed ${seed}`).toEqual([]);
    }
  });

  it('is not recovered in the history that it had: then the returning member and the new controller take each other for what they are not', () => {
    const world = new Loss(2, true);
    world.returnAlone();
    world.recover(false);
    const client = world.attachAnew();
    world.write(client, 0, 8);
    world.lost.start();
    world.pass(20 * SECOND);
    const { left, lost, cluster } = world;
    const found = [...cluster.complaints, ...world.compareAll([left, lost])];
    expect(found.filter(one => one.includes('divergent'))).not.toEqual([]);
  });
});
