import type { ArenaRegion } from 'uring-engine';
import { SieveIndex } from '../../base/sieve-index.js';
import { BLOCK_BYTES } from '../core/ports.js';
import { UnifiedCache } from './unified-cache.js';

const HUGE_PAGE_BYTES = 2 << 20;

/** Arena bytes of a shard's cache: its pages, and behind them their index. In the arena's huge pages a hit costs two looks at memory, not two walks through page tables as well. */
export function cacheRegionBytes(cacheBytes: number): number {
  const pages = Math.floor(cacheBytes / BLOCK_BYTES);
  return pages === 0 ? 0 : Math.ceil((pages * BLOCK_BYTES + SieveIndex.bytesFor(pages)) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
}

/** Takes {@link cacheRegionBytes} of the region. */
export function makeCache(region: ArenaRegion, cacheBytes: number): UnifiedCache {
  const pages = Math.floor(cacheBytes / BLOCK_BYTES);
  const baseOffset = region.take(cacheRegionBytes(cacheBytes), HUGE_PAGE_BYTES);
  const index = new SieveIndex(pages, region.arena.bytes.buffer, baseOffset + pages * BLOCK_BYTES);
  return new UnifiedCache(baseOffset, pages, index);
}
