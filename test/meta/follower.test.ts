import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Follower, type Change } from '../../src/meta/follower.js';
import { MAX_META_HINT_KEYS } from '../../src/wire/limits.js';
import { MemoryMetadata } from './memory-metadata.js';

/** Counts what is read. */
class Counted extends MemoryMetadata {
  gets = 0;
  ranges = 0;

  override get(key: string): ReturnType<MemoryMetadata['get']> {
    this.gets++;
    return super.get(key);
  }

  override range(prefix: string): ReturnType<MemoryMetadata['range']> {
    this.ranges++;
    return super.range(prefix);
  }

  remove(key: string): Promise<unknown> {
    return this.transaction([], [{ remove: key }]);
  }

  /** What is told of these is lost, as in a break. */
  async unheard(work: () => Promise<unknown>): Promise<void> {
    const watches = [...this.watches];
    this.watches.clear();
    await work();
    for (const one of watches) this.watches.add(one);
  }

  tell(hint: { broken: boolean }): void {
    for (const { listener } of this.watches) listener(hint);
  }
}

let store: Counted;
let follower: Follower<string>;
let hints: number;

beforeEach(() => {
  store = new Counted();
  hints = 0;
  follower = new Follower(
    store,
    'a/',
    ({ value }) => {
      if (value === 'bad') throw new Error('it cannot be read');
      return value === 'none' ? null : (value as string);
    },
    () => hints++,
  );
});
afterEach(() => follower.close());

const said = (changes: readonly Change<string>[]): string[] => changes.map(({ key, before, after }) => `${key} ${before} → ${after}`);
const read = async (): Promise<string[]> => said(await follower.read());

describe('who follows a prefix', () => {
  it('reads all once, then what has changed', async () => {
    for (let i = 0; i < 1_000; i++) await store.put(`a/${i}`, 'x');
    expect(await read()).toHaveLength(1_000);
    for (let i = 0; i < 100; i++) {
      await store.put(`a/${i}`, 'y');
      expect(await read()).toEqual([`a/${i} x → y`]);
    }
    await store.put('b/1', 'x');
    await store.remove('a/7');
    await store.put('a/new', 'z');
    expect(await read()).toEqual(['a/7 y → null', 'a/new null → z']);
    expect(await read()).toEqual([]);
    expect([store.ranges, store.gets]).toEqual([1, 102]);
    expect([...follower.values()]).toHaveLength(1_000);
    expect([follower.get('a/7'), follower.get('a/8')]).toEqual([null, 'y']);
  });

  it.each(['broken', 'no keys'])('finds out after a break what it has not heard of: %s', async what => {
    for (const key of ['a/1', 'a/2', 'a/3']) await store.put(key, 'x');
    await read();
    await store.unheard(async () => {
      await store.remove('a/1');
      await store.put('a/2', 'y');
      await store.put('a/4', 'z');
    });
    expect(await read()).toEqual([]);
    hints = 0;
    store.tell({ broken: what === 'broken' });
    expect(hints).toBe(1);
    expect((await read()).sort()).toEqual(['a/1 x → null', 'a/2 x → y', 'a/4 null → z']);
  });

  it('reads all where very many have changed, and one that it is told to read', async () => {
    await read();
    for (let i = 0; i <= MAX_META_HINT_KEYS; i++) await store.put(`a/${i}`, 'x');
    expect(await read()).toHaveLength(MAX_META_HINT_KEYS + 1);
    expect([store.ranges, store.gets]).toEqual([2, 0]);
    await store.unheard(() => store.put('a/1', 'y'));
    follower.notice('a/1');
    expect(await read()).toEqual(['a/1 x → y']);
    expect([store.ranges, store.gets]).toEqual([2, 1]);
  });

  it('misses nothing that a read which fails was to read, or that changes while one is under way', async () => {
    await read();
    await store.put('a/1', 'x');
    store.available = false;
    await expect(follower.read()).rejects.toThrow('switched off');
    store.available = true;
    expect(await read()).toEqual(['a/1 null → x']);
    await store.put('a/1', 'y');
    // Behind the read, before its answer.
    const reading = read();
    await store.put('a/1', 'z');
    expect(await reading).toHaveLength(1);
    await read();
    expect(follower.get('a/1')).toBe('z');
  });

  it('takes nothing in of a read of which a record cannot be read, and none for one that is to be none', async () => {
    await read();
    await store.put('a/1', 'x');
    await store.put('a/2', 'bad');
    await expect(follower.read()).rejects.toThrow('it cannot be read');
    expect(follower.get('a/1')).toBe(null);
    await store.put('a/2', 'none');
    expect(await read()).toEqual(['a/1 null → x']);
    await store.put('a/1', 'none');
    expect(await read()).toEqual(['a/1 x → null']);
    await store.put('a/1', 'y');
    expect(await read()).toEqual(['a/1 null → y']);
  });
});
