import { describe, expect, it, vi } from 'vitest';
import type { MetadataStore } from '../../../src/meta/store.js';
import { MAX_META_HINT_KEYS } from '../../../src/wire/limits.js';
import { sleep } from '../../support/wait.js';
import type { Bench } from './bench.js';

export function describeWatches(bench: Bench): void {
  describe('watches', () => {
    /** Waits until the watch is known to work: what was told until then is of no interest. */
    async function begun(
      prefix: string,
      from: MetadataStore = bench.store,
    ): Promise<{ listener: ReturnType<typeof vi.fn>; close: () => void }> {
      const listener = vi.fn();
      const watch = from.watch(prefix, listener);
      await vi.waitFor(
        async () => {
          await bench.put(`${prefix}begin`);
          await sleep(50);
          expect(listener).toHaveBeenCalled();
        },
        { timeout: 10_000, interval: 50 },
      );
      await sleep(100);
      listener.mockClear();
      return { listener, close: () => watch.close() };
    }

    it('tell of puts and removals under their prefix, by any client, and of nothing else', async () => {
      const p = bench.area();
      const { listener, close } = await begun(`${p}x/`);
      for (const key of [`${p}x`, `${p}x0`, `${p}y/a`]) await bench.put(key);
      await bench.other.transaction([], [{ put: `${p}z`, value: 1 }]);
      await sleep(100);
      expect(listener).not.toHaveBeenCalled();
      await bench.other.transaction([], [{ put: `${p}x/a`, value: 1 }]);
      await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: false, keys: [`${p}x/a`] }]]), 5_000);
      await bench.store.transaction([], [{ put: `${p}y`, value: 1 }, { remove: `${p}x/a` }]);
      await vi.waitFor(() => expect(listener.mock.calls).toHaveLength(2), 5_000);
      expect(listener.mock.calls[1]).toEqual([{ broken: false, keys: [`${p}x/a`] }]);
      close();
    });

    it('name no keys where they are too many', async () => {
      const p = bench.area();
      const { listener, close } = await begun(p);
      const put = Array.from({ length: MAX_META_HINT_KEYS + 1 }, (_, i) => ({ put: `${p}${i}`, value: 1 }));
      await bench.store.transaction([], put);
      await vi.waitFor(() => expect(listener.mock.calls).toEqual([[{ broken: false }]]), 5_000);
      close();
    });

    it('tell nothing of a transaction that was not applied', async () => {
      const p = bench.area();
      const { listener, close } = await begun(p);
      await bench.store.transaction([{ key: `${p}a`, version: 77 }], [{ put: `${p}a`, value: 1 }]);
      await sleep(100);
      expect(listener).not.toHaveBeenCalled();
      close();
    });

    it('merge, but never miss the last change: who lists after a hint has seen all', async () => {
      const p = bench.area();
      let listed = -1;
      const list = async (): Promise<void> => {
        const { items } = await bench.other.range(p);
        listed = Math.max(listed, ...items.map(item => item.value as number));
      };
      const watch = bench.other.watch(p, () => void list());
      await list();
      for (let i = 0; i < 100; i++) await bench.put(`${p}a`, i);
      await vi.waitFor(() => expect(listed).toBe(99), 10_000);
      watch.close();
    });

    it('miss nothing between their beginning and a list', async () => {
      const p = bench.area();
      for (let round = 0; round < 10; round++) {
        const key = `${p}${round}/a`;
        let seen = false;
        const list = async (): Promise<void> => {
          if ((await bench.other.range(`${p}${round}/`)).items.length > 0) seen = true;
        };
        const watch = bench.other.watch(`${p}${round}/`, () => void list());
        await list();
        await bench.put(key);
        await vi.waitFor(() => expect(seen).toBe(true), 5_000);
        watch.close();
      }
    });

    it('tell nothing after they were closed, not even what was on its way', async () => {
      const p = bench.area();
      const { listener, close } = await begun(p);
      const written = Array.from({ length: 20 }, (_, i) => bench.put(`${p}${i}`));
      await written[0];
      close();
      close();
      listener.mockClear();
      await Promise.all(written);
      await bench.put(`${p}b`);
      await sleep(100);
      expect(listener).not.toHaveBeenCalled();
    });

    it('are many, each for itself', async () => {
      const p = bench.area();
      const told = new Map<number, number>();
      const watches = Array.from({ length: 200 }, (_, i) => bench.other.watch(`${p}${i}/`, () => void told.set(i, (told.get(i) ?? 0) + 1)));
      await vi.waitFor(
        async () => {
          for (let from = 0; from < 200; from += 50) {
            await bench.store.transaction(
              [],
              Array.from({ length: 50 }, (_, i) => ({ put: `${p}${from + i}/a`, value: 1 })),
            );
          }
          await sleep(100);
          expect(told.size).toBe(200);
        },
        { timeout: 15_000, interval: 100 },
      );
      await sleep(200);
      told.clear();
      await bench.put(`${p}7/a`);
      await bench.put(`${p}70/a`);
      await vi.waitFor(() => expect([...told.keys()].sort()).toEqual([7, 70]), 5_000);
      watches[7]!.close();
      await bench.put(`${p}7/a`);
      await bench.put(`${p}8/a`);
      await vi.waitFor(() => expect([...told.keys()].sort()).toEqual([7, 70, 8]), 5_000);
      expect(told.get(7)).toBe(1);
      for (const watch of watches) watch.close();
    });
  });
}
