import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { MetaUnavailable } from '../../../src/meta/errors.js';
import { LmdbStore } from '../../../src/meta/lmdb.js';
import type { MetadataStore } from '../../../src/meta/store.js';
import { TestProcess } from '../../support/process.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep } from '../../support/wait.js';
import { describeStore } from './suite.js';

describeStore('LMDB', () => {
  const directory = makeTempDir('lmdb');
  const store = LmdbStore.open(directory);
  return Promise.resolve({
    // One process has one store.
    open: () => Promise.resolve<MetadataStore>(store),
    close: async () => {
      await store.close();
      removeTempDir(directory);
    },
  });
});

const WRITER = fileURLToPath(new URL('./lmdb-writer.ts', import.meta.url));

describe('LMDB', () => {
  it('keeps what it has promised when its process is killed, whole, and goes on with higher versions', async () => {
    const directory = makeTempDir('lmdb');
    let last = 0;
    let lastVersion = 0;
    try {
      for (let round = 0; round < 4; round++) {
        const writer = TestProcess.start([process.execPath, '--import', 'tsx', WRITER, join(directory, 'meta')]);
        await writer.waitUntil('promises', 60_000, () => writer.stdout.split('\n').length > 20 * (round + 1));
        await sleep(7 * round);
        await writer.kill();
        const promised = writer.stdout
          .split('\n')
          .slice(0, -1)
          .map(line => line.split(' ').map(Number));
        const [value, version] = promised.at(-1)!;
        const store = LmdbStore.open(join(directory, 'meta'));
        const [kept, same] = [(await store.get('n'))!, (await store.get('same'))!];
        // One more may have been written than was printed.
        expect([value!, value! + 1]).toContain(kept.value);
        expect(same).toEqual({ ...kept, key: 'same' });
        expect(kept.version).toBeGreaterThanOrEqual(version!);
        expect(promised[0]![0]! - last).toBeLessThanOrEqual(1 + 1);
        expect(promised[0]![1]).toBeGreaterThan(lastVersion);
        expect(promised.every(([, one], i) => i === 0 || one! > promised[i - 1]![1]!)).toBe(true);
        last = kept.value as number;
        lastVersion = kept.version;
        await store.close();
      }
      expect(last).toBeGreaterThan(60);
    } finally {
      removeTempDir(directory);
    }
  });

  it('goes on with higher versions after a clean stop, also of keys that were removed', async () => {
    const directory = makeTempDir('lmdb');
    const versions: number[] = [];
    for (let round = 0; round < 3; round++) {
      const store = LmdbStore.open(directory);
      expect((await store.range('')).items).toEqual([]);
      await store.transaction([], [{ put: 'a', value: 1 }]);
      versions.push((await store.get('a'))!.version);
      await store.transaction([], [{ remove: 'a' }]);
      await store.close();
    }
    removeTempDir(directory);
    expect(versions[1]).toBeGreaterThan(versions[0]!);
    expect(versions[2]).toBeGreaterThan(versions[1]!);
  });

  it('says that the outcome is unknown when the write fails', async () => {
    const directory = makeTempDir('lmdb');
    const store = LmdbStore.open(directory);
    await store.transaction([], [{ put: 'a', value: 1 }]);
    const failing = store.database.transactionSync.bind(store.database);
    store.database.transactionSync = body => {
      failing(body);
      throw new Error('Input/output error');
    };
    await expect(store.transaction([], [{ put: 'a', value: 2 }])).rejects.toBeInstanceOf(MetaUnavailable);
    store.database.transactionSync = failing;
    expect((await store.get('a'))?.value).toBe(2);
    await store.close();
    removeTempDir(directory);
  });
});
