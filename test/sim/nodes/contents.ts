import { ReadPath } from '../../../src/stargate/core/read-path.js';
import type { Controller } from '../../../src/stargate/core/controller.js';
import { BLOCK_BYTES } from '../../../src/stargate/core/ports.js';
import type { GroupVdisk } from '../../../src/stargate/runtime/group/group-vdisk.js';
import type { Vdisk } from '../load.js';
import type { ClusterNode } from './cluster-node.js';

/** The caches of readers are nobody else's. */
const READER = 1 << 20;

/** Every block that is looked at, as the replica's own index, log and extents have it: read as a controller there would. */
export function readReplica(node: ClusterNode, group: GroupVdisk, vdisk: Vdisk, done: (blocks: Map<number, Buffer | null>) => void): void {
  const { options } = group;
  const { ports, applied } = group.local;
  const cacheOwner = READER + vdisk.index;
  const stand = { ports, index: applied.index, cacheOwner, state: { layer: options.layer }, host: { onBadBlock: () => undefined } };
  const reads = new ReadPath(stand as unknown as Controller);
  const blocks = new Map<number, Buffer | null>();
  const at = node.cluster.memory.takeBuffer();
  const next = (index: number): void => {
    const block = vdisk.workload.blocks[index];
    if (block === undefined) {
      node.cluster.memory.buffers.give(at);
      ports.cache.dropOwner(cacheOwner);
      return done(blocks);
    }
    reads.readBlock(block, at, ok => {
      blocks.set(block, ok ? Buffer.from(ports.arena.bytes.subarray(at, at + BLOCK_BYTES)) : null);
      next(index + 1);
    });
  };
  node.turn(() => next(0));
}

/** Where the members of a vdisk differ, of which all have everything. */
export function differences(vdisk: Vdisk, contents: ReadonlyMap<ClusterNode, ReadonlyMap<number, Buffer | null>>): string[] {
  const [[first, expected], ...others] = [...contents] as [[ClusterNode, ReadonlyMap<number, Buffer | null>]];
  const found: string[] = [];
  for (const block of vdisk.workload.blocks) {
    for (const [node, blocks] of [[first, expected] as const, ...others]) {
      const [a, b] = [expected.get(block), blocks.get(block)];
      if (b === null || b === undefined) found.push(`vdisk ${vdisk.index} block ${block} cannot be read at node ${node.number}`);
      else if (a !== null && a !== undefined && !a.equals(b))
        found.push(
          `vdisk ${vdisk.index} block ${block}: divergent: nodes ${first.number} and ${node.number} have different contents (${a.readUInt32LE(0)} and ${b.readUInt32LE(0)} in the first unit)`,
        );
    }
  }
  return found;
}
