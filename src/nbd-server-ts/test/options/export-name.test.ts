import { expect, test } from 'vitest';
import { handleExportName } from '../../src/options/export-name.js';
import { described, negotiationOf } from '../support/described.js';
import { hex } from '../support/hex.js';

const name = new TextEncoder().encode('disk');

test('size and flags, without the zeroes where both sides agreed', () => {
  const outcome = handleExportName(negotiationOf(described({ sizeBytes: 0x1_0000_1000 })), name);
  // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, DF, MULTI_CONN, CACHE, FAST_ZERO
  expect(hex(outcome.raw!)).toBe('0000000100001000' + '0ded');
  expect(outcome.then.kind).toBe('transmission');
  expect(outcome.replies).toEqual([]);
});

test('124 zero bytes for a client without NO_ZEROES', () => {
  const negotiation = { ...negotiationOf(described()), noZeroes: false };
  const { raw } = handleExportName(negotiation, name);
  expect(raw!.length).toBe(134);
  expect(raw!.subarray(10).every(byte => byte === 0)).toBe(true);
});

test.each([
  ['unknown', new TextEncoder().encode('other')],
  ['with a NUL', new TextEncoder().encode('di\0sk')],
  ['not UTF-8', new Uint8Array([0xff, 0xfe])],
  ['longer than 4096 bytes', new Uint8Array(4097).fill(97)],
])('a name that is %s closes', (_what, bytes) => {
  expect(handleExportName(negotiationOf(described()), bytes)).toMatchObject({ replies: [], then: { kind: 'close' } });
});
