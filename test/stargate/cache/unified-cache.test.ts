import { describe, expect, it } from 'vitest';
import { UnifiedCache } from '../../../src/stargate/cache/unified-cache.js';

const BASE = 3 * 2 ** 30;

describe('UnifiedCache', () => {
  it('gives each block a page of its own in its part of the arena', () => {
    const cache = new UnifiedCache(BASE, 4);
    const offsets = [0, 1, 2 ** 32, 2 ** 41 - 1].map(block => cache.insert(7, block));
    expect(new Set(offsets).size).toBe(4);
    for (const offset of offsets) {
      expect(offset % 4096).toBe(0);
      expect(cache.holds(offset)).toBe(true);
    }
    expect([0, 1, 2 ** 32, 2 ** 41 - 1].map(block => cache.find(7, block))).toEqual(offsets);
    expect(cache.find(8, 0)).toBe(-1);
    expect(cache.holds(BASE - 1)).toBe(false);
    expect(cache.holds(BASE + 4 * 4096)).toBe(false);
  });

  it('lets a pinned page live on when its block is replaced or dropped', () => {
    const cache = new UnifiedCache(BASE, 2);
    const old = cache.insert(1, 5);
    cache.pin(old);
    const replaced = cache.insert(1, 5);
    expect(replaced).not.toBe(old);
    expect(cache.find(1, 5)).toBe(replaced);
    // One page is left for everything else, as long as the pin is there.
    expect(cache.insert(1, 6)).toBe(replaced);
    cache.pin(replaced);
    cache.dropOwner(1);
    expect(cache.find(1, 6)).toBe(-1);
    expect(cache.insert(1, 7)).toBe(-1);
    cache.unpin(old);
    expect(cache.insert(1, 7)).toBe(old);
    cache.unpin(replaced);
    expect(cache.insert(1, 8)).toBe(replaced);
  });

  it('drops a range of the whole address space at the cost of its pages', () => {
    const cache = new UnifiedCache(BASE, 1000);
    for (let block = 0; block < 1000; block++) cache.insert(1 + (block % 2), block * 2 ** 30);
    cache.drop(1, 0, 2 ** 41);
    expect(cache.statistics().usedPages).toBe(500);
    expect(cache.find(2, 2 ** 30)).toBeGreaterThan(0);
  });

  it('counts', () => {
    const cache = new UnifiedCache(BASE, 2);
    for (const block of [1, 2, 3]) cache.insert(1, block);
    cache.find(1, 3);
    cache.find(1, 4);
    expect(cache.statistics()).toEqual({ pages: 2, usedPages: 2, hits: 1, misses: 1, evictions: 1 });
  });
});
