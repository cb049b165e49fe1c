import assert from 'node:assert/strict';
import { BLOCKS_PER_SEGMENT, BlockState, type BlockStates, type RecordRefill } from '../core/ports.js';
import { CHUNK_MAX_BYTES, ChunkTable, decodeChunk, encodeChunk, placeSeed } from './chunk.js';
import {
  chunkKey,
  checkFormat,
  counterKey,
  decodeCounter,
  decodeLayer,
  decodeSegment,
  encodeCounter,
  encodeFormat,
  encodeLayer,
  encodeSegment,
  fillChunkKey,
  formatKey,
  keyAfter,
  layerKey,
  parseKey,
  segmentKey,
  type SegmentRecord,
} from './format.js';
import { ifWhole, StoreError } from './errors.js';
import { CHUNK_BLOCKS, CHUNKS_PER_SEGMENT, FORGET_RECORDS_PER_COMMIT, MAX_LAYER, MAX_SEGMENTS, MAX_SEQ } from './limits.js';
import type { DrainMessage, StoreCommand, StoreResult } from './messages.js';
import type { RecordTransaction } from './records.js';

/**
 * Carries out one command inside a write transaction. Null: not finished (a large layer is forgotten piece by piece): carry it out
 * again in the next transaction. The store thread and the simulated store share this, so that both write the same records.
 */
export function applyCommand(txn: RecordTransaction, command: StoreCommand): StoreResult | null {
  switch (command.kind) {
    case 'drain':
      return { kind: 'drain', id: command.id, ...applyDrain(txn, command.drain) };
    case 'refill':
      return { kind: 'refill', id: command.id, segment: applyRefill(txn, command.refill) };
    case 'createLayer':
      return { kind: 'layer', id: command.id, layer: createLayer(txn, command.vdiskId) };
    case 'removeLayer':
      return { kind: 'done', id: command.id, ok: markLayer(txn, command.layer) };
    case 'forgetLayer':
      return forgetLayer(txn, command.layer) ? { kind: 'done', id: command.id, ok: true } : null;
  }
}

/**
 * Writes the format record; throws `ERR_STORE_FORMAT` if the store is of another kind or version. Also where it is there already: the last commit of a process whose sync
 * failed can be read, and may be gone after a power cut; a commit behind it, at each start, is what makes it durable.
 */
export function applyFormat(txn: RecordTransaction): void {
  const record = txn.get(formatKey);
  if (record !== undefined) checkFormat(record);
  txn.put(formatKey, encodeFormat());
}

interface Drained {
  /** Null when the door is shut or the layer is being deleted. */
  readonly segment: SegmentRecord | null;
  /** The segment's record was damaged. */
  readonly isMended: boolean;
}

function applyDrain(txn: RecordTransaction, drain: DrainMessage): Drained {
  const { layer, segment, known } = drain;
  const layerRecord = txn.get(layerKey(layer));
  // Whoever drains into a layer whose record is damaged knows of no deletion: what deletes a layer lets nobody drain into it.
  if (layerRecord === undefined || ifWhole(() => decodeLayer(layer, layerRecord))?.deleting === true) return SHUT;
  const stored = txn.get(segmentKey(layer, segment));
  const found = stored === undefined ? NEW_SEGMENT : ifWhole(() => decodeSegment(layer, segment, stored));
  const record = found ?? known;
  // Rule 20: the door.
  if (record?.drainSeq !== drain.fromSeq) return SHUT;
  return { segment: drainInto(txn, drain, { ...record }), isMended: found === null };
}

const SHUT: Drained = { segment: null, isMended: false };
const NEW_SEGMENT: SegmentRecord = { drainSeq: 0, dataBlocks: 0, baseState: BlockState.absent, baseSeq: 0 };

/** The segment's new record. */
function drainInto(txn: RecordTransaction, drain: DrainMessage, record: SegmentRecord): SegmentRecord {
  const { layer, segment } = drain;
  record.drainSeq = drain.toSeq;
  const writer = new ChunkWriter(txn, layer, segment, record, drain.fromSeq);
  for (let run = 0; run < drain.block.length; run++) {
    const block = drain.block[run]!;
    const blocks = drain.blocks[run]!;
    const state = drain.state[run] as BlockState;
    if (blocks === BLOCKS_PER_SEGMENT && state !== BlockState.data) writer.setAll(state, drain.seq[run]!);
    else writer.set(block, blocks, state, drain.crc[run]!, drain.seq[run]!);
  }
  writer.end();
  txn.put(segmentKey(layer, segment), encodeSegment(layer, segment, record));
  return record;
}

/** The segment's record; null when it has been drained further, or is damaged: then nothing is known of where it was drained to. */
function applyRefill(txn: RecordTransaction, { layer, segment, block, drainSeq, states }: RecordRefill): SegmentRecord | null {
  const layerRecord = txn.get(layerKey(layer));
  const stored = txn.get(segmentKey(layer, segment));
  if (layerRecord === undefined || stored === undefined) return null;
  if (ifWhole(() => decodeLayer(layer, layerRecord))?.deleting !== false) return null;
  const record = ifWhole(() => decodeSegment(layer, segment, stored));
  if (record?.drainSeq !== drainSeq) return null;
  const writer = new ChunkWriter(txn, layer, segment, record, drainSeq);
  if (!writer.refill(block, states)) return record;
  writer.end();
  txn.put(segmentKey(layer, segment), encodeSegment(layer, segment, record));
  return record;
}

/** Throws on a refill that breaks the contract of `RecordRefill`. */
export function assertRefill({ segment, block, drainSeq, states }: RecordRefill): void {
  assert(segment >= 0 && segment < MAX_SEGMENTS, `segment ${segment}`);
  assert(block >= 0 && block < BLOCKS_PER_SEGMENT && block % CHUNK_BLOCKS === 0, `a refill of the record at block ${block}`);
  for (let i = 0; i < CHUNK_BLOCKS; i++) {
    const state = states.state[i]!;
    assert(state <= BlockState.lost, `state ${state} in a refill`);
    assert(state === BlockState.lost || states.seq[i]! <= drainSeq, `a refill: seq ${states.seq[i]} is above ${drainSeq}`);
  }
}

/** Throws on a drain that breaks the contract of `DrainCommit`. */
export function assertDrain(drain: DrainMessage): void {
  assert(drain.segment >= 0 && drain.segment < MAX_SEGMENTS, `segment ${drain.segment}`);
  assert(drain.fromSeq >= 0 && drain.fromSeq < drain.toSeq && drain.toSeq <= MAX_SEQ, `drain from ${drain.fromSeq} to ${drain.toSeq}`);
  let next = 0;
  for (let run = 0; run < drain.block.length; run++) {
    const block = drain.block[run]!;
    const blocks = drain.blocks[run]!;
    const state = drain.state[run]!;
    const seq = drain.seq[run]!;
    const isInPlace = block >= next && blocks > 0 && block + blocks <= BLOCKS_PER_SEGMENT;
    const isState = state <= BlockState.lost && (state !== BlockState.data || blocks === 1);
    // What to say is put together only where there is something to say: a drain has a thousand runs.
    if (!isInPlace || !isState || !(seq > drain.fromSeq && seq <= drain.toSeq))
      assert.fail(
        `run ${run} of a drain from ${drain.fromSeq} to ${drain.toSeq}: ${blocks} blocks of state ${state} and seq ${seq} at ${block}, after ${next}`,
      );
    next = block + blocks;
  }
}

/** Reads, changes and writes back the chunk records of one segment, one at a time, ascending. */
class ChunkWriter {
  readonly #table = scratchTable;
  #chunk = -1;
  #dataBefore = 0;
  /** A record was damaged: how much of the segment's data it had counted nobody knows. */
  #isCountLost = false;

  constructor(
    readonly txn: RecordTransaction,
    readonly layer: number,
    readonly segment: number,
    readonly record: SegmentRecord,
    readonly fromSeq: number,
  ) {}

  set(block: number, blocks: number, state: BlockState, crc: number, seq: number): void {
    for (const end = block + blocks; block < end; block++) {
      const chunk = Math.floor(block / CHUNK_BLOCKS);
      if (chunk !== this.#chunk) this.#open(chunk);
      this.#set(block % CHUNK_BLOCKS, state, crc, seq);
    }
  }

  #set(at: number, state: BlockState, crc: number, seq: number): void {
    this.#table.state[at] = state;
    this.#table.crc[at] = state === BlockState.data ? crc : 0;
    this.#table.seq[at] = state === BlockState.absent ? 0 : seq;
  }

  /** Only what is lost: a drain may have written the others meanwhile. False: nothing is to be changed. */
  refill(block: number, { state, crc, seq }: BlockStates): boolean {
    this.#open(block / CHUNK_BLOCKS);
    let isChanged = false;
    for (let at = 0; at < CHUNK_BLOCKS; at++) {
      if (this.#table.state[at] !== BlockState.lost || state[at] === BlockState.lost) continue;
      this.#set(at, state[at] as BlockState, crc[at]!, seq[at]!);
      isChanged = true;
    }
    return isChanged;
  }

  /** The whole segment gets one state: its chunks' records go. */
  setAll(state: BlockState, seq: number): void {
    const prefix = chunkKey(this.layer, this.segment, 0).subarray(0, 9);
    this.txn.removeRange(prefix, keyAfter(prefix), Number.MAX_SAFE_INTEGER);
    this.record.dataBlocks = 0;
    this.record.baseState = state;
    this.record.baseSeq = state === BlockState.absent ? 0 : seq;
  }

  end(): void {
    this.#flush();
    if (this.#isCountLost) this.record.dataBlocks = this.#countData();
  }

  #countData(): number {
    const table = this.#table;
    let count = 0;
    const end = keyAfter(chunkKey(this.layer, this.segment, CHUNKS_PER_SEGMENT - 1));
    for (const [key, stored] of this.txn.range(chunkKey(this.layer, this.segment, 0), end))
      if (this.#decode(stored, parseKey(key)!.chunk)) count += table.dataBlocks(0);
    return count;
  }

  #flush(): void {
    if (this.#chunk < 0) return;
    this.record.dataBlocks += this.#table.dataBlocks(0) - this.#dataBefore;
    const lengthBytes = encodeChunk(this.#table, 0, placeSeed(this.layer, this.segment, this.#chunk), scratchRecord);
    this.txn.put(fillChunkKey(scratchKey, this.layer, this.segment, this.#chunk), scratchRecord.subarray(0, lengthBytes));
    this.#chunk = -1;
  }

  /** Of a damaged record nobody knows what its blocks were: each is lost until it is written, or another replica says it, and the drain of everything else goes on. */
  #decode(stored: Uint8Array, chunk: number): boolean {
    try {
      decodeChunk(stored, stored.length, placeSeed(this.layer, this.segment, chunk), this.#table, 0);
      return true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#table.fill(0, BlockState.lost, this.fromSeq);
      return false;
    }
  }

  #open(chunk: number): void {
    this.#flush();
    this.#chunk = chunk;
    const stored = this.txn.get(fillChunkKey(scratchKey, this.layer, this.segment, chunk));
    if (stored === undefined) this.#table.fill(0, this.record.baseState, this.record.baseSeq);
    else if (!this.#decode(stored, chunk)) this.#isCountLost = true;
    this.#dataBefore = this.#table.dataBlocks(0);
  }
}

const scratchTable = new ChunkTable(1);
const scratchRecord = Buffer.alloc(CHUNK_MAX_BYTES);
const scratchKey = chunkKey(0, 0, 0);

function createLayer(txn: RecordTransaction, vdiskId: string): number {
  const counter = txn.get(counterKey);
  const layer = counter === undefined ? 1 : decodeCounter(counter);
  assert(layer <= MAX_LAYER, 'layer numbers are used up');
  txn.put(counterKey, encodeCounter(layer + 1));
  txn.put(layerKey(layer), encodeLayer(layer, { vdiskId, deleting: false }));
  return layer;
}

function markLayer(txn: RecordTransaction, layer: number): boolean {
  const record = txn.get(layerKey(layer));
  const known = record === undefined ? null : ifWhole(() => decodeLayer(layer, record));
  if (known === null) return false;
  txn.put(layerKey(layer), encodeLayer(layer, { ...known, deleting: true }));
  return true;
}

/** The layer's own record goes last: as long as it is there, the removal is known to be unfinished. */
function forgetLayer(txn: RecordTransaction, layer: number): boolean {
  const record = txn.get(layerKey(layer));
  if (record === undefined) return true;
  // Damaged by now: it was marked when its files went.
  const known = ifWhole(() => decodeLayer(layer, record));
  assert(known === null || known.deleting, `layer ${layer} is to be forgotten, but was not removed`);
  let left = FORGET_RECORDS_PER_COMMIT;
  for (const first of [chunkKey(layer, 0, 0), segmentKey(layer, 0)]) {
    const prefix = first.subarray(0, 5);
    left -= txn.removeRange(prefix, keyAfter(prefix), left);
    if (left <= 0) return false;
  }
  txn.remove(layerKey(layer));
  return true;
}
