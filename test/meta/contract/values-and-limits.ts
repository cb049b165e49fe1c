import { describe, expect, it } from 'vitest';
import { MAX_META_KEY_LENGTH, MAX_META_TRANSACTION, MAX_META_TRANSACTION_BYTES, MAX_META_VALUE_BYTES } from '../../../src/wire/limits.js';
import type { Bench } from './bench.js';

export function describeValues(bench: Bench): void {
  describe('values', () => {
    it.each<[string, unknown]>([
      ['null', null],
      ['booleans', [true, false]],
      [
        'numbers',
        [0, -1, 1.5, 127, 128, 65_536, 2 ** 31, 2 ** 32, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 1e300],
      ],
      ['texts', ['', 'a', 'größe', '\u{1f600}', '\0', 'x'.repeat(100_000)]],
      ['an empty object, an empty array', { a: {}, b: [] }],
      ['nested objects', { a: [{ b: { c: [null, { '': 1, 'a b': 2 }] } }] }],
      ['a record like those of the model', { vdiskId: 'x', epoch: 3, members: [{ node: 'n', incarnation: 1 }], deleting: false }],
    ])('%s come back as they were', async (_, value) => {
      const key = `${bench.area()}a`;
      await bench.put(key, value);
      expect((await bench.store.get(key))?.value).toEqual(value);
      expect((await bench.other.range(key)).items.map(item => item.value)).toEqual([value]);
    });

    it('bytes come back as bytes, which later reads leave alone', async () => {
      const p = bench.area();
      const bytes = Uint8Array.from({ length: 1_000 }, (_, i) => i);
      await bench.put(`${p}a`, { bytes });
      await bench.put(`${p}b`, { bytes: new Uint8Array(1_000).fill(9) });
      const first = (await bench.store.get(`${p}a`))!.value as { bytes: Uint8Array };
      await bench.store.get(`${p}b`);
      await bench.store.range(p);
      expect(Buffer.compare(first.bytes, bytes)).toBe(0);
    });
  });
}

export function describeLimits(bench: Bench): void {
  describe('limits, the same for all', () => {
    const invalid = (code: string): object => ({ kind: 'invalid', code });
    const p = 'limits/';

    it.each<[string, string]>([
      ['empty', ''],
      ['beyond ASCII', 'a\u00fc'],
      ['a NUL', 'a\0'],
      ['a line break', 'a\n'],
      ['DEL', 'a\x7f'],
      ['a first character that no key has', '!version'],
      ['a slash in front', '/a'],
    ])('a key: %s', async (_, key) => {
      await expect(bench.store.get(key)).rejects.toMatchObject(invalid('ERR_META_KEY'));
      await expect(bench.store.transaction([{ key, version: 0 }], [])).rejects.toMatchObject(invalid('ERR_META_KEY'));
      await expect(bench.store.transaction([], [{ put: key, value: 1 }])).rejects.toMatchObject(invalid('ERR_META_KEY'));
      await expect(bench.store.transaction([], [{ remove: key }])).rejects.toMatchObject(invalid('ERR_META_KEY'));
      if (key === '') return;
      await expect(bench.store.range(key)).rejects.toMatchObject(invalid('ERR_META_KEY'));
      expect(() => bench.store.watch(key, () => undefined)).toThrow();
    });

    it('the length of a key', async () => {
      const longest = p + 'k'.repeat(MAX_META_KEY_LENGTH - p.length);
      await bench.put(longest, 1);
      expect((await bench.store.get(longest))?.value).toBe(1);
      expect(await bench.keysOf(longest)).toEqual([longest]);
      await expect(bench.store.get(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
      await expect(bench.store.range(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
      await expect(bench.put(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
    });

    it('the size of a value', async () => {
      // msgpack puts five bytes before a text of this length.
      const largest = 'x'.repeat(MAX_META_VALUE_BYTES - 5);
      await bench.put(`${p}large`, largest);
      expect(((await bench.store.get(`${p}large`))?.value as string).length).toBe(largest.length);
      await expect(bench.put(`${p}large`, `${largest}x`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
      expect(((await bench.store.get(`${p}large`))?.value as string).length).toBe(largest.length);
    });

    it('compares, operations and bytes of a transaction', async () => {
      const many = Array.from({ length: MAX_META_TRANSACTION }, (_, i) => `${p}m/${i}`);
      const compares = many.map(key => ({ key, version: 0 }));
      const operations = many.map(key => ({
        put: key,
        value: 'x'.repeat(Math.floor(MAX_META_TRANSACTION_BYTES / MAX_META_TRANSACTION) - 100),
      }));
      expect((await bench.store.transaction(compares, operations)).ok).toBe(true);
      expect((await bench.keysOf(`${p}m/`)).length).toBe(MAX_META_TRANSACTION);
      const tooMany = invalid('ERR_META_LIMIT');
      await expect(bench.store.transaction([...compares, { key: `${p}x`, version: 0 }], [])).rejects.toMatchObject(tooMany);
      await expect(bench.store.transaction([], [...operations, { remove: `${p}x` }])).rejects.toMatchObject(tooMany);
      const heavy = Array.from({ length: 5 }, (_, i) => ({ put: `${p}h/${i}`, value: 'x'.repeat(MAX_META_VALUE_BYTES - 5) }));
      await expect(bench.store.transaction([], heavy)).rejects.toMatchObject(tooMany);
      expect(await bench.keysOf(`${p}h/`)).toEqual([]);
    });

    it('one operation for a key', async () => {
      const key = `${p}twice`;
      const twice = invalid('ERR_META_TWICE');
      const one = { put: key, value: 1 };
      await expect(bench.store.transaction([], [one, { put: key, value: 2 }])).rejects.toMatchObject(twice);
      await expect(bench.store.transaction([], [one, { remove: key }])).rejects.toMatchObject(twice);
      await expect(bench.store.transaction([], [{ remove: key }, one])).rejects.toMatchObject(twice);
      await expect(bench.store.transaction([], [{ remove: key }, { remove: key }])).rejects.toMatchObject(twice);
      expect(await bench.store.get(key)).toBe(null);
    });

    it('versions and values that are none', async () => {
      const key = `${p}odd`;
      for (const version of [-1, 1.5, Number.NaN, 2 ** 53]) {
        await expect(bench.store.transaction([{ key, version }], [])).rejects.toMatchObject(invalid('ERR_META_VERSION'));
      }
      const circle: unknown[] = [];
      circle.push(circle);
      for (const value of [undefined, () => 1, Symbol('x'), 1n, new Map(), new Date(), { a: { b: new Set() } }, circle]) {
        await expect(bench.store.transaction([], [{ put: key, value }])).rejects.toMatchObject(invalid('ERR_META_VALUE'));
      }
      expect(await bench.store.get(key)).toBe(null);
    });
  });
}
