import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeString, encodeString } from '../../src/protocol/strings.js';

test('4096 bytes and no more', () => {
  expect(decodeString(new Uint8Array(4096).fill(97))).toBe('a'.repeat(4096));
  expect(decodeString(new Uint8Array(4097).fill(97))).toBeNull();
  expect(encodeString('ü'.repeat(2048))?.length).toBe(4096);
  expect(encodeString('ü'.repeat(2049))).toBeNull();
});

test.each([[[0]], [[0x61, 0, 0x62]], [[0xc0, 0x80]], [[0xed, 0xa0, 0x80]], [[0xff]], [[0xe2, 0x82]]])('%j is no string', bytes => {
  expect(decodeString(new Uint8Array(bytes))).toBeNull();
});

test('a lone surrogate cannot be sent', () => {
  expect(encodeString('\ud800')).toBeNull();
});

test('a byte order mark is a character like others', () => {
  expect(decodeString(encodeString('\ufeffx')!)).toBe('\ufeffx');
});

test('round trip', () => {
  const texts = fc.string({ unit: 'grapheme', maxLength: 100 }).filter(text => !text.includes('\0'));
  fc.assert(
    fc.property(texts, text => {
      expect(decodeString(encodeString(text)!)).toBe(text);
    }),
  );
});
