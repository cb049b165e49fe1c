import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, type NodeRecord } from '../../src/meta/model.js';
import { concerns, groupOf, listNodes, readGroups, registerNode, setDraining, winTerms } from '../../src/meta/nodes.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { keepBoot, openDataDirectory } from '../../src/stargate/data-directory.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const A = 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111';
const B = 'b0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a222';
const address = '/run/s';
const facts = { addresses: { unix: address, tcp: '10.0.0.1:7001' }, shards: 3, streams: 2 };

let directory: string;
let store: LmdbStore;

beforeEach(() => {
  directory = makeTempDir('nodes');
  store = LmdbStore.open(join(directory, 'meta'));
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

/** With the next transaction applied, its outcome unknown. */
function unsure(): MetadataStore {
  let first = true;
  return {
    get: key => store.get(key),
    range: prefix => store.range(prefix),
    keys: prefix => store.keys(prefix),
    watch: (prefix, listener) => store.watch(prefix, listener),
    close: () => Promise.resolve(),
    transaction: async (compares, operations) => {
      const result = await store.transaction(compares, operations);
      if (!first) return result;
      first = false;
      throw new MetaUnavailable('outcome unknown');
    },
  };
}

describe('registering a node', () => {
  const known = async (storeUuid: string, incarnation: number, bootCount: number): Promise<void> => {
    // As older versions wrote it.
    const value = { id: 'n1', storeUuid, incarnation, bootCount, address };
    await store.transaction([], [{ put: keys.node('n1'), value }]);
  };
  const start = (storeUuid: string, incarnation: number, bootCount: number): Promise<NodeRecord> =>
    registerNode(store, { id: 'n1', storeUuid, ...facts, boot: { incarnation, bootCount } });

  it.each<[string, [string, number, number] | null, [string, number, number], { incarnation: number; bootCount: number }]>([
    ['the first start', null, [A, 0, 1], { incarnation: 1, bootCount: 1 }],
    ['the next start', [A, 1, 1], [A, 1, 2], { incarnation: 1, bootCount: 2 }],
    ['after starts that did not come so far', [A, 1, 1], [A, 1, 7], { incarnation: 1, bootCount: 7 }],
    ['a counter that is behind', [A, 1, 9], [A, 1, 5], { incarnation: 2, bootCount: 10 }],
    ['the same counter twice', [A, 1, 9], [A, 1, 9], { incarnation: 2, bootCount: 10 }],
    ['an older copy that has been started often since', [A, 2, 3], [A, 1, 50], { incarnation: 3, bootCount: 51 }],
    ['a registration whose result was not kept', [A, 1, 1], [A, 0, 2], { incarnation: 2, bootCount: 3 }],
    ['metadata older than the store', [A, 2, 4], [A, 5, 9], { incarnation: 6, bootCount: 10 }],
    ['an empty store', [A, 3, 9], [B, 0, 1], { incarnation: 4, bootCount: 1 }],
    ['a node that was removed', null, [A, 3, 9], { incarnation: 4, bootCount: 9 }],
  ])('%s', async (_, before, [storeUuid, incarnation, bootCount], expected) => {
    if (before !== null) await known(...before);
    expect(await start(storeUuid, incarnation, bootCount)).toMatchObject({ storeUuid, ...expected });
    expect((await store.get(keys.node('n1')))?.value).toMatchObject({ id: 'n1', storeUuid, address, ...facts, ...expected });
  });

  it('is refused with the id of another store that has been in use, and with a name that is none', async () => {
    await known(A, 1, 4);
    await expect(start(B, 1, 9)).rejects.toMatchObject({ code: 'ERR_NODE_TAKEN' });
    expect((await store.get(keys.node('n1')))?.value).toMatchObject({ storeUuid: A, bootCount: 4 });
    const boot = { incarnation: 0, bootCount: 1 };
    await expect(registerNode(store, { id: 'a/b', storeUuid: A, ...facts, boot })).rejects.toMatchObject({ code: 'ERR_NAME' });
  });

  it('finds by reading back that it was registered', async () => {
    await known(A, 1, 1);
    const boot = { incarnation: 1, bootCount: 2 };
    expect(await registerNode(unsure(), { id: 'n1', storeUuid: A, ...facts, boot })).toMatchObject(boot);
  });

  it('reads what an older version wrote', async () => {
    await known(A, 1, 4);
    const addresses = { unix: address, tcp: null };
    expect(await listNodes(store)).toMatchObject([{ id: 'n1', bootCount: 4, addresses, shards: 1, streams: 1, faultDomain: null }]);
  });

  it('two stores that want the same new id do not both get it', async () => {
    const results = await Promise.all([start(A, 0, 1), start(B, 0, 1)]);
    const last = (await store.get(keys.node('n1')))!.value as NodeRecord;
    expect(new Set(results.map(one => one.incarnation)).size).toBe(2);
    expect(last.incarnation).toBe(2);
  });
});

describe('the boot counter of a data directory', () => {
  const data = (): string => join(directory, 'data');
  /** One start of a node: what `gatepath stargate` does. */
  async function boot(path: string): Promise<NodeRecord> {
    const opened = openDataDirectory(path, 2);
    try {
      const record = await registerNode(store, { id: 'n1', storeUuid: opened.storeUuid, ...facts, boot: opened.boot });
      keepBoot(path, { incarnation: record.incarnation, bootCount: record.bootCount });
      mkdirSync(join(path, 'stargate', 'store'), { recursive: true });
      return record;
    } finally {
      opened.lock.release();
    }
  }

  it('rises with each start, and a copy put back is a new incarnation, and so is the original after it', async () => {
    expect(await boot(data())).toMatchObject({ incarnation: 1, bootCount: 1 });
    expect(await boot(data())).toMatchObject({ incarnation: 1, bootCount: 2 });
    const file = join(data(), 'boot.json');
    copyFileSync(file, join(directory, 'copy'));
    expect(await boot(data())).toMatchObject({ incarnation: 1, bootCount: 3 });
    copyFileSync(file, join(directory, 'original'));
    copyFileSync(join(directory, 'copy'), file);
    expect(await boot(data())).toMatchObject({ incarnation: 2, bootCount: 4 });
    expect(await boot(data())).toMatchObject({ incarnation: 2, bootCount: 5 });
    copyFileSync(join(directory, 'original'), file);
    expect(await boot(data())).toMatchObject({ incarnation: 3 });
  });

  it('starts that end before they register count too; an emptied directory is a new incarnation', async () => {
    await boot(data());
    openDataDirectory(data(), 2).lock.release();
    expect(await boot(data())).toMatchObject({ incarnation: 1, bootCount: 3 });
    rmSync(data(), { recursive: true });
    expect(await boot(data())).toMatchObject({ incarnation: 2 });
    expect(await boot(data())).toMatchObject({ incarnation: 2 });
  });

  it('is that of a new incarnation also when the logs and extents alone are gone', async () => {
    await boot(data());
    expect(await boot(data())).toMatchObject({ incarnation: 1, bootCount: 2 });
    rmSync(join(data(), 'stargate'), { recursive: true });
    expect(await boot(data())).toMatchObject({ incarnation: 2, bootCount: 4 });
  });

  it('says what to do when its file is damaged', async () => {
    await boot(data());
    writeFileSync(join(data(), 'boot.json'), '{"incarnation": -1}');
    expect(() => openDataDirectory(data(), 2)).toThrow('boot.json is not what Gatepath wrote');
  });
});

describe('terms', () => {
  const member = { node: 'n1', storeUuid: A, incarnation: 1 };
  const vdisk = (i: number): string => `c0d6f1a4-37d6-4a0e-8df7-${String(i).padStart(12, '0')}`;

  it('rise by one with each win, for hundreds of vdisks, and keep the attachment generation', async () => {
    const ids = Array.from({ length: 300 }, (_, i) => vdisk(i));
    const first = (await winTerms(store, ids, member)).won;
    expect([...first.values()].every(one => one.term === 1)).toBe(true);
    const { value } = (await store.get(keys.group(ids[7]!)))!;
    await store.transaction([], [{ put: keys.group(ids[7]!), value: { ...(value as object), generation: 5 } }]);
    const second = (await winTerms(store, [...ids, ids[0]!], member)).won;
    expect(second.size).toBe(300);
    for (const [id, { term, nonce }] of second) {
      expect(term).toBe(2);
      expect(nonce).not.toBe(first.get(id)!.nonce);
      expect(await groupOf(store, id)).toMatchObject({ term, epoch: term, nonce, controller: 'n1' });
    }
    expect((await groupOf(store, ids[7]!))?.generation).toBe(5);
  });

  it('are won by one node each when several win at once', async () => {
    const ids = [vdisk(1), vdisk(2)];
    const won = await Promise.all(Array.from({ length: 10 }, () => winTerms(store, ids, member)));
    for (const id of ids) {
      const terms = won.map(one => one.won.get(id)!);
      expect(terms.map(one => one.term).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      const last = await groupOf(store, id);
      expect(terms.find(one => one.term === 10)?.nonce).toBe(last?.nonce);
    }
  });

  it('are won by the member of the group alone: another incarnation, store or name of it is refused, and changes nothing', async () => {
    await winTerms(store, [vdisk(1)], member);
    const strangers = [
      { ...member, incarnation: 2 },
      { ...member, storeUuid: B },
      { ...member, node: 'n2' },
    ];
    for (const stranger of strangers) {
      const { won, refused } = await winTerms(store, [vdisk(1), vdisk(2 + strangers.indexOf(stranger))], stranger);
      expect([won.size, [...refused.keys()]]).toEqual([1, [vdisk(1)]]);
      expect(refused.get(vdisk(1))).toContain(`its data is with node "n1", store ${A}, incarnation 1; this is node "${stranger.node}"`);
    }
    expect(await groupOf(store, vdisk(1))).toMatchObject({ term: 1, members: [member] });
    expect((await winTerms(store, [vdisk(1)], member)).won.get(vdisk(1))?.term).toBe(2);
  });

  it("are not won, and not complained about, for another node's vdisks and for those with several members", async () => {
    const other = { node: 'n2', storeUuid: B, incarnation: 1 };
    await winTerms(store, [vdisk(1)], other);
    await winTerms(store, [vdisk(2)], member);
    const pair = { ...(await groupOf(store, vdisk(2)))!, members: [member, other] };
    await store.transaction([], [{ put: keys.group(vdisk(2)), value: pair }]);
    const { won, refused } = await winTerms(store, [vdisk(1), vdisk(2), vdisk(3)], member);
    expect([[...won.keys()], [...refused.keys()]]).toEqual([[vdisk(3)], []]);
    const { groups } = await readGroups(store);
    expect([groups.get(vdisk(1))?.term, groups.get(vdisk(2))]).toEqual([1, pair]);
    expect([1, 2, 3].map(i => concerns(groups.get(vdisk(i))!, member))).toEqual([false, true, true]);
  });

  it('whose outcome was unknown are known by their nonce', async () => {
    const { won } = await winTerms(unsure(), [vdisk(1)], member);
    expect(won.get(vdisk(1))).toEqual({ term: 1, nonce: (await groupOf(store, vdisk(1)))!.nonce });
  });
});

describe('a drained node', () => {
  it('stays so over its starts, until somebody takes that back', async () => {
    const start = (bootCount: number) => registerNode(store, { id: 'n1', storeUuid: A, ...facts, boot: { incarnation: 1, bootCount } });
    await start(1);
    const { drainingSince } = await setDraining(store, 'n1', true);
    expect(drainingSince).not.toBe(null);
    // Again: it is still drained since then.
    expect(await setDraining(store, 'n1', true)).toMatchObject({ drainingSince });
    expect(await start(2)).toMatchObject({ drainingSince });
    await setDraining(store, 'n1', false);
    expect(await listNodes(store)).toMatchObject([{ id: 'n1', drainingSince: null }]);
  });

  it('has to be there', async () => {
    await expect(setDraining(store, 'nobody', true)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });
});
