import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { Deletions } from '../../src/main/deletions.js';
import { casGroup, idOf, viewOf } from '../../src/meta/groups.js';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, type GroupMember } from '../../src/meta/model.js';
import { groupOf, registerNode } from '../../src/meta/nodes.js';
import { createContainer, createVdisk, listVdisks, markDeleting } from '../../src/meta/operations.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep, waitFor } from '../support/wait.js';

const WAIT_MS = 30_000;
const uuidOf = (node: string): string => `a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a11${node.slice(1)}`;

let directory: string;
let store: LmdbStore;
let running: Deletions[];
/** Who has removed what it had. */
let removed: string[];

beforeEach(async () => {
  directory = makeTempDir('deletions');
  store = LmdbStore.open(join(directory, 'meta'));
  running = [];
  removed = [];
  await createContainer(store, 'three', { replicationFactor: 3 });
});

afterEach(async () => {
  for (const one of running) one.close();
  await store.close();
  removeTempDir(directory);
});

async function register(node: string, incarnation = 0): Promise<GroupMember> {
  const addresses = { unix: '/run/s', tcp: null };
  const boot = { incarnation, bootCount: 1 };
  const record = await registerNode(store, { id: node, storeUuid: uuidOf(node), addresses, shards: 2, streams: 2, boot });
  return { node, storeUuid: record.storeUuid, incarnation: record.incarnation };
}

/** The deletions of one node. Its shards, which remove the data, are left out. */
function start(self: GroupMember, over: MetadataStore = store): Deletions {
  const remove = (): Promise<void> => {
    removed.push(self.node);
    return Promise.resolve();
  };
  const one = new Deletions({ store: over, self, log: silentLogger, remove, retryMs: 10 });
  running.push(one);
  return one;
}

async function makeVdisk(members: readonly GroupMember[]): Promise<string> {
  const { id } = await createVdisk(store, { name: 'v', sizeBytes: 4096, container: 'three' }, () => Promise.resolve(members));
  return id;
}

const isForgotten = async (id: string): Promise<boolean> => (await listVdisks(store)).length === 0 && (await groupOf(store, id)) === null;

describe('a vdisk that is deleted', () => {
  it('is forgotten when all members have removed it, and not before: one is away, and was taken out of the group', async () => {
    const [a, b, c] = [await register('n1'), await register('n2'), await register('n3')];
    const id = await makeVdisk([a, b, c]);
    const group = (await groupOf(store, id))!;
    const nonce = uuidOf('n9');
    await casGroup(store, id, group.epoch, { ...viewOf(group), epoch: group.epoch + 1, members: [a, b].map(idOf), nonce });
    start(a);
    start(b);
    await markDeleting(store, 'v');
    await waitFor('two have left', WAIT_MS, async () => (await groupOf(store, id))?.members.length === 0);
    expect((await listVdisks(store))[0]).toMatchObject({ id, deleting: true });
    expect((await groupOf(store, id))!.former).toEqual([{ ...c, until: expect.any(String) as string }]);
    start(c);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
    expect(removed.sort()).toEqual(['n1', 'n2', 'n3']);
  });

  it('does not wait for what a node was before its disk was emptied', async () => {
    const [a, b] = [await register('n1'), await register('n2')];
    const id = await makeVdisk([a, b]);
    await markDeleting(store, 'v');
    start(a);
    await waitFor('one has left', WAIT_MS, async () => (await groupOf(store, id))?.members.length === 1);
    const emptied = await register('n2');
    expect(emptied.incarnation).not.toBe(b.incarnation);
    expect(await isForgotten(id)).toBe(false);
    start(emptied);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
  });

  it('waits for a node of which the record is damaged', async () => {
    const [a, b] = [await register('n1'), await register('n2')];
    const id = await makeVdisk([a, b]);
    await markDeleting(store, 'v');
    store.database.putSync(keys.node('n2'), Buffer.from('damaged'));
    start(a);
    await waitFor('one has left', WAIT_MS, async () => (await groupOf(store, id))?.members.length === 1);
    await sleep(100);
    expect(await groupOf(store, id)).toMatchObject({ members: [{ node: 'n2' }] });
    start(b);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
  });

  it('does not wait for a node that the cluster has no more', async () => {
    const [a, b] = [await register('n1'), await register('n2')];
    const id = await makeVdisk([a, b]);
    await markDeleting(store, 'v');
    start(a);
    await waitFor('one has left', WAIT_MS, async () => (await groupOf(store, id))?.members.length === 1);
    await store.transaction([], [{ remove: keys.node('n2') }]);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
    expect(removed).toEqual(['n1']);
  });

  it('is removed by a node that is no member, too, and once', async () => {
    const [a, b] = [await register('n1'), await register('n2')];
    const id = await makeVdisk([a]);
    const other = start(b);
    await markDeleting(store, 'v');
    await waitFor('the other has removed it', WAIT_MS, () => removed.length === 1);
    for (let i = 0; i < 5; i++) {
      other.check();
      await sleep(5);
    }
    expect([removed, await isForgotten(id)]).toEqual([['n2'], false]);
    start(a);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
    expect(removed).toEqual(['n2', 'n1']);
  });

  it('is left when the metadata store is back', async () => {
    const a = await register('n1');
    const id = await makeVdisk([a]);
    await markDeleting(store, 'v');
    let refusals = 5;
    const unsure: MetadataStore = {
      get: key => store.get(key),
      range: prefix => store.range(prefix),
      keys: prefix => store.keys(prefix),
      watch: (prefix, listener) => store.watch(prefix, listener),
      close: () => Promise.resolve(),
      transaction: (compares, operations) =>
        refusals-- > 0 ? Promise.reject(new MetaUnavailable('no answer')) : store.transaction(compares, operations),
    };
    start(a, unsure);
    await waitFor('it is forgotten', WAIT_MS, () => isForgotten(id));
    expect([removed, refusals < 0]).toEqual([['n1'], true]);
  });
});
