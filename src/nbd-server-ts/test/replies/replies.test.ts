import { expect, test } from 'vitest';
import { encodeBlockStatus, encodeErrorChunk, encodeOffsetData } from '../../src/replies/chunks.js';
import { encodeSimpleReply } from '../../src/replies/simple.js';
import { hex, u32, u64 } from '../support/hex.js';

const HIGH = 0x01020304;
const LOW = 0xf5f6f7f8 | 0;
const COOKIE = '01020304f5f6f7f8';

function written(encode: (view: DataView, at: number) => number): string {
  const bytes = new Uint8Array(100).fill(0xee);
  const length = encode(new DataView(bytes.buffer), 5);
  expect(hex(bytes.subarray(0, 5)) + hex(bytes.subarray(5 + length))).toMatch(/^(ee)+$/);
  return hex(bytes.subarray(5, 5 + length));
}

test('simple reply', () => {
  expect(written((view, at) => encodeSimpleReply(view, at, 28, HIGH, LOW))).toBe('67446698' + u32(28) + COOKIE);
});

test('OFFSET_DATA', () => {
  expect(written((view, at) => encodeOffsetData(view, at, 1, HIGH, LOW, 2 ** 45 + 0x8000_0000, 4096))).toBe(
    '668e33ef' + '0001' + '0001' + COOKIE + u32(4104) + u64(2n ** 45n + 0x8000_0000n),
  );
});

test('BLOCK_STATUS', () => {
  const extents = new Uint32Array([0xffff_ffff, 3, 4096, 0, 9, 9]);
  expect(written((view, at) => encodeBlockStatus(view, at, 1, HIGH, LOW, 1, extents, 2))).toBe(
    '668e33ef' + '0001' + '0005' + COOKIE + u32(20) + u32(1) + 'ffffffff' + u32(3) + u32(4096) + u32(0),
  );
});

test('ERROR', () => {
  expect(written((view, at) => encodeErrorChunk(view, at, 1, HIGH, LOW, 22))).toBe(
    '668e33ef' + '0001' + '8001' + COOKIE + u32(6) + u32(22) + '0000',
  );
});
