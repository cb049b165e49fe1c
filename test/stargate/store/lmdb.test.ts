import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, BlockState } from '../../../src/stargate/core/ports.js';
// The store thread is a worker, and a worker runs compiled code: this test takes the store from dist (`npm run build` before).
import { openBlockStore, StoreHandle } from '../../../dist/stargate/store/store-handle.js';
import { LmdbReader, openDatabase, transactionIn } from '../../../dist/stargate/store/lmdb.js';
import { chunkKey, encodeFormat, formatKey } from '../../../dist/stargate/store/format.js';
import { verifyStore } from '../../../dist/stargate/store/verify.js';
import type { BlockStore } from '../../../dist/stargate/store/block-store.js';
import { drainOf, lookup, Recorder, storeContract, type StoreHarness } from './contract.js';

/** A shard's wakes without its ring: the test looks for answers itself. */
function shardStub() {
  const listeners: (() => void)[] = [];
  return {
    wakeHandle: { signal: new SharedArrayBuffer(64), eventFd: -1 },
    onWake: (listener: () => void) => void listeners.push(listener),
    turn: () => listeners.forEach(listener => listener()),
  };
}

async function settle(store: BlockStore, shard: ReturnType<typeof shardStub>): Promise<void> {
  while (store.pendingCommands > 0) {
    await nextTurn();
    shard.turn();
  }
}

const fatal = (error: Error) => {
  throw error;
};

async function makeHarness(): Promise<StoreHarness> {
  const directory = mkdtempSync(join(tmpdir(), 'gatepath-store-'));
  let handle = await StoreHandle.start(directory, fatal);
  let shard = shardStub();
  let store = openBlockStore(handle.connect(), shard, 5);
  const finish = async () => {
    await settle(store, shard);
    await (store.reader as LmdbReader).database.close();
    await handle.stop();
    // What the store leaves is in order after every single test.
    const database = openDatabase(join(directory, 'store'));
    expect(verifyStore(new LmdbReader(database))).toEqual([]);
    await database.close();
  };
  return {
    get store() {
      return store;
    },
    settle: () => settle(store, shard),
    async restart() {
      await finish();
      handle = await StoreHandle.start(directory, fatal);
      shard = shardStub();
      store = openBlockStore(handle.connect(), shard, 5);
    },
    async close() {
      await finish();
      rmSync(directory, { recursive: true });
    },
  };
}

storeContract('LMDB, store thread', makeHarness);

describe('StoreHandle', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'gatepath-store-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('serves several shards, each with its layers', async () => {
    const handle = await StoreHandle.start(directory, fatal);
    const shards = [1, 2, 3].map(() => {
      const shard = shardStub();
      return { shard, store: openBlockStore(handle.connect(), shard), owner: new Recorder() };
    });
    for (const { store, owner } of shards) store.createLayer('v', owner, 0);
    for (const { store, shard } of shards) await settle(store, shard);
    expect(new Set(shards.map(({ owner }) => owner.layers[0])).size).toBe(3);
    for (const { store, owner } of shards) {
      for (let i = 0; i < 50; i++)
        store.commitDrain(drainOf(owner.layers[0]!, 0, i, i + 1, [{ block: i, state: BlockState.data, crc: i, seq: i + 1 }]), owner, i);
    }
    for (const { store, shard } of shards) await settle(store, shard);
    for (const { store, owner } of shards) {
      expect(owner.committed).toEqual(Array.from({ length: 50 }, (_, i) => [i, true]));
      expect(lookup(store, owner.layers[0]!, 0, 49, 1)).toEqual(['1:49:50']);
      expect(store.layersOf('v').length).toBe(3);
      await (store.reader as LmdbReader).database.close();
    }
    await handle.stop();
  });

  it('counts a segment anew where a record of it was damaged, its own changes among it', async () => {
    let handle = await StoreHandle.start(directory, fatal);
    let shard = shardStub();
    let store = openBlockStore(handle.connect(), shard);
    const owner = new Recorder();
    store.createLayer('v', owner, 0);
    const runs = [1, 65, 129].map(block => ({ block, state: BlockState.data, crc: 5, seq: 1 }));
    await settle(store, shard);
    const [layer] = owner.layers as [number];
    store.commitDrain(drainOf(layer, 0, 0, 1, runs), owner, 0);
    await settle(store, shard);
    await (store.reader as LmdbReader).database.close();
    await handle.stop();
    const database = openDatabase(join(directory, 'store'));
    database.transactionSync(() => {
      const txn = transactionIn(database);
      const record = Buffer.from(txn.get(chunkKey(layer, 0, 0))!);
      record[9]! ^= 1;
      txn.put(chunkKey(layer, 0, 0), record);
    });
    await database.close();
    handle = await StoreHandle.start(directory, fatal);
    shard = shardStub();
    store = openBlockStore(handle.connect(), shard);
    const more = [2, 66].map(block => ({ block, state: BlockState.data, crc: 5, seq: 2 }));
    store.commitDrain(drainOf(layer, 0, 1, 2, more), owner, 0);
    await settle(store, shard);
    // Of the damaged record the one that was written: what else it had nobody knows.
    expect(store.allocatedBytes(layer)).toBe((1 + 2 + 1) * BLOCK_BYTES);
    await (store.reader as LmdbReader).database.close();
    await handle.stop();
  });

  it('refuses a newer format and says so', async () => {
    const database = openDatabase(join(directory, 'store'));
    const format = encodeFormat();
    format.writeUInt32LE(7, 16);
    database.transactionSync(() => transactionIn(database).put(formatKey, format));
    await database.close();
    await expect(StoreHandle.start(directory, fatal)).rejects.toMatchObject({
      code: 'ERR_STORE_FORMAT',
      message: expect.stringMatching(/version 7/),
    });
  });

  it('refuses a file that is no database', async () => {
    await (await StoreHandle.start(directory, fatal)).stop();
    expect(existsSync(join(directory, 'store', 'data.mdb'))).toBe(true);
    for (const bytes of [10, 8192, 100_000]) {
      writeFileSync(join(directory, 'store', 'data.mdb'), Buffer.alloc(bytes, 0x55));
      await expect(StoreHandle.start(directory, fatal)).rejects.toMatchObject({
        code: 'ERR_STORE_FORMAT',
        message: expect.stringMatching(/data\.mdb is damaged/),
      });
    }
  });

  it('does not hold old snapshots: the file stays small while records are rewritten', async () => {
    const handle = await StoreHandle.start(directory, fatal);
    const shard = shardStub();
    const store = openBlockStore(handle.connect(), shard, 2);
    const owner = new Recorder();
    store.createLayer('v', owner, 0);
    await settle(store, shard);
    const layer = owner.layers[0]!;
    let sizeAfterSome = 0;
    for (let i = 0; i < 400; i++) {
      store.commitDrain(
        drainOf(
          layer,
          0,
          i,
          i + 1,
          Array.from({ length: 20 }, (_, k) => ({ block: k * 64, state: BlockState.data, crc: i, seq: i + 1 })),
        ),
        owner,
        i,
      );
      await settle(store, shard);
      // The event loop is not what frees the snapshot: reads in between must not pin pages.
      expect(lookup(store, layer, 0, 64 * (i % 20), 1)).toEqual([`1:${i}:${i + 1}`]);
      if (i === 50) sizeAfterSome = pages(store);
    }
    expect(pages(store)).toBeLessThan(sizeAfterSome * 2);
    await (store.reader as LmdbReader).database.close();
    await handle.stop();
  });
});

function pages(store: BlockStore): number {
  const stats = (store.reader as LmdbReader).database.getStats() as { lastPageNumber: number };
  return stats.lastPageNumber;
}

describe.skipIf(process.getuid?.() !== 0)('a store in a file system of 2 MiB (needs root, for the mount)', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'gatepath-store-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', directory]);
  });
  afterEach(() => {
    execFileSync('umount', [directory]);
    rmSync(directory, { recursive: true });
  });

  it('says when it is full, changes nothing then, and goes on when there is room', async () => {
    const failures: Error[] = [];
    const handle = await StoreHandle.start(directory, error => failures.push(error));
    const shard = shardStub();
    const store = openBlockStore(handle.connect(), shard, 5);
    const owner = new Recorder();
    store.createLayer('v', owner, 0);
    await settle(store, shard);
    const layer = owner.layers[0]!;
    // 700 records of 600 bytes.
    const runs = Array.from({ length: 700 }, (_, i) => ({ block: i * 64, state: BlockState.data, crc: i, seq: 1 + (i % 5) }));
    const filler = join(directory, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(4 << 20));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    for (const tag of [1, 2]) {
      store.commitDrain(drainOf(layer, 0, 0, 5, runs), owner, tag);
      await settle(store, shard);
    }
    expect([owner.full, owner.committed, owner.failures]).toEqual([[1, 2], [], []]);
    expect(lookup(store, layer, 0, 64, 1)).toEqual(['0:0:0']);
    rmSync(filler);
    store.commitDrain(drainOf(layer, 0, 0, 5, runs), owner, 3);
    await settle(store, shard);
    expect(owner.committed).toEqual([[3, true]]);
    expect(lookup(store, layer, 0, 64, 1)).toEqual(['1:1:2']);
    await (store.reader as LmdbReader).database.close();
    await handle.stop();
    const database = openDatabase(join(directory, 'store'));
    expect(verifyStore(new LmdbReader(database))).toEqual([]);
    await database.close();
    expect(failures).toEqual([]);
  });
});
