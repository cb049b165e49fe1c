import { ArenaRegion, createArena } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { cacheRegionBytes, makeCache } from '../../../src/stargate/cache/cache-region.js';

const MIB = 1 << 20;

describe('the memory of a cache', () => {
  it.each([4096, 5 * MIB, 16 * MIB + 4096])('%i bytes hold as many whole pages; the index lies behind them', cacheBytes => {
    const region = new ArenaRegion(createArena(cacheRegionBytes(cacheBytes)));
    const cache = makeCache(region, cacheBytes);
    expect(region.availableBytes).toBe(0);
    expect(cache.pages).toBe(cacheBytes / 4096);
    const { bytes } = region.arena;
    for (let block = 0; block < cache.pages; block++) {
      const page = cache.insert(1, block);
      bytes.fill(0xff, page, page + 4096);
    }
    // Pages that are written all through leave the index whole.
    for (let block = 0; block < cache.pages; block++) expect(cache.find(1, block)).toBeGreaterThanOrEqual(cache.baseOffset);
    expect(cache.statistics().evictions).toBe(0);
  });

  it('without pages there is none', () => expect(cacheRegionBytes(0)).toBe(0));
});
