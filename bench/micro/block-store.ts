/** Costs of block store lookups: cached, from LMDB, never drained. `npx tsx bench/micro/block-store.ts`; medians of 7 rounds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BLOCKS_PER_SEGMENT, BlockState } from '../../src/stargate/core/ports.js';
import { applyCommand, applyFormat } from '../../src/stargate/store/apply.js';
import { BlockStore } from '../../src/stargate/store/block-store.js';
import { LmdbReader, openDatabase, transactionIn } from '../../src/stargate/store/lmdb.js';
import type { DrainMessage } from '../../src/stargate/store/messages.js';

const directory = mkdtempSync(join(tmpdir(), 'gatepath-bench-'));
const database = openDatabase(directory);
const apply = (command: Parameters<typeof applyCommand>[1]) =>
  database.transactionSync(() => applyCommand(transactionIn(database), command));
database.transactionSync(() => applyFormat(transactionIn(database)));
apply({ kind: 'createLayer', id: 0, vdiskId: 'v' });

function fullDrain(segment: number, fromSeq: number): DrainMessage {
  const count = BLOCKS_PER_SEGMENT;
  const block = Int32Array.from({ length: count }, (_, i) => i);
  const seq = Float64Array.from(block, i => fromSeq + 1 + i);
  const state = new Uint8Array(count).fill(BlockState.data);
  return {
    layer: 1,
    segment,
    fromSeq,
    toSeq: fromSeq + count,
    block,
    blocks: new Int32Array(count).fill(1),
    state,
    crc: Uint32Array.from(block, i => i * 7919),
    seq,
    known: null,
  };
}

for (let segment = 0; segment < 4; segment++) {
  const start = performance.now();
  apply({ kind: 'drain', id: 1, drain: fullDrain(segment, 0) });
  console.log(`drain of a full segment, ${BLOCKS_PER_SEGMENT} blocks: ${(performance.now() - start).toFixed(0)} ms`);
}
const few = fullDrain(0, BLOCKS_PER_SEGMENT);
const rounds = (name: string, calls: number, call: (i: number) => void) => {
  const times: number[] = [];
  for (let round = 0; round < 7; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) call(i);
    times.push(Number(process.hrtime.bigint() - start) / calls);
  }
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(40)} ${times[3]!.toFixed(0).padStart(8)} ns`);
};
let from = BLOCKS_PER_SEGMENT;
rounds('commit of 32 scattered blocks', 50, () => {
  const pick = Int32Array.from({ length: 32 }, (_, i) => i * 8000);
  const drain = {
    ...few,
    fromSeq: from,
    toSeq: from + 1,
    block: pick,
    blocks: few.blocks.slice(0, 32),
    state: few.state.slice(0, 32),
    crc: few.crc.slice(0, 32),
    seq: new Float64Array(32).fill(from + 1),
  };
  apply({ kind: 'drain', id: 2, drain });
  from++;
});

const link = { send: () => undefined, onResult: () => undefined };
const out = { state: new Uint8Array(256), crc: new Uint32Array(256), seq: new Float64Array(256) };
const random = Float64Array.from({ length: 1 << 16 }, () => Math.floor(Math.random() * (BLOCKS_PER_SEGMENT - 256)));
const warm = new BlockStore(new LmdbReader(openDatabase(directory)), link, 16_384);
const cold = new BlockStore(new LmdbReader(openDatabase(directory)), link, 16);
for (let block = 0; block < BLOCKS_PER_SEGMENT; block += 64) warm.lookup(1, 1, block, 1, out);
rounds('lookup of 1 block, cached', 1 << 16, i => warm.lookup(1, 1, random[i]!, 1, out));
rounds('lookup of 256 blocks, cached', 1 << 14, i => warm.lookup(1, 1, random[i]!, 256, out));
rounds('lookup of 1 block, from LMDB', 1 << 14, i => cold.lookup(1, i & 3, random[i]!, 1, out));
rounds('lookup of 256 blocks, from LMDB', 1 << 12, i => cold.lookup(1, i & 3, random[i]!, 256, out));
rounds('lookup of 1 block, never drained', 1 << 16, i => warm.lookup(1, 77, random[i]!, 1, out));
await database.close();
rmSync(directory, { recursive: true });
