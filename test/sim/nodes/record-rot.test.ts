import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, BlockState, newBlockStates, RECORD_BLOCKS } from '../../../src/stargate/core/ports.js';
import { chunkKey } from '../../../src/stargate/store/format.js';
import { readerOf } from '../../../src/stargate/store/simulated.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { EXTENTS } from '../node.js';
import { DamagedWorld, HOT_BLOCKS, SECOND } from './calm.js';
import type { ClusterNode } from './cluster-node.js';

/** Of a simulated store. */
const CACHED_RECORDS = 64;

/** All blocks that the load writes have their states in one record of the block store. */
class RecordWorld extends DamagedWorld {
  /** A bit of the record changes on the node's medium, and it is in the node's memory no more. */
  rot(node: ClusterNode): void {
    // Twice each: what is wanted again pushes others out.
    for (let look = 2; look < 8 * CACHED_RECORDS; look++) this.#look(node, Math.floor(look / 2));
    const key = chunkKey(this.replica(node).options.layer, 0, 0).toString('hex');
    node.storeDisk.records.get(key)![9]! ^= 1;
    expect(this.lost(node)).toBe(RECORD_BLOCKS);
  }

  lost(node: ClusterNode): number {
    return this.#look(node, 0).filter(state => state === BlockState.lost).length;
  }

  #look(node: ClusterNode, record: number): Uint8Array {
    const states = newBlockStates(RECORD_BLOCKS);
    const { local, options } = this.replica(node);
    local.ports.store.lookup(options.layer, 0, record * RECORD_BLOCKS, RECORD_BLOCKS, states);
    return states.state;
  }

  written(): void {
    this.writeAll();
    this.drain();
  }

  refilled(node: ClusterNode): number {
    return node.part!.rot.refilledRecords;
  }

  /** Nobody has got an error, and every node is whole. */
  isWhole(): void {
    expect(this.compare()).toEqual([]);
    expect([this.bad, this.cluster.complaints]).toEqual([[], []]);
    for (const node of this.members) expect(verifyStore(readerOf(node.storeDisk))).toEqual([]);
  }
}

describe('a damaged record of the block store', () => {
  it('is written anew from another member when its controller reads', () => {
    const world = new RecordWorld(21);
    world.written();
    // Holes and zeroes have their states, too.
    expect(world.ask(IoOp.zero, 30, 3)).toBe(IoStatus.ok);
    world.drain();
    const { controller } = world;
    world.rot(controller);
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    expect(world.refilled(controller)).toBe(1);
    expect(controller.part!.rot.damagedBlocks).toBe(0);
    world.isWhole();
  });

  it('is, before a partial block is merged', () => {
    const world = new RecordWorld(22);
    world.written();
    world.rot(world.controller);
    let status: IoStatus | null = null;
    world.client.ask({ op: IoOp.write, offsetBytes: 7 * BLOCK_BYTES + 1024, lengthBytes: 1024 }, answered => (status = answered));
    world.until(() => status !== null, 'an answer');
    expect(status).toBe(IoStatus.ok);
    world.drain();
    world.isWhole();
  });

  it('of all members is lost but for what was drained over it since', () => {
    const world = new RecordWorld(23);
    world.written();
    const { controller } = world;
    const [member] = world.others as [ClusterNode];
    world.rot(controller);
    world.rot(member);
    expect(world.ask(IoOp.write, 0, 8)).toBe(IoStatus.ok);
    world.drain();
    expect([world.lost(controller), world.lost(member)]).toEqual([RECORD_BLOCKS - 8, RECORD_BLOCKS - 8]);
    expect(world.ask(IoOp.read, 0, 8)).toBe(IoStatus.ok);
    expect(world.ask(IoOp.read, 8)).toBe(IoStatus.corrupt);
    expect(world.bad).toEqual([`node ${controller.number}: block 8 + 1`]);
  });

  it('keeps what was written behind the damage, and takes only what is lost from others', () => {
    const world = new RecordWorld(24);
    world.written();
    const { controller } = world;
    world.rot(controller);
    expect(world.ask(IoOp.write, 3, 5)).toBe(IoStatus.ok);
    world.drain();
    expect(world.lost(controller)).toBe(RECORD_BLOCKS - 5);
    expect(world.ask(IoOp.write, 5, 2)).toBe(IoStatus.ok);
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    world.drain();
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    expect(world.refilled(controller)).toBeGreaterThan(0);
    expect(world.lost(controller)).toBe(0);
    world.isWhole();
  });

  it('is refilled beside damaged blocks, which are repaired', () => {
    const world = new RecordWorld(25);
    world.written();
    const { controller } = world;
    const { layer } = world.replica(controller).options;
    for (const block of [4, 9]) controller.disk.rot(`${EXTENTS}/${layer}/0.ext`, block * BLOCK_BYTES + 77, 8);
    world.rot(controller);
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    world.until(() => controller.part!.rot.repairedBlocks === 2, 'two repaired blocks');
    world.isWhole();
  });

  it('that no member has whole fails reads of what it says until that is written anew', () => {
    const world = new RecordWorld(26);
    world.written();
    const { controller } = world;
    for (const node of world.members) world.rot(node);
    expect(world.ask(IoOp.read, 10, 4)).toBe(IoStatus.corrupt);
    expect(world.bad).toEqual([`node ${controller.number}: block 10 + 4`]);
    world.written();
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    expect(world.compare()).toEqual([]);
  });

  it('is found by the scrubber where nobody reads, at the controller and at a member', () => {
    const world = new RecordWorld(27, { scrubBytesPerSecond: 256 << 10 });
    world.written();
    const { controller } = world;
    const [member] = world.others as [ClusterNode];
    world.rot(member);
    world.until(() => world.refilled(member) === 1, 'a refilled record');
    world.written();
    world.rot(controller);
    world.until(() => world.refilled(controller) === 1, 'a refilled record');
    world.until(() => member.part!.scrubber.progress!.passes > 2, 'passes');
    expect([world.refilled(controller), world.refilled(member)]).toEqual([1, 1]);
    world.isWhole();
  });

  it('that nobody has whole is said by the scrubber', () => {
    const world = new RecordWorld(28, { scrubBytesPerSecond: 256 << 10 });
    world.written();
    for (const node of world.members) world.rot(node);
    world.until(() => world.bad.length >= 2, 'two reports');
    expect([...world.bad].sort()).toEqual(world.members.map(node => `node ${node.number}: block 0 + 64`).sort());
  });

  it('waits for the answer of a member that is silent for a moment, or is removed', () => {
    const world = new RecordWorld(29, { replicationFactor: 3 });
    world.written();
    const { controller, others } = world;
    const [silent, whole] = others as [ClusterNode, ClusterNode];
    world.rot(controller);
    world.rot(silent);
    world.cluster.network.block(whole.number, controller.number);
    world.cluster.clock.after(0.4 * SECOND, () => world.cluster.network.clear(whole.number, controller.number));
    expect(world.ask(IoOp.read, 0, HOT_BLOCKS)).toBe(IoStatus.ok);
    expect(world.refilled(controller)).toBe(1);
    expect(world.bad).toEqual([]);
  });

  /** The member has been away too long for the log, and comes back. */
  function broughtUp(world: RecordWorld, before: (others: ClusterNode[]) => void): void {
    world.written();
    const [away] = world.others as [ClusterNode];
    const copies = world.members.length;
    away.kill();
    world.until(() => world.members.length === copies - 1, 'a member less');
    for (let round = 0; round < 12; round++) {
      world.writeAll();
      world.settle();
    }
    before(world.others);
    away.start();
    world.until(() => world.members.length === copies, 'all members');
    world.drain();
  }

  it('of whoever gives a resync is refilled from a third member', () => {
    const world = new RecordWorld(30, { nodeCount: 3, replicationFactor: 3, segments: 8 });
    broughtUp(world, () => world.rot(world.controller));
    expect(world.refilled(world.controller)).toBe(1);
    world.isWhole();
  });

  it('of whoever gives a resync keeps nothing else from being brought up where nobody has it', () => {
    const world = new RecordWorld(31, { nodeCount: 2, segments: 8 });
    broughtUp(world, () => world.rot(world.controller));
    for (const node of world.members) expect(world.lost(node)).toBe(RECORD_BLOCKS);
    world.written();
    expect(world.compare()).toEqual([]);
    expect(world.bad).toEqual([]);
  });

  it.each([41, 42])('again and again, at changing members, under writes and trims: nobody gets an error (seed %i)', seed => {
    const world = new RecordWorld(seed, { scrubBytesPerSecond: 1 << 20 });
    const { clock } = world.cluster;
    world.written();
    let refills = 0;
    for (let round = 0; round < 12; round++) {
      world.drain();
      const node = world.members[clock.below(2)]!;
      const before = world.refilled(node);
      world.rot(node);
      for (let i = clock.below(6); i > 0; i--) {
        const op = [IoOp.write, IoOp.zero, IoOp.read, IoOp.trim][clock.below(4)]!;
        const block = clock.below(HOT_BLOCKS - 8);
        expect(world.ask(op, block, 1 + clock.below(8))).toBe(IoStatus.ok);
      }
      world.until(() => world.refilled(node) > before && world.lost(node) === 0, 'a whole record');
      refills += world.refilled(node) - before;
    }
    world.drain();
    expect(refills).toBeGreaterThanOrEqual(12);
    world.isWhole();
  });
});
