import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import { BlockState } from '../core/ports.js';
import { StoreError } from './errors.js';
import { CHUNK_BLOCKS } from './limits.js';

/**
 * The record of one chunk: state, CRC32C and seq of 64 blocks. Little-endian.
 *
 * ```
 *   0  u8      version: 1; 2 where a block is lost, so that older software takes the record for damaged
 *   1  u8      flags: 1 = all blocks that are not absent have the same seq, which is stored once
 *   2  u8      number of data blocks
 *   3  u8      number of blocks that are not absent
 *   4  u32     CRC32C of the record with this field zero, seeded with the record's place (placeSeed)
 *   8  16 × u8 states, 2 bits a block, block 0 in the lowest bits of the first byte
 *  24  u32     CRC32C of each data block, ascending
 *      u48     seq of each block that is not absent, ascending (or one seq)
 * ```
 */
export const CHUNK_VERSION = 1;
export const CHUNK_VERSION_LOST = 2;
export const CHUNK_HEADER_BYTES = 8;
export const CHUNK_STATES_BYTES = CHUNK_BLOCKS / 4;
export const CHUNK_MAX_BYTES = CHUNK_HEADER_BYTES + CHUNK_STATES_BYTES + CHUNK_BLOCKS * (4 + 6);
export const SAME_SEQ = 1;
assert.equal(CHUNK_STATES_BYTES, 16);
assert.equal(CHUNK_MAX_BYTES, 664);

/** Decoded chunks, as rows of flat arrays: row r holds its 64 blocks from index r × 64 on. */
export class ChunkTable {
  readonly state: Uint8Array;
  readonly crc: Uint32Array;
  readonly seq: Float64Array;

  constructor(readonly rows: number) {
    this.state = new Uint8Array(rows * CHUNK_BLOCKS);
    this.crc = new Uint32Array(rows * CHUNK_BLOCKS);
    this.seq = new Float64Array(rows * CHUNK_BLOCKS);
  }

  /** Gives all 64 blocks of a row one state without data. */
  fill(row: number, state: BlockState, seq: number): void {
    const from = row * CHUNK_BLOCKS;
    this.state.fill(state, from, from + CHUNK_BLOCKS);
    this.crc.fill(0, from, from + CHUNK_BLOCKS);
    this.seq.fill(seq, from, from + CHUNK_BLOCKS);
  }

  dataBlocks(row: number): number {
    return this.count(row, BlockState.data);
  }

  count(row: number, state: BlockState): number {
    let count = 0;
    for (let i = row * CHUNK_BLOCKS, end = i + CHUNK_BLOCKS; i < end; i++) if (this.state[i] === state) count++;
    return count;
  }
}

/** Mixes a record's place into its checksum: a record under a wrong key is a corrupt record. */
export function placeSeed(layer: number, segment: number, chunk: number): number {
  return (Math.imul(layer, 0x9e3779b1) ^ Math.imul(segment, 0x85ebca6b) ^ chunk) >>> 0;
}

/** Encodes row `row` into `out` (at least CHUNK_MAX_BYTES); returns the record's length in bytes. */
export function encodeChunk(table: ChunkTable, row: number, seed: number, out: Buffer): number {
  const from = row * CHUNK_BLOCKS;
  out.fill(0, 0, CHUNK_HEADER_BYTES + CHUNK_STATES_BYTES);
  let at = CHUNK_HEADER_BYTES + CHUNK_STATES_BYTES;
  let present = 0;
  let data = 0;
  let sameSeq = true;
  let isLost = false;
  let firstSeq = -1;
  for (let i = 0; i < CHUNK_BLOCKS; i++) {
    const state = table.state[from + i]!;
    if (state === BlockState.absent) continue;
    const seq = table.seq[from + i]!;
    if (present++ === 0) firstSeq = seq;
    else if (seq !== firstSeq) sameSeq = false;
    out[CHUNK_HEADER_BYTES + (i >> 2)]! |= state << ((i & 3) * 2);
    if (state === BlockState.lost) isLost = true;
    if (state !== BlockState.data) continue;
    data++;
    out.writeUInt32LE(table.crc[from + i]!, at);
    at += 4;
  }
  if (sameSeq && present > 0) at = out.writeUIntLE(firstSeq, at, 6);
  else {
    for (let i = 0; i < CHUNK_BLOCKS; i++) {
      if (table.state[from + i] !== BlockState.absent) at = out.writeUIntLE(table.seq[from + i]!, at, 6);
    }
  }
  out[0] = isLost ? CHUNK_VERSION_LOST : CHUNK_VERSION;
  out[1] = sameSeq && present > 0 ? SAME_SEQ : 0;
  out[2] = data;
  out[3] = present;
  out.writeUInt32LE(crc32c(out.subarray(0, at), seed), 4);
  return at;
}

/** Decodes a record into a row. Throws `ERR_STORE_RECORD` when it is not well-formed. */
export function decodeChunk(record: Uint8Array, lengthBytes: number, seed: number, table: ChunkTable, row: number): void {
  if (lengthBytes < CHUNK_HEADER_BYTES + CHUNK_STATES_BYTES || lengthBytes > CHUNK_MAX_BYTES) throw badChunk(`${lengthBytes} bytes`);
  // A copy: the checksum needs the field zeroed, and the caller's bytes may be the database's.
  scratch.set(lengthBytes === record.length ? record : record.subarray(0, lengthBytes));
  const stored = scratch.readUInt32LE(4);
  scratch.writeUInt32LE(0, 4);
  const sameSeq = (scratch[1]! & SAME_SEQ) !== 0;
  const data = scratch[2]!;
  const present = scratch[3]!;
  const version = scratch[0]!;
  if (version !== CHUNK_VERSION && version !== CHUNK_VERSION_LOST) throw badChunk(`version ${version}`);
  if (crc32c(scratch.subarray(0, lengthBytes), seed) !== stored) throw badChunk('checksum differs');
  let crcAt = CHUNK_HEADER_BYTES + CHUNK_STATES_BYTES;
  let seqAt = crcAt + 4 * data;
  if (lengthBytes !== seqAt + 6 * (sameSeq ? 1 : present))
    throw badChunk(`${lengthBytes} bytes for ${present} blocks, ${data} of them data`);
  const from = row * CHUNK_BLOCKS;
  let seq = sameSeq ? readSeq(seqAt) : 0;
  let dataSeen = 0;
  let presentSeen = 0;
  for (let i = 0; i < CHUNK_BLOCKS; i++) {
    const state = (scratch[CHUNK_HEADER_BYTES + (i >> 2)]! >> ((i & 3) * 2)) & 3;
    if (state === BlockState.lost && version !== CHUNK_VERSION_LOST) throw badChunk(`state ${state}`);
    table.state[from + i] = state;
    if (state === BlockState.absent) {
      table.crc[from + i] = 0;
      table.seq[from + i] = 0;
      continue;
    }
    presentSeen++;
    if (state === BlockState.data) {
      dataSeen++;
      table.crc[from + i] = scratchView.getUint32(crcAt, true);
      crcAt += 4;
    } else table.crc[from + i] = 0;
    if (!sameSeq) {
      seq = readSeq(seqAt);
      seqAt += 6;
    }
    table.seq[from + i] = seq;
  }
  if (dataSeen !== data || presentSeen !== present)
    throw badChunk(`${presentSeen} states and ${dataSeen} data blocks, not ${present} and ${data}`);
}

const scratch = Buffer.alloc(CHUNK_MAX_BYTES);
const scratchView = new DataView(scratch.buffer, scratch.byteOffset, scratch.byteLength);

function readSeq(at: number): number {
  return scratchView.getUint16(at + 4, true) * 0x1_0000_0000 + scratchView.getUint32(at, true);
}

function badChunk(what: string): StoreError {
  return new StoreError('ERR_STORE_RECORD', `chunk record: ${what}`);
}
