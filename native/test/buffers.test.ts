import { afterEach, describe, expect, it, vi } from 'vitest';
import { createArena } from '../src/arena.js';
import { ArenaRegion, BufferPool } from '../src/buffers.js';
import { codeOf } from './contract/stage.js';

const arena = createArena(1 << 20);

describe('a region', () => {
  it('hands out aligned memory from its start to its end', () => {
    const region = new ArenaRegion(arena, 100, 20_000);
    expect(region.availableBytes).toBe(19_900);
    expect([region.take(10), region.take(10), region.take(8, 8), region.take(1, 1)]).toEqual([4096, 8192, 8208, 8216]);
    expect(region.availableBytes).toBe(20_000 - 8217);
    expect(region.take(0)).toBe(12_288);
    expect(region.take(20_000 - 12_288, 1)).toBe(12_288);
    expect(region.availableBytes).toBe(0);
    expect(codeOf(() => region.take(1, 1))).toBe('ERR_ARENA_EXHAUSTED');
  });

  it('takes nothing when it cannot give', () => {
    const region = new ArenaRegion(arena, 0, 10_000);
    for (const bytes of [10_001, 1e9, Infinity, -1, NaN, 0.5]) expect(codeOf(() => region.take(bytes))).toBe('ERR_ARENA_EXHAUSTED');
    expect(region.availableBytes).toBe(10_000);
  });

  it('lies in its arena', () => {
    for (const [start, end] of [
      [-1, 10],
      [10, 5],
      [0, (1 << 20) + 1],
      [NaN, 5],
      [0, NaN],
    ] as const) {
      expect(
        codeOf(() => new ArenaRegion(arena, start, end)),
        `${start} to ${end}`,
      ).toBe('ERR_ARENA_BOUNDS');
    }
  });

  it('is split into equal parts that do not overlap', () => {
    const region = new ArenaRegion(arena, 5_000, 100_000);
    const parts = region.split(3);
    expect(region.availableBytes).toBe(0);
    const ranges = parts.map(part => {
      const bytes = part.availableBytes;
      return [part.take(bytes), bytes];
    });
    expect(ranges).toEqual([
      [8_192, 28_672],
      [36_864, 28_672],
      [65_536, 28_672],
    ]);
    expect(codeOf(() => new ArenaRegion(arena, 0, 8_192).split(3))).toBe('ERR_ARENA_EXHAUSTED');
  });
});

describe('a pool of buffers', () => {
  it('owns each buffer or has given it away', () => {
    const pool = new BufferPool(new ArenaRegion(arena), 5_000, 10);
    const taken = Array.from({ length: 10 }, () => pool.take());
    expect(new Set(taken).size).toBe(10);
    expect(taken.every(offset => offset % 4096 === 0 && offset + 5_000 <= arena.byteLength)).toBe(true);
    const sorted = [...taken].sort((a, b) => a - b);
    for (let i = 1; i < 10; i++) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThanOrEqual(5_000);
    expect([pool.available, pool.take()]).toEqual([0, -1]);
    for (const offset of taken) pool.give(offset);
    expect(pool.available).toBe(10);
    // The last one that came back is warm.
    expect(pool.take()).toBe(taken[9]);
  });

  it('does not take back more than there is', () => {
    const pool = new BufferPool(new ArenaRegion(arena), 4096, 2);
    const offset = pool.take();
    pool.give(offset);
    expect(codeOf(() => pool.give(offset))).toBe('ERR_ARGUMENT');
    expect(pool.available).toBe(2);
  });
});

describe('with GATEPATH_DEBUG_ARENA=1', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  async function makePool(capacity = 4): Promise<BufferPool> {
    vi.stubEnv('GATEPATH_DEBUG_ARENA', '1');
    vi.resetModules();
    const buffers = await import('../src/buffers.js');
    return new buffers.BufferPool(new buffers.ArenaRegion(arena), 5_000, capacity);
  }

  it('free buffers are poisoned, and found whole when they are taken', async () => {
    const pool = await makePool();
    const first = pool.take();
    expect(arena.bytes.subarray(first, first + 5_000).every(byte => byte === 0xa5)).toBe(true);
    arena.bytes.fill(1, first, first + 5_000);
    pool.give(first);
    expect(arena.bytes.subarray(first, first + 5_000).every(byte => byte === 0xa5)).toBe(true);
    expect(pool.take()).toBe(first);
  });

  it('a buffer that is written after it was given is found', async () => {
    const pool = await makePool();
    const offset = pool.take();
    pool.give(offset);
    arena.bytes[offset + 4_321] = 1;
    expect(() => pool.take()).toThrow(/byte 4321 was written after/);
  });

  it('a buffer that is given twice is found, whatever lies between', async () => {
    const pool = await makePool();
    const [first, second] = [pool.take(), pool.take()];
    pool.give(first);
    expect(() => pool.give(first)).toThrow(/given back twice/);
    pool.give(second);
    expect(() => pool.give(first)).toThrow(/given back twice/);
    expect(pool.available).toBe(4);
  });

  it('what is no buffer of the pool is refused', async () => {
    const pool = await makePool();
    const offset = pool.take();
    for (const wrong of [offset + 1, offset - 4096, offset + 8192 * 4, -1, NaN])
      expect(() => pool.give(wrong)).toThrow(/not a buffer of this pool/);
  });
});
