import { Where } from '../../src/stargate/core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT } from '../../src/stargate/core/ports.js';
import { FaultyEngine } from 'uring-engine/faulty';
import { verifyExtents } from '../../src/stargate/extents/verify.js';
import { verifyOplog } from '../../src/stargate/oplog/index.js';
import { readerOf } from '../../src/stargate/store/simulated.js';
import { verifyStore } from '../../src/stargate/store/verify.js';
import { ENGINE_CAPACITY } from './limits.js';
import { EXTENTS, oplogDirectory } from './node.js';
import type { World } from './world.js';

/** What the offline verifiers say against the directories of a node that was stopped. */
export function verifyOffline(world: World): string[] {
  const { node, memory, clock } = world;
  const engine = new FaultyEngine(memory.arena, clock, node.disk, ENGINE_CAPACITY);
  const complaints: string[] = [];
  for (let stream = 0; stream < node.shape.streams; stream++) {
    const options = { files: engine.files, arena: memory.arena, scratchOffset: memory.verifyOffset, directory: oplogDirectory(stream) };
    for (const finding of verifyOplog(options)) {
      if (finding.severity === 'error') complaints.push(`verifier: stream ${stream}: ${finding.code}: ${finding.message}`);
    }
  }
  for (const finding of verifyStore(readerOf(node.storeDisk))) {
    if (finding.severity === 'error') complaints.push(`verifier: ${finding.code}: ${finding.message}`);
  }
  engine.kill();
  return complaints;
}

/** Every block that the store vouches for is in the extents, unless the log has a newer one: of a node that has just started. */
export function verifyServed(world: World): string[] {
  const { node, memory } = world;
  const layers = new Map([...node.part!.served.values()].map(({ controller }) => [controller.state.layer, controller]));
  const findings = verifyExtents({
    files: node.engine!.files,
    arena: memory.arena,
    scratchOffset: memory.verifyOffset,
    root: EXTENTS,
    records: readerOf(node.storeDisk),
    pending: (layer, segment, block) => layers.get(layer)?.index.find(segment * BLOCKS_PER_SEGMENT + block) !== Where.notHere,
  });
  return findings
    .filter(({ severity }) => severity === 'error')
    .map(({ code, message, block }) => `verifier: ${code}: block ${block}: ${message}`);
}

/** Flips a bit somewhere in what was durable at a clean stop. Says where; null: there is nothing. */
export function plantRot(world: World): string | null {
  const { clock, node } = world;
  const files = [...node.disk.walk()].filter(([path, { sizeBytes }]) => /\.(seg|ext)$/.test(path) && sizeBytes > 0);
  const chosen = files[clock.below(files.length)];
  if (chosen === undefined) return null;
  world.mayBeCorrupt = true;
  const [path, { sizeBytes }] = chosen;
  const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
  // Near the beginning there is more.
  const block = Math.floor(blocks * clock.random() ** 3);
  node.disk.rot(path, Math.min(block * BLOCK_BYTES + clock.below(BLOCK_BYTES), sizeBytes - 1), 1 << clock.below(8));
  return path;
}
