import { expect, test } from 'vitest';
import {
  chunkHeaderBytes,
  encodeDone,
  encodeErrorChunk,
  encodeOffsetData,
  encodeStatus,
  ERROR_DATA_BYTES,
  offsetDataBytes,
  statusBytes,
} from '../../src/replies/chunks.js';
import { encodeSimpleReply } from '../../src/replies/simple.js';
import { hex, u32, u64 } from '../support/hex.js';

const SOURCE = { cookieHigh: 0x01020304, cookieLow: 0xf5f6f7f8 | 0 };
const COOKIE = '01020304f5f6f7f8';
const REQUEST_OFFSET = 2 ** 45 + 0x8000_0000;
const EXTENTS = new Uint32Array([0xffff_ffff, 3, 4096, 0, 9, 9]);

/** The header of a chunk with the flags and type given. */
function compact(flagsAndType: string, lengthBytes: number): string {
  return '668e33ef' + flagsAndType + COOKIE + u32(lengthBytes);
}

function extended(flagsAndType: string, lengthBytes: number): string {
  return '6e8a278c' + flagsAndType + COOKIE + u64(BigInt(REQUEST_OFFSET)) + u64(lengthBytes);
}

function written(length: number, encode: (view: DataView, at: number) => void): string {
  const bytes = new Uint8Array(120).fill(0xee);
  encode(new DataView(bytes.buffer), 5);
  expect(hex(bytes.subarray(0, 5)) + hex(bytes.subarray(5 + length))).toMatch(/^(ee)+$/);
  return hex(bytes.subarray(5, 5 + length));
}

test('simple reply', () => {
  expect(written(16, (view, at) => encodeSimpleReply(view, at, 28, SOURCE.cookieHigh, SOURCE.cookieLow))).toBe(
    '67446698' + u32(28) + COOKIE,
  );
});

test.each([
  [false, compact],
  [true, extended],
])('chunks (extended headers: %s)', (isExtended, header) => {
  const requestOffset = REQUEST_OFFSET;
  const data = written(offsetDataBytes(isExtended), (view, at) =>
    encodeOffsetData(view, at, isExtended, 1, SOURCE, requestOffset, requestOffset + 512, 4096),
  );
  expect(data).toBe(header('00010001', 4104) + u64(BigInt(requestOffset + 512)));
  const error = written(chunkHeaderBytes(isExtended) + ERROR_DATA_BYTES, (view, at) =>
    encodeErrorChunk(view, at, isExtended, SOURCE, requestOffset, 22),
  );
  expect(error).toBe(header('00018001', 6) + u32(22) + '0000');
});

test('BLOCK_STATUS', () => {
  expect(written(statusBytes(false, 2), (view, at) => encodeStatus(view, at, false, 1, SOURCE, 0, 7, EXTENTS, 2))).toBe(
    compact('00010005', 20) + u32(7) + 'ffffffff' + u32(3) + u32(4096) + u32(0),
  );
});

test('BLOCK_STATUS_EXT', () => {
  expect(written(statusBytes(true, 2), (view, at) => encodeStatus(view, at, true, 0, SOURCE, REQUEST_OFFSET, 7, EXTENTS, 2))).toBe(
    extended('00000006', 40) + u32(7) + u32(2) + u64(0xffff_ffff) + u64(3) + u64(4096) + u64(0),
  );
});

test('NONE', () => {
  expect(written(32, (view, at) => encodeDone(view, at, SOURCE, REQUEST_OFFSET))).toBe(extended('00010000', 0));
});
