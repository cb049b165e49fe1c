import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { NodeBeats } from '../../src/meta/beats.js';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys } from '../../src/meta/model.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const STORE = 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111';
const intervalMs = 20;

let directory: string;
let store: LmdbStore;
const running: NodeBeats[] = [];

beforeEach(() => {
  directory = makeTempDir('beats');
  store = LmdbStore.open(join(directory, 'meta'));
});

afterEach(async () => {
  for (const beats of running.splice(0)) await beats.close();
  await store.close();
  removeTempDir(directory);
});

function start(id: string, over: MetadataStore = store): NodeBeats {
  const space = () => ({ freeBytes: 7, totalBytes: 9 });
  const beats = new NodeBeats({ store: over, self: { id, storeUuid: STORE, incarnation: 1 }, space, log: silentLogger, intervalMs });
  running.push(beats);
  return beats;
}

const ids = (beats: NodeBeats): string[] => beats.living().map(one => one.id);

describe('nodes that live', () => {
  it('are heard of by each other, and gone at once after a clean stop', async () => {
    const [a, b] = [start('a'), start('b')];
    await a.whenLiving(2, 10_000);
    await b.whenLiving(2, 10_000);
    expect([ids(a), ids(b)]).toEqual([
      ['a', 'b'],
      ['b', 'a'],
    ]);
    expect(a.living()[1]).toMatchObject({ freeBytes: 7, totalBytes: 9, incarnation: 1 });
    await b.close();
    expect(await store.get(keys.beat('b'))).toBeNull();
    await waitFor('b is gone', 10_000, () => ids(a).length === 1);
  });

  it('are not those whose record stands still: of a killed node, whenever that was', async () => {
    const left = { id: 'x', storeUuid: STORE, incarnation: 1, beat: 5, freeBytes: 1, totalBytes: 1 };
    await store.transaction([], [{ put: keys.beat('x'), value: left }]);
    const a = start('a');
    await a.whenLiving(2, 10 * intervalMs);
    expect(ids(a)).toEqual(['a']);
    await store.transaction([], [{ put: keys.beat('x'), value: { ...left, beat: 6 } }]);
    await a.whenLiving(2, 10_000);
    expect(ids(a)).toEqual(['a', 'x']);
    await waitFor('x is gone', 10_000, () => ids(a).length === 1);
  });

  it('are still those that were heard last while the metadata store is silent', async () => {
    let silent = false;
    let refused = 0;
    const moody: MetadataStore = {
      get: key => store.get(key),
      range: prefix => store.range(prefix),
      keys: prefix => store.keys(prefix),
      watch: (prefix, listener) => store.watch(prefix, listener),
      close: () => Promise.resolve(),
      transaction: (compares, operations) => {
        if (!silent) return store.transaction(compares, operations);
        refused++;
        return Promise.reject(new MetaUnavailable('silent'));
      },
    };
    const a = start('a', moody);
    start('b');
    await a.whenLiving(2, 10_000);
    silent = true;
    await waitFor('some tries', 10_000, () => refused > 10);
    expect(ids(a)).toEqual(['a', 'b']);
  });
});
