import { describe, expect, it } from 'vitest';
import type { MetadataStore, Versioned } from '../../../src/meta/store.js';
import type { Bench } from './bench.js';

export function describeReading(bench: Bench): void {
  describe('reading', () => {
    it('a key that does not exist is null; one that does has its value and version', async () => {
      const p = bench.area();
      expect(await bench.store.get(`${p}a`)).toBe(null);
      const version = await bench.put(`${p}a`, { n: 1 });
      const expected: Versioned = { key: `${p}a`, value: { n: 1 }, version };
      expect(await bench.store.get(`${p}a`)).toEqual(expected);
      expect(await bench.other.get(`${p}a`)).toEqual(expected);
      expect(await bench.store.get(`${p}`)).toBe(null);
      expect(await bench.store.get(`${p}ab`)).toBe(null);
      await bench.store.transaction([], [{ remove: `${p}a` }]);
      expect(await bench.store.get(`${p}a`)).toBe(null);
    });

    it('a range has the keys that begin so, in order of their characters, and none of those that sort around them', async () => {
      const p = bench.area();
      const inside = [
        `${p}x/`,
        `${p}x/ `,
        `${p}x/-`,
        `${p}x/1`,
        `${p}x/10`,
        `${p}x/2`,
        `${p}x/A`,
        `${p}x/a`,
        `${p}x/a/b`,
        `${p}x/~`,
        `${p}x/~~`,
      ];
      const around = [`${p}x`, `${p}x.`, `${p}x0`, `${p}w~`, `${p}y`, `${p}X/`, `${p}x-/`];
      // Written in no order.
      for (const key of [...inside, ...around].sort((a, b) => (hash(a) < hash(b) ? -1 : 1))) await bench.put(key);
      const { items } = await bench.store.range(`${p}x/`);
      expect(items.map(item => item.key)).toEqual(inside);
      expect(await bench.store.keys(`${p}x/`)).toEqual(inside);
      expect(items.map(item => item.value)).toEqual(inside);
      expect(items.every(item => item.version > 0)).toBe(true);
      expect(await bench.keysOf(`${p}x`)).toEqual([...inside, ...around.filter(key => key.startsWith(`${p}x`))].sort());
      expect(await bench.keysOf(`${p}x/~~`)).toEqual([`${p}x/~~`]);
      expect(await bench.keysOf(`${p}x/~~~`)).toEqual([]);
    });

    it('a range over everything has all keys and nothing else', async () => {
      const p = bench.area();
      await bench.put(`${p}a`);
      await bench.put('0');
      await bench.put('z~');
      const all = await bench.keysOf('');
      expect(all).toContain(`${p}a`);
      expect(all).toEqual([...all].sort());
      expect(await bench.store.keys('')).toEqual(all);
      expect(all[0]).toBe('0');
      expect(all.at(-1)).toBe('z~');
      await bench.store.transaction([], [{ remove: '0' }, { remove: 'z~' }]);
    });

    it('a range of thousands of keys is complete', async () => {
      const p = bench.area();
      const value = 'x'.repeat(300);
      const count = 3_000;
      for (let from = 0; from < count; from += 100) {
        await bench.store.transaction(
          [],
          Array.from({ length: 100 }, (_, i) => ({ put: p + String(from + i).padStart(5, '0'), value })),
        );
      }
      expect((await bench.keysOf(p)).length).toBe(count);
    });
  });
}

export function describeTransactions(bench: Bench): void {
  describe('transactions', () => {
    it('with version 0, the key must not exist', async () => {
      const key = `${bench.area()}a`;
      expect((await bench.store.transaction([{ key, version: 0 }], [{ put: key, value: 1 }])).ok).toBe(true);
      expect(await bench.other.transaction([{ key, version: 0 }], [{ put: key, value: 2 }])).toEqual({ ok: false });
      expect((await bench.store.get(key))?.value).toBe(1);
    });

    it('with a version, the key must have just that one', async () => {
      const key = `${bench.area()}a`;
      expect(await bench.store.transaction([{ key, version: 5 }], [{ put: key, value: 1 }])).toEqual({ ok: false });
      const first = await bench.put(key, 1);
      for (const version of [0, first + 1, Math.max(0, first - 1), Number.MAX_SAFE_INTEGER]) {
        expect(await bench.store.transaction([{ key, version }], [{ put: key, value: 2 }])).toEqual({ ok: false });
      }
      const second = await bench.other.transaction([{ key, version: first }], [{ put: key, value: 2 }]);
      expect(second).toEqual({ ok: true, version: await bench.versionOf(key) });
      expect(await bench.store.transaction([{ key, version: first }], [{ put: key, value: 3 }])).toEqual({ ok: false });
      expect((await bench.store.get(key))?.value).toBe(2);
    });

    it('apply all operations under one version, or, when one compare of several fails, none', async () => {
      const p = bench.area();
      const [a, b, c] = [`${p}a`, `${p}b`, `${p}c`];
      const version = await bench.put(a, 1);
      await bench.put(c, 1);
      const compares = [
        { key: a, version },
        { key: b, version: 0 },
      ];
      const operations = [{ put: a, value: 2 }, { put: b, value: 2 }, { remove: c }];
      expect(await bench.store.transaction([...compares, { key: c, version: 0 }], operations)).toEqual({ ok: false });
      expect((await bench.store.range(p)).items.map(item => item.value)).toEqual([1, 1]);
      const result = await bench.store.transaction(compares, operations);
      expect(result.ok).toBe(true);
      const { items } = await bench.store.range(p);
      expect(items.map(({ key, value }) => [key, value])).toEqual([
        [a, 2],
        [b, 2],
      ]);
      expect(items.map(item => item.version)).toEqual(items.map(() => (result as { version: number }).version));
    });

    it('can compare what they do not change, change what they do not compare, and do nothing', async () => {
      const p = bench.area();
      const version = await bench.put(`${p}a`, 1);
      expect((await bench.store.transaction([{ key: `${p}a`, version }], [{ put: `${p}b`, value: 1 }])).ok).toBe(true);
      expect(await bench.versionOf(`${p}a`)).toBe(version);
      expect((await bench.store.transaction([{ key: `${p}a`, version }], [])).ok).toBe(true);
      expect(await bench.store.transaction([{ key: `${p}a`, version: version + 1 }], [])).toEqual({ ok: false });
      expect((await bench.store.transaction([], [{ remove: `${p}none` }])).ok).toBe(true);
      expect((await bench.store.transaction([], [])).ok).toBe(true);
      expect(await bench.versionOf(`${p}a`)).toBe(version);
    });

    it('may compare a key twice', async () => {
      const key = `${bench.area()}a`;
      const version = await bench.put(key);
      const same = { key, version };
      expect(await bench.store.transaction([same, { key, version: 0 }], [{ put: key, value: 1 }])).toEqual({ ok: false });
      expect((await bench.store.transaction([same, same], [{ put: key, value: 1 }])).ok).toBe(true);
    });

    it('give a key a version that rises with every write and never comes back, over removals too', async () => {
      const key = `${bench.area()}a`;
      const seen: number[] = [];
      for (let round = 0; round < 5; round++) {
        seen.push(await bench.put(key, 'same'), await bench.put(key, 'same'));
        await bench.store.transaction([], [{ remove: key }]);
        expect(await bench.versionOf(key)).toBe(0);
      }
      seen.push(await bench.put(key, 'same'));
      expect(seen.every((version, i) => version > (seen[i - 1] ?? 0))).toBe(true);
      // ABA: same key, same value, written again since.
      for (const version of seen.slice(0, -1)) {
        expect(await bench.store.transaction([{ key, version }], [{ put: key, value: 'lost update' }])).toEqual({ ok: false });
      }
    });

    it('lose no update when many compare and swap at once', async () => {
      const key = `${bench.area()}counter`;
      await bench.put(key, 0);
      let attempts = 0;
      const add = async (client: MetadataStore): Promise<void> => {
        for (let added = 0; added < 15;) {
          const found = (await client.get(key))!;
          const { version } = found;
          attempts++;
          if ((await client.transaction([{ key, version }], [{ put: key, value: (found.value as number) + 1 }])).ok) added++;
        }
      };
      await Promise.all([add(bench.store), add(bench.other), add(bench.store), add(bench.other)]);
      expect((await bench.store.get(key))?.value).toBe(60);
      expect(attempts).toBeGreaterThanOrEqual(60);
    });

    it('are seen by every read that begins after they were answered, whichever client asks', async () => {
      const key = `${bench.area()}a`;
      for (let i = 0; i < 50; i++) {
        await (i % 2 === 0 ? bench.store : bench.other).transaction([], [{ put: key, value: i }]);
        expect((await (i % 2 === 0 ? bench.other : bench.store).get(key))?.value).toBe(i);
      }
    });
  });
}

/** Any order that is not that of the keys. */
function hash(text: string): number {
  return [...text].reduce((sum, character) => (Math.imul(sum, 31) + character.charCodeAt(0)) >>> 0, 7);
}
