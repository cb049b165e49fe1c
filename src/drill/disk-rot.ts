import { closeSync, existsSync, fdatasyncSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import type { Cluster } from './cluster.js';
import { servedElsewhere } from './handing-over.js';
import { BLOCK_BYTES, COLD_BLOCKS, ROT_BLOCKS, START_TIMEOUT_MS, WIDE_BLOCKS } from './limits.js';
import { whileItGoesOn } from './patience.js';
import { readBlock } from './payload.js';
import { controllerOf, membersOf } from './roles.js';
import type { Scenario } from './scenario.js';

/** The pass that is under way may be past the damage; one that begins and ends after that has met all. Counted are those that have ended. */
const FULL_PASSES = 2;
const FIRST_COLD = WIDE_BLOCKS - COLD_BLOCKS;

/** A block of which one bit is wrong on one node's disk. */
interface Rotten {
  readonly node: string;
  readonly file: string;
  readonly block: number;
  /** What it holds as long as nobody has mended it. */
  readonly content: Buffer;
}

interface Counters {
  readonly repaired: number;
  readonly lost: number;
  /** Times that all of its scrubbers have read everything. */
  readonly passes: number;
}

/**
 * Every copy has damage, each in other blocks, so that of each block all copies but one are whole. Blocks that the load does not write again: nothing but a repair puts them
 * right. The vdisk is then served by a node that has nothing of it in its cache: reads find damage as well as scrubbers do.
 */
export const diskRot: Scenario = {
  name: 'disk-rot',
  title: 'bits flip in the extents of every copy, in other blocks of each',
  unsuitable: ({ isOwn, nodes }) => {
    if (!isOwn) return 'it damages what a node keeps, and does that to none but its own: leave --data away';
    return nodes > 1 ? null : 'it needs a second node, which has the block whole: this system has one (gatepath up --nodes 3)';
  },
  bound: () => ({ kind: 'none' }),
  run: async context => {
    const { cluster, watch } = context;
    const nodes = membersOf(context);
    const files = await drainedExtents(cluster, nodes);
    const before = await countersOf(cluster, nodes);
    context.fault(`a bit flips in ${ROT_BLOCKS} blocks on each of ${nodes.join(', ')}`);
    const rotten = nodes.flatMap((node, i) => damage(node, files.get(node)!, i));
    await servedElsewhere(context, controllerOf(context), () => untilMended(cluster, nodes, rotten, before));
    const after = await countersOf(cluster, nodes);
    for (const node of nodes) watch.mark('state', `${node} has mended ${after.get(node)!.repaired - before.get(node)!.repaired} blocks`);
    const repaired = sum(after, 'repaired') - sum(before, 'repaired');
    if (repaired < rotten.length) {
      const message = `${rotten.length} blocks were damaged, all are whole again, and the nodes have counted ${repaired}`;
      throw new GatepathError('fatal', 'ERR_ROT_UNCOUNTED', message, 'see "rot" in the status of each node');
    }
    context.healed(`all ${rotten.length} are whole again`);
  },
};

/** Each node's file with the vdisk's blocks, once all cold ones are there. The load goes on meanwhile. */
async function drainedExtents(cluster: Cluster, nodes: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  await whileItGoesOn('the log is drained into the extents', () => {
    let there = 0;
    for (const node of nodes) {
      for (const file of extentsOf(cluster.node(node).dataDir)) {
        const blocks = coldBlocksIn(file);
        there += blocks;
        if (blocks === COLD_BLOCKS) found.set(node, file);
      }
    }
    return { isDone: found.size === nodes.length, text: `${there} of ${nodes.length * COLD_BLOCKS} blocks` };
  });
  return found;
}

/** The system is the drill's own: it has no vdisk but the drill's, which is shorter than a segment. */
function extentsOf(dataDir: string): string[] {
  const root = join(dataDir, 'stargate', 'extents');
  return readdirSync(root)
    .map(layer => join(root, layer, '0.ext'))
    .filter(existsSync);
}

function coldBlocksIn(file: string): number {
  const buffer = Buffer.alloc(COLD_BLOCKS * BLOCK_BYTES);
  const fd = openSync(file, 'r');
  try {
    const bytes = readSync(fd, buffer, 0, buffer.length, FIRST_COLD * BLOCK_BYTES);
    let count = 0;
    for (let i = 0; (i + 1) * BLOCK_BYTES <= bytes; i++) if (readBlock(buffer, i * BLOCK_BYTES, FIRST_COLD + i) > 0) count++;
    return count;
  } finally {
    closeSync(fd);
  }
}

/** Some cold blocks, for each `share` others. */
function damage(node: string, file: string, share: number): Rotten[] {
  const fd = openSync(file, 'r+');
  try {
    const rotten = Array.from({ length: ROT_BLOCKS }, (_, i) => {
      const block = FIRST_COLD + share * ROT_BLOCKS + i;
      const content = Buffer.alloc(BLOCK_BYTES);
      readSync(fd, content, 0, BLOCK_BYTES, block * BLOCK_BYTES);
      // Another bit of another byte in each.
      const at = (i * 173) % BLOCK_BYTES;
      content[at]! ^= 1 << (i % 8);
      writeSync(fd, content, at, 1, block * BLOCK_BYTES + at);
      return { node, file, block, content };
    });
    fdatasyncSync(fd);
    return rotten;
  } finally {
    closeSync(fd);
  }
}

function isStillRotten({ file, block, content }: Rotten): boolean {
  const found = Buffer.alloc(BLOCK_BYTES);
  const fd = openSync(file, 'r');
  try {
    readSync(fd, found, 0, BLOCK_BYTES, block * BLOCK_BYTES);
    return found.equals(content);
  } finally {
    closeSync(fd);
  }
}

async function untilMended(
  cluster: Cluster,
  nodes: readonly string[],
  rotten: readonly Rotten[],
  before: ReadonlyMap<string, Counters>,
): Promise<void> {
  let left = rotten;
  await whileItGoesOn('damaged blocks are mended', async () => {
    const counters = await countersOf(cluster, nodes);
    const lost = sum(counters, 'lost');
    if (lost > 0) {
      const message = `${lost} damaged blocks were found nowhere whole, and others had them`;
      throw new GatepathError('corrupt', 'ERR_ROT_LOST', message, 'see the events of the nodes');
    }
    left = left.filter(isStillRotten);
    const behind = nodes.filter(node => counters.get(node)!.passes < before.get(node)!.passes + FULL_PASSES);
    if (left.length > 0 && behind.length === 0) {
      const message = `${left.length} of ${rotten.length} damaged blocks are damaged still, and every node has read everything since`;
      throw new GatepathError('fatal', 'ERR_ROT_LEFT', message, 'see "rot" in the status of each node');
    }
    // What is mended is counted a moment later.
    const isCounted = sum(counters, 'repaired') - sum(before, 'repaired') >= rotten.length;
    return {
      isDone: left.length === 0 && isCounted,
      text: `${left.length} of ${rotten.length} left; passes: ${[...counters.values()].map(one => one.passes).join(' ')}`,
    };
  });
}

async function countersOf(cluster: Cluster, nodes: readonly string[]): Promise<Map<string, Counters>> {
  const counters = new Map<string, Counters>();
  for (const node of nodes) {
    const { shards } = await cluster.client(cluster.node(node), START_TIMEOUT_MS).status();
    const total = (field: 'repairedBlocks' | 'lostBlocks'): number => shards.reduce((all, { rot }) => all + rot[field], 0);
    const passes = Math.min(...shards.map(({ scrub }) => scrub?.passes ?? 0));
    counters.set(node, { repaired: total('repairedBlocks'), lost: total('lostBlocks'), passes });
  }
  return counters;
}

function sum(counters: ReadonlyMap<string, Counters>, field: 'repaired' | 'lost'): number {
  return [...counters.values()].reduce((all, one) => all + one[field], 0);
}
