import assert from 'node:assert/strict';
import { SieveIndex } from '../../base/sieve-index.js';
import { BLOCK_BYTES, type CachePort } from '../core/ports.js';
import { MAX_CACHE_PAGES } from './limits.js';

const PAGE_SHIFT = 12;
assert.equal(1 << PAGE_SHIFT, BLOCK_BYTES);

export interface CacheStatistics {
  readonly pages: number;
  readonly usedPages: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
}

/**
 * The cache of one shard: 4 KiB pages in its part of the arena, from `baseOffset` (page-aligned), `pages` of them. Which page holds
 * which block, and who has to go, is the index's affair; here pages get their places.
 */
export class UnifiedCache implements CachePort {
  readonly #index: SieveIndex;

  constructor(
    readonly baseOffset: number,
    readonly pages: number,
    index: SieveIndex = new SieveIndex(pages),
  ) {
    assert(baseOffset % BLOCK_BYTES === 0, 'the cache must start at a page');
    assert(pages <= MAX_CACHE_PAGES, `a cache has at most ${MAX_CACHE_PAGES} pages`);
    assert(index.slots === pages, 'the index has a slot for each page');
    this.#index = index;
  }

  find(owner: number, block: number): number {
    const page = this.#index.find(owner, block);
    return page < 0 ? -1 : this.baseOffset + page * BLOCK_BYTES;
  }

  pin(pageOffset: number): void {
    this.#index.pin(this.#pageOf(pageOffset));
  }

  unpin(pageOffset: number): void {
    this.#index.unpin(this.#pageOf(pageOffset));
  }

  insert(owner: number, block: number): number {
    const page = this.#index.insert(owner, block);
    return page < 0 ? -1 : this.baseOffset + page * BLOCK_BYTES;
  }

  drop(owner: number, block: number, blocks: number): void {
    this.#index.removeRange(owner, block, blocks);
  }

  dropOwner(owner: number): void {
    this.#index.removeOwner(owner);
  }

  /** Whether the offset is a page of this cache: a reader that mixes pages and transfer buffers can tell what to unpin. */
  holds(offset: number): boolean {
    return offset >= this.baseOffset && offset < this.baseOffset + this.pages * BLOCK_BYTES;
  }

  statistics(): CacheStatistics {
    const { hits, misses, evictions, used } = this.#index;
    return { pages: this.pages, usedPages: used, hits, misses, evictions };
  }

  #pageOf(pageOffset: number): number {
    const page = (pageOffset - this.baseOffset) >>> PAGE_SHIFT;
    assert(page < this.pages, 'not a page of this cache');
    return page;
  }
}
