import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { attachArena, createArena, MAX_ARENA_BYTES, type ArenaHandle } from '../src/arena.js';
import { codeOf } from './contract/stage.js';

const MODULE = new URL('../dist/arena.js', import.meta.url).href;

/** Another thread adds one to each of the first bytes. */
const ADDER = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(({ attachArena }) => {
    const arena = attachArena(workerData.handle);
    for (let i = 0; i < 100; i++) arena.bytes[i]++;
    arena.view.setUint32(arena.byteLength - 4, 0xfeedface);
    parentPort.postMessage([arena.byteLength, arena.bytes.length, arena.words.length, arena.view.byteLength]);
  });
`;

afterEach(() => {
  vi.unstubAllEnvs();
  vi.resetModules();
});

/** The module as it is on a system without the addon. */
async function withoutAddon(): Promise<typeof import('../src/arena.js')> {
  vi.stubEnv('URING_ENGINE_NO_ADDON', '1');
  vi.resetModules();
  return import('../src/arena.js');
}

async function inOtherThread(handle: ArenaHandle): Promise<number[]> {
  const worker = new Worker(ADDER, { eval: true, workerData: { module: MODULE, handle } });
  try {
    return await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  } finally {
    await worker.terminate();
  }
}

describe('an arena', () => {
  it('is made of whole pages, zeroed', () => {
    const arena = createArena(10_000);
    expect([arena.byteLength, arena.bytes.length, arena.words.length, arena.view.byteLength]).toEqual([12_288, 12_288, 3_072, 12_288]);
    expect(arena.bytes.every(byte => byte === 0)).toBe(true);
  });

  it('has its limits', () => {
    for (const bytes of [0, -1, -4096, NaN, Infinity, MAX_ARENA_BYTES + 1, 2 ** 40])
      expect(codeOf(() => createArena(bytes))).toBe('ERR_ARGUMENT');
    // Address space only.
    const largest = createArena(MAX_ARENA_BYTES);
    largest.bytes[MAX_ARENA_BYTES - 1] = 7;
    expect(largest.view.getUint8(MAX_ARENA_BYTES - 1)).toBe(7);
  });

  it('is one memory for all threads', async () => {
    const arena = createArena(1 << 20);
    arena.bytes.fill(41, 0, 100);
    expect(await inOtherThread(structuredClone(arena.handle))).toEqual([1 << 20, 1 << 20, 1 << 18, 1 << 20]);
    expect(arena.bytes.subarray(0, 100).every(byte => byte === 42)).toBe(true);
    expect(arena.view.getUint32((1 << 20) - 4)).toBe(0xfeed_face);
  });

  it('without the addon is one memory for all threads, too', async () => {
    const arena = (await withoutAddon()).createArena(1 << 20);
    expect(arena.handle.id).toBe(-1);
    arena.bytes.fill(41, 0, 100);
    expect(await inOtherThread(arena.handle)).toEqual([1 << 20, 1 << 20, 1 << 18, 1 << 20]);
    expect(arena.bytes.subarray(0, 100).every(byte => byte === 42)).toBe(true);
  });

  it('of the addon is not attached where that does not load', async () => {
    const { handle } = createArena(4096);
    const { attachArena: attach } = await withoutAddon();
    expect(codeOf(() => attach(handle))).toBe('ERR_UNSUPPORTED');
  });

  it('is attached again in the same thread, and by its true size only', () => {
    const arena = createArena(8192);
    const again = attachArena(arena.handle);
    again.bytes[5] = 9;
    expect(arena.bytes[5]).toBe(9);
    expect(codeOf(() => attachArena({ ...arena.handle, byteLength: 16_384 }))).toBe('ERR_ARGUMENT');
    expect(codeOf(() => attachArena({ byteLength: 4096, id: 10_000, shared: null }))).toBe('ERR_ARGUMENT');
  });
});
