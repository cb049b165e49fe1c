import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_MAX_BYTES, ChunkTable, decodeChunk, encodeChunk, placeSeed } from '../../../src/stargate/store/chunk.js';
import {
  checkFormat,
  chunkKey,
  decodeLayer,
  decodeSegment,
  encodeFormat,
  encodeLayer,
  encodeSegment,
  keyAfter,
  parseKey,
  segmentKey,
} from '../../../src/stargate/store/format.js';

const block = fc.oneof(
  fc.constant({ state: 0, crc: 0, seq: 0 }),
  fc.record({ state: fc.constant(1), crc: fc.integer({ min: 0, max: 0xffffffff }), seq: fc.integer({ min: 1, max: 2 ** 48 - 1 }) }),
  fc.record({ state: fc.constant(2), crc: fc.constant(0), seq: fc.constantFrom(1, 77, 2 ** 48 - 1) }),
);
const chunk = fc.oneof(
  fc.array(block, { minLength: 64, maxLength: 64 }),
  block.map(one => Array.from({ length: 64 }, () => one)),
);

function tableOf(blocks: readonly { state: number; crc: number; seq: number }[], row = 0, rows = 1): ChunkTable {
  const table = new ChunkTable(rows);
  blocks.forEach((one, i) => {
    table.state[row * 64 + i] = one.state;
    table.crc[row * 64 + i] = one.crc;
    table.seq[row * 64 + i] = one.seq;
  });
  return table;
}

describe('chunk records', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(chunk, fc.nat(2), (blocks, row) => {
        const out = Buffer.alloc(CHUNK_MAX_BYTES, 0xaa);
        const length = encodeChunk(tableOf(blocks, row, 3), row, 5, out);
        const back = new ChunkTable(3);
        back.fill(row, 2, 9);
        decodeChunk(out.subarray(0, length), length, 5, back, row);
        expect(back).toEqual(tableOf(blocks, row, 3));
      }),
    );
  });

  it('have another version where a block is lost: older software takes such a record for damaged', () => {
    const out = Buffer.alloc(CHUNK_MAX_BYTES);
    const blocks = [
      { state: 1, crc: 1, seq: 5 },
      { state: 3, crc: 0, seq: 4 },
      { state: 2, crc: 0, seq: 5 },
    ];
    const length = encodeChunk(tableOf(blocks), 0, 7, out);
    expect(out[0]).toBe(2);
    const back = new ChunkTable(1);
    decodeChunk(out, length, 7, back, 0);
    expect(back).toEqual(tableOf(blocks));
    out[0] = 1;
    out.writeUInt32LE(0, 4);
    out.writeUInt32LE(crc32c(out.subarray(0, length), 7), 4);
    expect(() => decodeChunk(out, length, 7, back, 0)).toThrow(/state 3/);
  });

  it('are small where there is little in them', () => {
    const out = Buffer.alloc(CHUNK_MAX_BYTES);
    const zero = { state: 2, crc: 0, seq: 5 };
    expect(encodeChunk(tableOf(Array.from({ length: 64 }, () => zero)), 0, 0, out)).toBe(30);
    expect(encodeChunk(tableOf([{ state: 1, crc: 1, seq: 5 }]), 0, 0, out)).toBe(34);
    expect(encodeChunk(tableOf(Array.from({ length: 64 }, (_, i) => ({ state: 1, crc: i, seq: i + 1 }))), 0, 0, out)).toBe(CHUNK_MAX_BYTES);
  });

  it('are refused when any bit differs, when cut, and under another key', () => {
    fc.assert(
      fc.property(chunk, fc.nat(), (blocks, pick) => {
        const out = Buffer.alloc(CHUNK_MAX_BYTES);
        const length = encodeChunk(tableOf(blocks), 0, placeSeed(1, 2, 3), out);
        const record = out.subarray(0, length);
        const into = new ChunkTable(1);
        expect(() => decodeChunk(record, length, placeSeed(1, 2, 4), into, 0)).toThrow(/checksum/);
        expect(() => decodeChunk(record.subarray(0, length - 1), length - 1, placeSeed(1, 2, 3), into, 0)).toThrow();
        const bit = pick % (length * 8);
        record[bit >> 3]! ^= 1 << (bit & 7);
        expect(() => decodeChunk(record, length, placeSeed(1, 2, 3), into, 0)).toThrow(/chunk record/);
      }),
    );
  });
});

describe('keys and small records', () => {
  it('sort as their numbers do', () => {
    const keys = [
      chunkKey(1, 2, 3),
      chunkKey(1, 2, 4095),
      chunkKey(1, 3, 0),
      chunkKey(1, 300, 0),
      chunkKey(2, 0, 0),
      chunkKey(2 ** 31 - 1, 8_388_607, 4095),
    ];
    expect([...keys].reverse().sort(Buffer.compare)).toEqual(keys);
    expect(Buffer.compare(keyAfter(segmentKey(1, 0xffffffff)), segmentKey(1, 0xffffffff))).toBe(1);
    expect(keyAfter(Buffer.from([3, 0xff, 0xff]))).toEqual(Buffer.from([4]));
    expect(parseKey(chunkKey(7, 8, 9))).toEqual({ kind: 4, layer: 7, segment: 8, chunk: 9 });
    expect(parseKey(Buffer.from([4, 1]))).toBeNull();
    expect(parseKey(Buffer.from([9]))).toBeNull();
  });

  it('come back as they were', () => {
    const segment = { drainSeq: 2 ** 48 - 1, dataBlocks: 262_144, baseState: 2 as const, baseSeq: 2 ** 40 + 1 };
    expect(decodeSegment(3, 4, encodeSegment(3, 4, segment))).toEqual(segment);
    expect(() => decodeSegment(3, 5, encodeSegment(3, 4, segment))).toThrow(/checksum/);
    const layer = { vdiskId: 'disk-ä', deleting: true };
    expect(decodeLayer(3, encodeLayer(3, layer))).toEqual(layer);
    expect(() => decodeLayer(3, encodeLayer(3, layer).subarray(0, 11))).toThrow();
  });

  it('tell a foreign store from one of another version', () => {
    const format = encodeFormat();
    expect(() => checkFormat(format)).not.toThrow();
    expect(() => checkFormat(Buffer.from('something else altogether'))).toThrow(/not a Gatepath block store/);
    format.writeUInt32LE(2, 16);
    expect(() => checkFormat(format)).toThrow(/format version 2, this program reads 1/);
  });
});
