import { describe, expect, it } from 'vitest';
import type { EventDraft } from '../../../src/base/events.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { findingsIn } from '../checker.js';
import type { NodeShape } from '../node.js';
import { CalmWorld, HOT_BLOCKS, SECOND } from './calm.js';
import type { ClusterShape } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import { batchesOn, rotBatch, rotPayload, type EntryOnDisk } from './log-on-disk.js';

/** Nodes that are all killed while nothing of the last writes is drained, and lose parts of their logs meanwhile. */
class LogRotWorld extends CalmWorld {
  readonly told: { readonly node: number; readonly event: EventDraft }[] = [];

  constructor(seed: number, shape: Partial<NodeShape> & ClusterShape = {}) {
    super(seed, shape);
    for (const node of this.cluster.nodes) node.onEvent = event => this.told.push({ node: node.number, event });
    this.writeAll();
    this.drain();
    this.writeAll();
    // The last entries are known to be durable when the log has been idle.
    this.pass(0.3 * SECOND);
    this.isUndrained();
  }

  isUndrained(): void {
    for (const node of this.members) {
      const { local, replica } = this.replica(node);
      expect(local.drained.seq).toBeLessThan(replica.member.log.lastSeq - HOT_BLOCKS / 8);
    }
  }

  pass(ns: number): void {
    const { clock } = this.cluster;
    const end = clock.nowNs + ns;
    clock.after(ns, () => undefined);
    this.until(() => clock.nowNs >= end, 'the time');
  }

  kill(nodes: readonly ClusterNode[] = this.cluster.nodes): readonly ClusterNode[] {
    for (const node of nodes) if (node.part !== null) node.kill();
    return nodes;
  }

  start(nodes: readonly ClusterNode[] = this.cluster.nodes): void {
    for (const node of nodes) if (node.part === null) node.start();
  }

  /** Of the last writes, oldest first. */
  writes(node: ClusterNode, count = HOT_BLOCKS / 4): EntryOnDisk[] {
    return batchesOn(node, 0)
      .filter(({ wasDurable }) => wasDurable)
      .flatMap(({ entries }) => entries)
      .filter(({ kind }) => kind === EntryKind.write)
      .slice(-count);
  }

  /** All is served by all members, with equal contents, and what was written is read. */
  isWhole(): void {
    this.complete();
    expect(this.ask(IoOp.read, 0, 16)).toBe(IoStatus.ok);
    for (let block = 0; block < HOT_BLOCKS; block += 8) expect(this.ask(IoOp.read, block, 8)).toBe(IoStatus.ok);
    this.drain();
    expect(this.compare()).toEqual([]);
    expect(findingsIn(this.cluster.vdisks)).toEqual([]);
    expect(this.cluster.complaints.filter(one => !one.includes('does not hold'))).toEqual([]);
    expect(this.cluster.nodes.flatMap(node => node.part?.problems ?? [])).toEqual([]);
  }

  kinds(kind: EventDraft['kind']): number[] {
    return this.told.filter(({ event }) => event.kind === kind).map(({ node }) => node);
  }
}

describe('rot in the logs of replicas', () => {
  it('at different places on all members: each is refilled by the other, and nothing is lost', () => {
    const world = new LogRotWorld(1);
    const [a, b] = world.members as [ClusterNode, ClusterNode];
    world.kill();
    for (const i of [1, 2, 6]) rotPayload(a, world.writes(a)[i]!);
    for (const i of [3, 4, 8]) rotPayload(b, world.writes(b)[i]!);
    world.start();
    world.isWhole();
    expect(new Set(world.kinds('rot-mended'))).toEqual(new Set([a.number, b.number]));
    expect(world.kinds('replica-discarded')).toEqual([]);
  });

  it('that hides what was there: the entries behind it name what is missing, also to members that have lost other ones', () => {
    const world = new LogRotWorld(2);
    const [a, b] = world.members as [ClusterNode, ClusterNode];
    world.kill();
    const [ofA, ofB] = [world.writes(a), world.writes(b)];
    rotBatch(a, ofA[2]!.batch);
    rotBatch(b, ofB[7]!.batch);
    expect(ofA[2]!.batch.entries.some(({ seq }) => seq >= ofB[7]!.seq)).toBe(false);
    world.start();
    world.isWhole();
    expect(new Set(world.kinds('rot-mended'))).toEqual(new Set([a.number, b.number]));
  });

  it('is refilled durably: the next start needs nobody', () => {
    const world = new LogRotWorld(3);
    const [a] = world.members as [ClusterNode];
    world.kill();
    const victims = world.writes(a);
    rotPayload(a, victims[1]!);
    rotBatch(a, victims[5]!.batch);
    world.start();
    world.until(() => world.kinds('rot-mended').length === 1, 'a whole log');
    world.isUndrained();
    world.kill();
    a.start();
    world.until(() => a.isServing, 'a start');
    expect(a.part!.groups!.damaged.size).toBe(0);
    world.until(() => [...a.replicas].some(({ controller }) => controller !== null), 'a controller without the other', 20 * SECOND);
    world.start();
    world.isWhole();
  });

  it('goes on where a crash has left the refill', () => {
    const world = new LogRotWorld(4, { nodeCount: 2, maxLatencyNs: 50_000 });
    const [a] = world.members as [ClusterNode];
    // More than some messages bring.
    for (let round = 0; round < 6; round++) world.writeAll();
    world.pass(0.3 * SECOND);
    world.isUndrained();
    world.kill();
    const victims = world.writes(a, 70).filter((_, i) => i % 10 === 0);
    for (const victim of victims) rotPayload(a, victim);
    world.start();
    const isHere = ({ seq, id0 }: EntryOnDisk): boolean =>
      batchesOn(a, 0).some(({ isCopies, entries }) => isCopies && entries.some(one => one.seq === seq && one.id0 === id0));
    world.until(() => isHere(victims[4]!), 'some of the entries', 2 * SECOND);
    expect(a.part!.groups!.damaged.size).toBe(1);
    a.powerCut();
    a.start();
    world.isWhole();
    const [mended, ...others] = world.told.filter(({ event }) => event.kind === 'rot-mended');
    expect(others).toEqual([]);
    expect(mended!.event.details!['entries']).toBeLessThan(victims.length);
  });

  it('at the same place on all members is refused with the range, by all, and nothing is given up', () => {
    const world = new LogRotWorld(5);
    const { members } = world;
    world.kill();
    const { seq } = world.writes(members[0]!)[4]!;
    for (const node of members)
      rotPayload(
        node,
        world.writes(node).find(one => one.seq === seq)!,
      );
    world.start();
    world.pass(10 * SECOND);
    for (const node of members) {
      const [problem] = node.part!.problems;
      expect(problem?.message).toMatch(
        new RegExp(`^entry ${seq} of its log, which ends with \\d+, is damaged .*no other node that answers has ${seq}$`),
      );
      expect([...node.replicas]).toEqual([]);
    }
    expect(world.kinds('replica-discarded')).toEqual([]);
    // One that has it comes back: as if the disk had been read wrongly.
    const [first] = members as [ClusterNode];
    world.kill([first]);
    rotPayload(
      first,
      world.writes(first).find(one => one.seq === seq)!,
    );
    first.start();
    world.isWhole();
  });

  it('of the end of the log, of which nobody can say how far it went: the others bring it up', () => {
    const world = new LogRotWorld(6);
    const { controller, others } = world;
    const [member] = others as [ClusterNode];
    world.kill([member]);
    const last = world.writes(member).at(-1)!;
    for (const batch of batchesOn(member, 0)) if (batch.lsn >= last.batch.lsn && batch.entries.length > 0) rotBatch(member, batch);
    world.until(() => !world.members.includes(member) && world.controller === controller, 'a member less');
    member.start();
    world.isWhole();
    expect(world.kinds('replica-discarded')).toEqual([member.number]);
    expect(world.members).toContain(member);
    // That is durable too.
    world.kill([member]);
    member.start();
    world.isWhole();
    expect(world.kinds('replica-discarded')).toEqual([member.number]);
  });

  it('of the end of all logs serves nothing: some of it was acknowledged, and nobody knows how much', () => {
    const world = new LogRotWorld(7);
    const { members } = world;
    world.kill();
    members.forEach((node, i) => {
      const from = world.writes(node)[8 + i]!.batch.lsn;
      for (const batch of batchesOn(node, 0)) if (batch.lsn >= from && batch.entries.length > 0) rotBatch(node, batch);
    });
    world.start();
    world.pass(10 * SECOND);
    for (const node of members) expect(node.part!.problems[0]?.message).toMatch(/^its log is damaged at position \d+/);
    expect(world.members.every(node => [...node.replicas].length === 0)).toBe(true);
  });

  it('of a promise alone: what the record says takes its place', () => {
    const world = new LogRotWorld(8);
    const [next] = world.others as [ClusterNode];
    const member = world.controller;
    next.turn(() => world.replica(next).step({ kind: 'takeOver' }));
    world.until(() => world.controller === next, 'another controller');
    world.complete();
    world.writeAll();
    world.pass(0.3 * SECOND);
    const { promisedTerm } = world.replica(member).replica.member;
    world.kill([member]);
    const promises = batchesOn(member, 0).filter(({ entries }) => entries.some(({ kind }) => kind === EntryKind.replicaPromise));
    expect(promises.at(-1)!.wasDurable).toBe(true);
    rotBatch(member, promises.at(-1)!);
    // Nobody asks it for the promise once more.
    const { network, nodes } = world.cluster;
    for (const { number } of nodes) network.block(number, member.number);
    member.start();
    world.until(() => [...member.replicas].length === 1, 'a replica');
    expect(world.replica(member).replica.member.promisedTerm).toBeGreaterThanOrEqual(promisedTerm);
    for (const { number } of nodes) network.clear(number, member.number);
    expect(world.controller).toBe(next);
    world.isWhole();
  });
});
