import { describe, expect, it } from 'vitest';
import { Where } from '../../../src/stargate/core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, newBlockStates } from '../../../src/stargate/core/ports.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { EXTENTS, oplogDirectory } from '../node.js';
import { DamagedWorld, HOT_BLOCKS, SECOND } from './calm.js';
import type { ClusterNode } from './cluster-node.js';
import { readReplica } from './contents.js';

interface Version {
  readonly block: number;
  readonly seq: number;
  readonly crc: number;
  readonly content: Buffer;
}

class RotWorld extends DamagedWorld {
  /** Bits of the block change on the node's medium. */
  rotExtent(node: ClusterNode, block: number): void {
    const { layer } = this.replica(node).options;
    node.disk.rot(`${EXTENTS}/${layer}/${Math.floor(block / BLOCKS_PER_SEGMENT)}.ext`, (block % BLOCKS_PER_SEGMENT) * BLOCK_BYTES + 77, 8);
  }

  /** The same of a block that is not drained yet. */
  rotLog(node: ClusterNode, block: number): void {
    const { local, stream } = this.replica(node);
    expect(local.index.find(block)).toBe(Where.log);
    const { lsn } = local.index.found;
    const target = Buffer.alloc(BLOCK_BYTES);
    let wanted: Buffer | null = null;
    const at = this.cluster.memory.takeBuffer();
    const { bytes } = this.cluster.memory.arena;
    const onRead = (): void => void (wanted = Buffer.from(bytes.subarray(at, at + BLOCK_BYTES)));
    node.turn(() => stream.readPayload(lsn, BLOCK_BYTES, at, { onRead }, 0));
    this.until(() => wanted !== null, 'the payload');
    this.cluster.memory.buffers.give(at);
    for (const name of node.engine!.files.list(oplogDirectory(0))) {
      const path = `${oplogDirectory(0)}/${name}`;
      const file = node.disk.file(path);
      for (let from = 0; from < file.sizeBytes; from += BLOCK_BYTES)
        if (file.read(target, from) === BLOCK_BYTES && target.equals(wanted!)) node.disk.rot(path, from + 77, 8);
    }
  }

  /** Of a drained block, at the node. */
  versionOf(node: ClusterNode, block: number): Version {
    const { ports } = this.replica(node).local;
    const found = newBlockStates(1);
    expect(ports.store.lookup(this.replica(node).options.layer, 0, block, 1, found)).toBe(true);
    let content: Buffer | null = null;
    readReplica(node, this.replica(node), this.cluster.vdisks[0]!, blocks => (content = blocks.get(block)!));
    this.until(() => content !== null, 'the content');
    return { block, seq: found.seq[0]!, crc: found.crc[0]!, content: content! };
  }

  /** As if another member had sent that version. */
  repair(node: ClusterNode, { block, seq, crc, content }: Version): void {
    const { memory } = this.cluster;
    const at = memory.takeBuffer();
    memory.arena.bytes.set(content, at);
    node.turn(() => this.replica(node).repair.repair(block, seq, crc, at));
    memory.buffers.give(at);
  }

  isRepaired(node: ClusterNode, blocks: number): void {
    this.until(() => node.part!.rot.repairedBlocks === blocks, `${blocks} repaired blocks`);
  }
}

describe('rot in the extents', () => {
  it('is read from another member by the controller, and repaired', () => {
    const world = new RotWorld(1);
    world.writeAll();
    world.drain();
    const { controller } = world;
    for (const block of [5, 6, 9]) world.rotExtent(controller, block);
    expect(world.compare()).toHaveLength(3);
    expect(world.ask(IoOp.read, 0, 12)).toBe(IoStatus.ok);
    world.isRepaired(controller, 3);
    expect(controller.part!.rot).toEqual({ damagedBlocks: 3, fetchedBlocks: 3, repairedBlocks: 3, refilledRecords: 0, lostBlocks: 0 });
    expect(world.compare()).toEqual([]);
    expect([world.bad, world.cluster.complaints]).toEqual([[], []]);
  });

  it('is repaired before a partial block is merged into it', () => {
    const world = new RotWorld(2);
    world.writeAll();
    world.drain();
    world.rotExtent(world.controller, 7);
    let status: IoStatus | null = null;
    world.client.ask({ op: IoOp.write, offsetBytes: 7 * BLOCK_BYTES + 1024, lengthBytes: 1024 }, answered => (status = answered));
    world.until(() => status !== null, 'an answer');
    expect(status).toBe(IoStatus.ok);
    expect(world.ask(IoOp.read, 7)).toBe(IoStatus.ok);
    world.drain();
    expect(world.compare()).toEqual([]);
  });

  it('that no member has whole fails reads of that block alone, with its place', () => {
    const world = new RotWorld(3);
    world.writeAll();
    world.drain();
    const { controller } = world;
    for (const node of world.members) world.rotExtent(node, 20);
    expect(world.ask(IoOp.read, 20)).toBe(IoStatus.corrupt);
    expect(world.bad).toEqual([`node ${controller.number}: block 20 + 1`]);
    expect(world.ask(IoOp.read, 19)).toBe(IoStatus.ok);
    expect(world.ask(IoOp.read, 21, 8)).toBe(IoStatus.ok);
    // Written anew it is whole again.
    expect(world.ask(IoOp.write, 20)).toBe(IoStatus.ok);
    world.drain();
    expect(world.ask(IoOp.read, 18, 6)).toBe(IoStatus.ok);
    expect(world.compare()).toEqual([]);
  });

  it('of the only replica fails reads, and the range is said', () => {
    const world = new RotWorld(10, { nodeCount: 1, replicationFactor: 1 });
    world.writeAll();
    world.drain();
    for (const block of [20, 21, 24]) world.rotExtent(world.controller, block);
    expect(world.ask(IoOp.read, 16, 12)).toBe(IoStatus.corrupt);
    expect(world.bad).toEqual(['node 1: block 20 + 2', 'node 1: block 24 + 1']);
    expect(world.ask(IoOp.read, 22, 2)).toBe(IoStatus.ok);
  });

  it('waits for the answer of a member that is silent for a moment, or is removed', () => {
    const world = new RotWorld(4, { replicationFactor: 3 });
    world.writeAll();
    world.drain();
    const { controller, others } = world;
    const [silent, whole] = others as [ClusterNode, ClusterNode];
    world.rotExtent(controller, 3);
    // Whoever is asked first: nobody has it but one.
    world.rotExtent(silent, 3);
    world.cluster.network.block(whole.number, controller.number);
    world.cluster.clock.after(0.4 * SECOND, () => world.cluster.network.clear(whole.number, controller.number));
    expect(world.ask(IoOp.read, 3)).toBe(IoStatus.ok);
    world.isRepaired(controller, 1);
    expect(world.bad).toEqual([]);
  });

  it('is not repaired with a version that has been replaced since', () => {
    const world = new RotWorld(5);
    world.writeAll();
    world.drain();
    const { controller } = world;
    const old = world.versionOf(controller, 12);
    expect(world.ask(IoOp.write, 12)).toBe(IoStatus.ok);
    world.drain();
    world.repair(controller, old);
    world.until(() => !world.replica(controller).repair.isBusy, 'the end of the repair');
    expect(controller.part!.rot.repairedBlocks).toBe(0);
    expect(world.compare()).toEqual([]);
  });

  it('is not repaired while the block is drained anew, nor drained while it is repaired', () => {
    const world = new RotWorld(5);
    world.writeAll();
    world.drain();
    const { controller } = world;
    const old = world.versionOf(controller, 12);
    const { faults } = controller.disk;
    // The repair's write takes long; a newer version comes, and its drain is due.
    faults.add({ operation: 'write', path: /\.ext$/, error: 'hang', times: 1 });
    world.repair(controller, old);
    world.until(() => faults.hanging > 0, 'a write that hangs');
    expect(world.ask(IoOp.write, 12)).toBe(IoStatus.ok);
    world.cluster.clock.after(8 * SECOND, () => faults.release());
    world.drain();
    // The other way round: the drain's write takes long.
    const newer = world.versionOf(controller, 12);
    expect(world.ask(IoOp.write, 12)).toBe(IoStatus.ok);
    faults.add({ operation: 'write', path: /\.ext$/, error: 'hang', times: 1 });
    world.until(() => faults.hanging > 0, 'a write that hangs');
    world.repair(controller, newer);
    world.cluster.clock.after(SECOND, () => faults.release());
    world.drain();
    world.until(() => !world.replica(controller).repair.isBusy, 'the end of the repair');
    expect(world.compare()).toEqual([]);
  });
});

describe('rot in the log', () => {
  it('is not drained: the block comes from another member', () => {
    const world = new RotWorld(6);
    world.writeAll();
    world.complete();
    const [member] = world.others as [ClusterNode];
    const { controller } = world;
    world.rotLog(member, 2);
    world.rotLog(controller, 30);
    world.drain();
    expect([member.part!.rot.fetchedBlocks, controller.part!.rot.fetchedBlocks]).toEqual([1, 1]);
    expect(world.compare()).toEqual([]);
    expect(world.bad).toEqual([]);
  });
});

describe('the scrubber', () => {
  it('finds rot that nobody reads, at the controller and at a member, and has it repaired', () => {
    const world = new RotWorld(7, { scrubBytesPerSecond: 256 << 10 });
    world.writeAll();
    world.drain();
    const { controller } = world;
    const [member] = world.others as [ClusterNode];
    world.rotExtent(controller, 11);
    world.rotExtent(member, 40);
    world.rotExtent(member, 41);
    world.isRepaired(controller, 1);
    world.isRepaired(member, 2);
    expect(world.compare()).toEqual([]);
    world.until(() => member.part!.scrubber.progress!.passes > 2, 'three passes');
    expect([controller.part!.rot.damagedBlocks, member.part!.rot.damagedBlocks]).toEqual([1, 2]);
    expect(member.part!.scrubber.progress!.totalBytes).toBe(HOT_BLOCKS * BLOCK_BYTES);
    expect(world.bad).toEqual([]);
  });

  it('says which blocks nobody has', () => {
    const world = new RotWorld(8, { scrubBytesPerSecond: 256 << 10 });
    world.writeAll();
    world.drain();
    for (const node of world.members) world.rotExtent(node, 33);
    world.until(() => world.bad.length >= 2, 'two reports');
    expect([...world.bad].sort()).toEqual(world.members.map(node => `node ${node.number}: block 33 + 1`).sort());
  });
});

describe('a resync', () => {
  it('does not pass rot on where a third member has the block whole', () => {
    const world = new RotWorld(9, { nodeCount: 3, replicationFactor: 3, segments: 8 });
    world.writeAll();
    world.drain();
    const { controller, others } = world;
    const [away, whole] = others as [ClusterNode, ClusterNode];
    away.kill();
    world.until(() => world.members.length === 2, 'a member less');
    // Until the log that the absent member lacks is given up.
    for (let round = 0; round < 12; round++) {
      world.writeAll();
      world.settle();
    }
    for (const block of [0, 1, 17]) world.rotExtent(controller, block);
    away.start();
    world.until(() => world.members.length === 3, 'all members');
    expect(controller.counters2.resyncs + whole.counters2.resyncs).toBe(1);
    world.drain();
    world.isRepaired(controller, 3);
    expect(world.compare()).toEqual([]);
  });
});
