import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MetaUnavailable } from '../../../src/meta/errors.js';
import type { MetadataStore, Versioned } from '../../../src/meta/store.js';
import { MAX_META_KEY_LENGTH, MAX_META_TRANSACTION, MAX_META_TRANSACTION_BYTES, MAX_META_VALUE_BYTES } from '../../../src/wire/limits.js';

/** One implementation, ready for use. */
export interface Subject {
  /** Another client of the same data; where there can be none, the same one again. */
  open(): Promise<MetadataStore>;
  close(): Promise<void>;
}

/** What every metadata store promises (src/meta/store.ts), proved on the real thing. Each test has keys of its own. */
export function describeStore(name: string, start: () => Promise<Subject>): void {
  describe(`metadata store contract: ${name}`, () => {
    let subject: Subject;
    let store: MetadataStore;
    let other: MetadataStore;
    let lastArea = 0;
    /** A prefix that no other test uses. */
    const area = (): string => `t${String(++lastArea).padStart(4, '0')}/`;

    beforeAll(async () => {
      subject = await start();
      store = await subject.open();
      other = await subject.open();
    });
    afterAll(() => subject.close());

    const put = async (key: string, value: unknown = key): Promise<number> => {
      const result = await store.transaction([], [{ put: key, value }]);
      if (!result.ok) throw new Error('a transaction without compares failed');
      return result.version;
    };
    const versionOf = async (key: string): Promise<number> => (await store.get(key))?.version ?? 0;
    const keysOf = async (prefix: string): Promise<string[]> => (await store.range(prefix)).items.map(item => item.key);

    describe('reading', () => {
      it('a key that does not exist is null; one that does has its value and version', async () => {
        const p = area();
        expect(await store.get(`${p}a`)).toBe(null);
        const version = await put(`${p}a`, { n: 1 });
        const expected: Versioned = { key: `${p}a`, value: { n: 1 }, version };
        expect(await store.get(`${p}a`)).toEqual(expected);
        expect(await other.get(`${p}a`)).toEqual(expected);
        expect(await store.get(`${p}`)).toBe(null);
        expect(await store.get(`${p}ab`)).toBe(null);
        await store.transaction([], [{ remove: `${p}a` }]);
        expect(await store.get(`${p}a`)).toBe(null);
      });

      it('a range has the keys that begin so, in order of their characters, and none of those that sort around them', async () => {
        const p = area();
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
        for (const key of [...inside, ...around].sort((a, b) => (hash(a) < hash(b) ? -1 : 1))) await put(key);
        const { items } = await store.range(`${p}x/`);
        expect(items.map(item => item.key)).toEqual(inside);
        expect(items.map(item => item.value)).toEqual(inside);
        expect(items.every(item => item.version > 0)).toBe(true);
        expect(await keysOf(`${p}x`)).toEqual([...inside, ...around.filter(key => key.startsWith(`${p}x`))].sort());
        expect(await keysOf(`${p}x/~~`)).toEqual([`${p}x/~~`]);
        expect(await keysOf(`${p}x/~~~`)).toEqual([]);
      });

      it('a range over everything has all keys and nothing else', async () => {
        const p = area();
        await put(`${p}a`);
        await put('0');
        await put('z~');
        const all = await keysOf('');
        expect(all).toContain(`${p}a`);
        expect(all).toEqual([...all].sort());
        expect(all[0]).toBe('0');
        expect(all.at(-1)).toBe('z~');
        await store.transaction([], [{ remove: '0' }, { remove: 'z~' }]);
      });

      it('a range of thousands of keys is complete', async () => {
        const p = area();
        const value = 'x'.repeat(300);
        const count = 3_000;
        for (let from = 0; from < count; from += 100) {
          await store.transaction(
            [],
            Array.from({ length: 100 }, (_, i) => ({ put: p + String(from + i).padStart(5, '0'), value })),
          );
        }
        expect((await keysOf(p)).length).toBe(count);
      });
    });

    describe('transactions', () => {
      it('with version 0, the key must not exist', async () => {
        const key = `${area()}a`;
        expect((await store.transaction([{ key, version: 0 }], [{ put: key, value: 1 }])).ok).toBe(true);
        expect(await other.transaction([{ key, version: 0 }], [{ put: key, value: 2 }])).toEqual({ ok: false });
        expect((await store.get(key))?.value).toBe(1);
      });

      it('with a version, the key must have just that one', async () => {
        const key = `${area()}a`;
        expect(await store.transaction([{ key, version: 5 }], [{ put: key, value: 1 }])).toEqual({ ok: false });
        const first = await put(key, 1);
        for (const version of [0, first + 1, Math.max(0, first - 1), Number.MAX_SAFE_INTEGER]) {
          expect(await store.transaction([{ key, version }], [{ put: key, value: 2 }])).toEqual({ ok: false });
        }
        const second = await other.transaction([{ key, version: first }], [{ put: key, value: 2 }]);
        expect(second).toEqual({ ok: true, version: await versionOf(key) });
        expect(await store.transaction([{ key, version: first }], [{ put: key, value: 3 }])).toEqual({ ok: false });
        expect((await store.get(key))?.value).toBe(2);
      });

      it('apply all operations under one version, or, when one compare of several fails, none', async () => {
        const p = area();
        const [a, b, c] = [`${p}a`, `${p}b`, `${p}c`];
        const version = await put(a, 1);
        await put(c, 1);
        const compares = [
          { key: a, version },
          { key: b, version: 0 },
        ];
        const operations = [{ put: a, value: 2 }, { put: b, value: 2 }, { remove: c }];
        expect(await store.transaction([...compares, { key: c, version: 0 }], operations)).toEqual({ ok: false });
        expect((await store.range(p)).items.map(item => item.value)).toEqual([1, 1]);
        const result = await store.transaction(compares, operations);
        expect(result.ok).toBe(true);
        const { items } = await store.range(p);
        expect(items.map(({ key, value }) => [key, value])).toEqual([
          [a, 2],
          [b, 2],
        ]);
        expect(items.map(item => item.version)).toEqual(items.map(() => (result as { version: number }).version));
      });

      it('can compare what they do not change, change what they do not compare, and do nothing', async () => {
        const p = area();
        const version = await put(`${p}a`, 1);
        expect((await store.transaction([{ key: `${p}a`, version }], [{ put: `${p}b`, value: 1 }])).ok).toBe(true);
        expect(await versionOf(`${p}a`)).toBe(version);
        expect((await store.transaction([{ key: `${p}a`, version }], [])).ok).toBe(true);
        expect(await store.transaction([{ key: `${p}a`, version: version + 1 }], [])).toEqual({ ok: false });
        expect((await store.transaction([], [{ remove: `${p}none` }])).ok).toBe(true);
        expect((await store.transaction([], [])).ok).toBe(true);
        expect(await versionOf(`${p}a`)).toBe(version);
      });

      it('may compare a key twice', async () => {
        const key = `${area()}a`;
        const version = await put(key);
        const same = { key, version };
        expect(await store.transaction([same, { key, version: 0 }], [{ put: key, value: 1 }])).toEqual({ ok: false });
        expect((await store.transaction([same, same], [{ put: key, value: 1 }])).ok).toBe(true);
      });

      it('give a key a version that rises with every write and never comes back, over removals too', async () => {
        const key = `${area()}a`;
        const seen: number[] = [];
        for (let round = 0; round < 5; round++) {
          seen.push(await put(key, 'same'), await put(key, 'same'));
          await store.transaction([], [{ remove: key }]);
          expect(await versionOf(key)).toBe(0);
        }
        seen.push(await put(key, 'same'));
        expect(seen.every((version, i) => version > (seen[i - 1] ?? 0))).toBe(true);
        // ABA: same key, same value, written again since.
        for (const version of seen.slice(0, -1)) {
          expect(await store.transaction([{ key, version }], [{ put: key, value: 'lost update' }])).toEqual({ ok: false });
        }
      });

      it('lose no update when many compare and swap at once', async () => {
        const key = `${area()}counter`;
        await put(key, 0);
        let attempts = 0;
        const add = async (client: MetadataStore): Promise<void> => {
          for (let added = 0; added < 15;) {
            const found = (await client.get(key))!;
            const { version } = found;
            attempts++;
            if ((await client.transaction([{ key, version }], [{ put: key, value: (found.value as number) + 1 }])).ok) added++;
          }
        };
        await Promise.all([add(store), add(other), add(store), add(other)]);
        expect((await store.get(key))?.value).toBe(60);
        expect(attempts).toBeGreaterThanOrEqual(60);
      });

      it('are seen by every read that begins after they were answered, whichever client asks', async () => {
        const key = `${area()}a`;
        for (let i = 0; i < 50; i++) {
          await (i % 2 === 0 ? store : other).transaction([], [{ put: key, value: i }]);
          expect((await (i % 2 === 0 ? other : store).get(key))?.value).toBe(i);
        }
      });
    });

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
        const key = `${area()}a`;
        await put(key, value);
        expect((await store.get(key))?.value).toEqual(value);
        expect((await other.range(key)).items.map(item => item.value)).toEqual([value]);
      });

      it('bytes come back as bytes, which later reads leave alone', async () => {
        const p = area();
        const bytes = Uint8Array.from({ length: 1_000 }, (_, i) => i);
        await put(`${p}a`, { bytes });
        await put(`${p}b`, { bytes: new Uint8Array(1_000).fill(9) });
        const first = (await store.get(`${p}a`))!.value as { bytes: Uint8Array };
        await store.get(`${p}b`);
        await store.range(p);
        expect(Buffer.compare(first.bytes, bytes)).toBe(0);
      });
    });

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
        await expect(store.get(key)).rejects.toMatchObject(invalid('ERR_META_KEY'));
        await expect(store.transaction([{ key, version: 0 }], [])).rejects.toMatchObject(invalid('ERR_META_KEY'));
        await expect(store.transaction([], [{ put: key, value: 1 }])).rejects.toMatchObject(invalid('ERR_META_KEY'));
        await expect(store.transaction([], [{ remove: key }])).rejects.toMatchObject(invalid('ERR_META_KEY'));
        if (key === '') return;
        await expect(store.range(key)).rejects.toMatchObject(invalid('ERR_META_KEY'));
        expect(() => store.watch(key, () => undefined)).toThrow();
      });

      it('the length of a key', async () => {
        const longest = p + 'k'.repeat(MAX_META_KEY_LENGTH - p.length);
        await put(longest, 1);
        expect((await store.get(longest))?.value).toBe(1);
        expect(await keysOf(longest)).toEqual([longest]);
        await expect(store.get(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
        await expect(store.range(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
        await expect(put(`${longest}k`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
      });

      it('the size of a value', async () => {
        // msgpack puts five bytes before a text of this length.
        const largest = 'x'.repeat(MAX_META_VALUE_BYTES - 5);
        await put(`${p}large`, largest);
        expect(((await store.get(`${p}large`))?.value as string).length).toBe(largest.length);
        await expect(put(`${p}large`, `${largest}x`)).rejects.toMatchObject(invalid('ERR_META_LIMIT'));
        expect(((await store.get(`${p}large`))?.value as string).length).toBe(largest.length);
      });

      it('compares, operations and bytes of a transaction', async () => {
        const many = Array.from({ length: MAX_META_TRANSACTION }, (_, i) => `${p}m/${i}`);
        const compares = many.map(key => ({ key, version: 0 }));
        const operations = many.map(key => ({
          put: key,
          value: 'x'.repeat(Math.floor(MAX_META_TRANSACTION_BYTES / MAX_META_TRANSACTION) - 100),
        }));
        expect((await store.transaction(compares, operations)).ok).toBe(true);
        expect((await keysOf(`${p}m/`)).length).toBe(MAX_META_TRANSACTION);
        const tooMany = invalid('ERR_META_LIMIT');
        await expect(store.transaction([...compares, { key: `${p}x`, version: 0 }], [])).rejects.toMatchObject(tooMany);
        await expect(store.transaction([], [...operations, { remove: `${p}x` }])).rejects.toMatchObject(tooMany);
        const heavy = Array.from({ length: 5 }, (_, i) => ({ put: `${p}h/${i}`, value: 'x'.repeat(MAX_META_VALUE_BYTES - 5) }));
        await expect(store.transaction([], heavy)).rejects.toMatchObject(tooMany);
        expect(await keysOf(`${p}h/`)).toEqual([]);
      });

      it('one operation for a key', async () => {
        const key = `${p}twice`;
        const twice = invalid('ERR_META_TWICE');
        const one = { put: key, value: 1 };
        await expect(store.transaction([], [one, { put: key, value: 2 }])).rejects.toMatchObject(twice);
        await expect(store.transaction([], [one, { remove: key }])).rejects.toMatchObject(twice);
        await expect(store.transaction([], [{ remove: key }, one])).rejects.toMatchObject(twice);
        await expect(store.transaction([], [{ remove: key }, { remove: key }])).rejects.toMatchObject(twice);
        expect(await store.get(key)).toBe(null);
      });

      it('versions and values that are none', async () => {
        const key = `${p}odd`;
        for (const version of [-1, 1.5, Number.NaN, 2 ** 53]) {
          await expect(store.transaction([{ key, version }], [])).rejects.toMatchObject(invalid('ERR_META_VERSION'));
        }
        const circle: unknown[] = [];
        circle.push(circle);
        for (const value of [undefined, () => 1, Symbol('x'), 1n, new Map(), new Date(), { a: { b: new Set() } }, circle]) {
          await expect(store.transaction([], [{ put: key, value }])).rejects.toMatchObject(invalid('ERR_META_VALUE'));
        }
        expect(await store.get(key)).toBe(null);
      });
    });

    describe('watches', () => {
      /** Waits until the watch is known to work: what was told until then is of no interest. */
      async function begun(
        prefix: string,
        from: MetadataStore = store,
      ): Promise<{ listener: ReturnType<typeof vi.fn>; close: () => void }> {
        const listener = vi.fn();
        const watch = from.watch(prefix, listener);
        await vi.waitFor(
          async () => {
            await put(`${prefix}begin`);
            await quiet(50);
            expect(listener).toHaveBeenCalled();
          },
          { timeout: 10_000, interval: 50 },
        );
        await quiet(100);
        listener.mockClear();
        return { listener, close: () => watch.close() };
      }

      it('tell of puts and removals under their prefix, by any client, and of nothing else', async () => {
        const p = area();
        const { listener, close } = await begun(`${p}x/`);
        for (const key of [`${p}x`, `${p}x0`, `${p}y/a`]) await put(key);
        await other.transaction([], [{ put: `${p}z`, value: 1 }]);
        await quiet(100);
        expect(listener).not.toHaveBeenCalled();
        await other.transaction([], [{ put: `${p}x/a`, value: 1 }]);
        await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: false }]]), 5_000);
        await store.transaction([], [{ put: `${p}y`, value: 1 }, { remove: `${p}x/a` }]);
        await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: false }], [{ broken: false }]]), 5_000);
        close();
      });

      it('tell nothing of a transaction that was not applied', async () => {
        const p = area();
        const { listener, close } = await begun(p);
        await store.transaction([{ key: `${p}a`, version: 77 }], [{ put: `${p}a`, value: 1 }]);
        await quiet(100);
        expect(listener).not.toHaveBeenCalled();
        close();
      });

      it('merge, but never miss the last change: who lists after a hint has seen all', async () => {
        const p = area();
        let listed = -1;
        const list = async (): Promise<void> => {
          const { items } = await other.range(p);
          listed = Math.max(listed, ...items.map(item => item.value as number));
        };
        const watch = other.watch(p, () => void list());
        await list();
        for (let i = 0; i < 100; i++) await put(`${p}a`, i);
        await vi.waitFor(() => expect(listed).toBe(99), 10_000);
        watch.close();
      });

      it('miss nothing between their beginning and a list', async () => {
        const p = area();
        for (let round = 0; round < 10; round++) {
          const key = `${p}${round}/a`;
          let seen = false;
          const list = async (): Promise<void> => {
            if ((await other.range(`${p}${round}/`)).items.length > 0) seen = true;
          };
          const watch = other.watch(`${p}${round}/`, () => void list());
          await list();
          await put(key);
          await vi.waitFor(() => expect(seen).toBe(true), 5_000);
          watch.close();
        }
      });

      it('tell nothing after they were closed, not even what was on its way', async () => {
        const p = area();
        const { listener, close } = await begun(p);
        const written = Array.from({ length: 20 }, (_, i) => put(`${p}${i}`));
        await written[0];
        close();
        close();
        listener.mockClear();
        await Promise.all(written);
        await put(`${p}b`);
        await quiet(100);
        expect(listener).not.toHaveBeenCalled();
      });

      it('are many, each for itself', async () => {
        const p = area();
        const told = new Map<number, number>();
        const watches = Array.from({ length: 200 }, (_, i) => other.watch(`${p}${i}/`, () => void told.set(i, (told.get(i) ?? 0) + 1)));
        await vi.waitFor(
          async () => {
            for (let from = 0; from < 200; from += 50) {
              await store.transaction(
                [],
                Array.from({ length: 50 }, (_, i) => ({ put: `${p}${from + i}/a`, value: 1 })),
              );
            }
            await quiet(100);
            expect(told.size).toBe(200);
          },
          { timeout: 15_000, interval: 100 },
        );
        await quiet(200);
        told.clear();
        await put(`${p}7/a`);
        await put(`${p}70/a`);
        await vi.waitFor(() => expect([...told.keys()].sort()).toEqual([7, 70]), 5_000);
        watches[7]!.close();
        await put(`${p}7/a`);
        await put(`${p}8/a`);
        await vi.waitFor(() => expect([...told.keys()].sort()).toEqual([7, 70, 8]), 5_000);
        expect(told.get(7)).toBe(1);
        for (const watch of watches) watch.close();
      });
    });

    describe('closed', () => {
      it('everything is rejected with MetaUnavailable, what waits too', async () => {
        const closed = await start();
        try {
          const one = await closed.open();
          await one.get('a');
          const watch = one.watch('a', () => undefined);
          const waiting = Promise.allSettled([one.get('a'), one.range('a'), one.transaction([], [{ put: 'a', value: 1 }])]);
          await one.close();
          for (const result of await waiting) {
            if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(MetaUnavailable);
          }
          await expect(one.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
          await expect(one.range('a')).rejects.toBeInstanceOf(MetaUnavailable);
          await expect(one.transaction([], [{ put: 'a', value: 1 }])).rejects.toBeInstanceOf(MetaUnavailable);
          watch.close();
          await one.close();
        } finally {
          await closed.close();
        }
      });
    });
  });
}

const quiet = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

/** Any order that is not that of the keys. */
function hash(text: string): number {
  return [...text].reduce((sum, character) => (Math.imul(sum, 31) + character.charCodeAt(0)) >>> 0, 7);
}
