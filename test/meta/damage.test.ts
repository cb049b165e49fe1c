import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attach, detach, listAttachments } from '../../src/meta/attachments.js';
import { damagedRecords, damageOf } from '../../src/meta/damage.js';
import { Follower } from '../../src/meta/follower.js';
import { beginExport, listLeases } from '../../src/meta/leases.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { clusterRecord, containerRecord, keys, type VdiskRecord } from '../../src/meta/model.js';
import { listNodes, readGroups, registerNode, winTerms } from '../../src/meta/nodes.js';
import {
  createContainer,
  createVdisk,
  ensureDefaultContainer,
  findVdisk,
  listContainers,
  listVdisks,
  markDeleting,
  setContainer,
} from '../../src/meta/operations.js';
import { parse } from '../../src/meta/records.js';
import { ReplicatedVdisks } from '../../src/meta/replicated-vdisks.js';
import { transferAll } from '../../src/meta/transfer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep } from '../support/wait.js';
import { MemoryMetadata } from './memory-metadata.js';

const STORE = 'c0d6f1a4-37d6-4a0e-8df7-000000000001';
const OTHER = 'c0d6f1a4-37d6-4a0e-8df7-000000000002';
const member = { node: 'n1', storeUuid: STORE, incarnation: 1 };
const REFUSED = { kind: 'corrupt', code: 'ERR_METADATA' };

let directory: string;
let store: LmdbStore;
let [bad, good]: VdiskRecord[] = [];

/** Two of each class: of which one is damaged, and one is not. */
beforeEach(async () => {
  directory = makeTempDir('damage');
  store = LmdbStore.open(directory);
  await ensureDefaultContainer(store);
  await createContainer(store, 'other');
  for (const [id, storeUuid] of Object.entries({ n1: STORE, n2: OTHER })) {
    const node = { id, storeUuid, addresses: { unix: '/x', tcp: null }, shards: 1, streams: 1 };
    await registerNode(store, { ...node, boot: { incarnation: 0, bootCount: 1 } });
  }
  [bad, good] = [
    await createVdisk(store, { name: 'bad', sizeBytes: 4096, container: 'other' }),
    await createVdisk(store, { name: 'good', sizeBytes: 4096 }),
  ];
  await winTerms(store, [bad.id, good.id], member);
  for (const name of ['bad', 'good']) await attach(store, name, 'h1');
});
afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

const bytesOf = (key: string): Buffer => Buffer.from(store.database.get(key)!);
const write = (key: string, bytes: Buffer): unknown => store.database.putSync(key, bytes);

const CLASSES: readonly [what: string, key: () => string, list: (() => Promise<readonly unknown[]>) | null][] = [
  ['vdisk', () => keys.vdisk(bad!.id), () => listVdisks(store)],
  ['name of a vdisk', () => keys.vdiskName('bad'), null],
  ['group', () => keys.group(bad!.id), async () => [...(await readGroups(store)).groups]],
  ['container', () => keys.container('other'), () => listContainers(store)],
  ['node', () => keys.node('n2'), () => listNodes(store)],
  ['attachment', () => keys.attachment('h1', bad!.id), () => listAttachments(store)],
];

const DAMAGES: readonly [what: string, damage: (bytes: Buffer) => Buffer][] = [
  ['a bit is another one', bytes => Buffer.from(bytes.map((byte, i) => (i === bytes.length - 3 ? byte ^ 4 : byte)))],
  ['its end is missing', bytes => bytes.subarray(0, bytes.length - 5)],
  ['it is garbage', bytes => Buffer.from(bytes.map((_, i) => (i * 37 + 11) & 0xff))],
  ['it is empty', () => Buffer.alloc(0)],
  ['it is of a version that is not known', bytes => Buffer.from(bytes.map((byte, i) => (i === 1 ? 9 : byte)))],
];

describe.each(CLASSES)('the record of a %s that is damaged', (_class, keyOf, list) => {
  it.each(DAMAGES)('%s: it is told by its key, the others are read, and nothing is changed', async (_what, damage) => {
    const key = keyOf();
    const whole = bytesOf(key);
    expect(await damagedRecords(store)).toEqual([]);
    const before = (await list?.())?.length ?? 0;
    write(key, damage(whole));
    const damaged = bytesOf(key);

    expect(await damagedRecords(store)).toEqual([{ key, why: expect.any(String) as string }]);
    const found = (await store.get(key))!;
    expect(damageOf(found)).not.toBe(null);
    expect((await store.range('')).items.filter(one => damageOf(one) !== null)).toEqual([found]);
    if (list !== null) expect(await list()).toHaveLength(before - 1);
    // What a change compares cannot be compared; and what says that it is damaged is no value to be written.
    const remove = store.transaction([{ key, version: found.version }], [{ remove: key }]);
    await expect(remove).rejects.toMatchObject(REFUSED);
    await expect(store.transaction([{ key, version: 0 }], [{ remove: key }])).rejects.toMatchObject(REFUSED);
    await expect(store.transaction([], [{ put: key, value: found.value }])).rejects.toMatchObject({ code: 'ERR_META_VALUE' });
    // The others change as ever.
    await expect(detach(store, 'good')).resolves.toMatchObject({ vdiskName: 'good' });
    expect(bytesOf(key)).toEqual(damaged);

    write(key, whole);
    expect(await damagedRecords(store)).toEqual([]);
  });
});

const flip = (key: string): unknown => write(key, DAMAGES[0]![1](bytesOf(key)));

describe('with a damaged record of', () => {
  it('a vdisk: it is not found, not deleted, and its name is taken', async () => {
    flip(keys.vdisk(bad!.id));
    await expect(findVdisk(store, 'bad')).rejects.toMatchObject(REFUSED);
    await expect(markDeleting(store, 'bad')).rejects.toMatchObject(REFUSED);
    await expect(createVdisk(store, { name: 'bad', sizeBytes: 4096 })).rejects.toMatchObject({ code: 'ERR_EXISTS' });
  });

  it('a name: it is taken, too', async () => {
    flip(keys.vdiskName('bad'));
    await expect(findVdisk(store, 'bad')).rejects.toMatchObject(REFUSED);
    await expect(createVdisk(store, { name: 'bad', sizeBytes: 4096 })).rejects.toMatchObject({ code: 'ERR_EXISTS' });
  });

  it('a group: no term is won for it, and one is for the other', async () => {
    flip(keys.group(bad!.id));
    const { won, refused } = await winTerms(store, [bad!.id, good!.id], member);
    expect([...won.keys()]).toEqual([good!.id]);
    expect(refused.get(bad!.id)).toContain(`the metadata record ${keys.group(bad!.id)} is damaged`);
    await detach(store, 'bad');
    await expect(attach(store, 'bad', 'h2')).rejects.toMatchObject(REFUSED);
  });

  it('an attachment: its vdisk is neither deleted nor attached elsewhere', async () => {
    flip(keys.attachment('h1', bad!.id));
    await expect(markDeleting(store, 'bad')).rejects.toMatchObject(REFUSED);
    await expect(attach(store, 'bad', 'h2')).rejects.toMatchObject(REFUSED);
  });

  it('a container: it is not made anew, nor changed', async () => {
    flip(keys.container('other'));
    await expect(createContainer(store, 'other')).rejects.toMatchObject(REFUSED);
    await expect(setContainer(store, 'other', { quotaBytes: null })).rejects.toMatchObject(REFUSED);
    await expect(createVdisk(store, { name: 'c', sizeBytes: 4096, container: 'other' })).rejects.toMatchObject(REFUSED);
  });

  it('this node: it does not register, and another one does', async () => {
    flip(keys.node('n2'));
    const node = { addresses: { unix: '/x', tcp: null }, shards: 1, streams: 1, boot: { incarnation: 1, bootCount: 2 } };
    await expect(registerNode(store, { ...node, id: 'n2', storeUuid: OTHER })).rejects.toMatchObject(REFUSED);
    expect(await registerNode(store, { ...node, id: 'n1', storeUuid: STORE })).toMatchObject({ incarnation: 1, bootCount: 2 });
  });

  it('a lease: it is not listed, and the others are', async () => {
    for (const name of ['bad', 'good']) {
      await detach(store, name);
      await beginExport(store, name);
    }
    flip(keys.lease(bad!.id));
    expect((await listLeases(store)).map(({ record }) => record.vdiskName)).toEqual(['good']);
  });

  it('the counter of versions: a start gives one that is above all there have been', async () => {
    const before = (await store.get(keys.vdisk(good!.id)))!.version;
    flip('!version');
    await store.close();
    store = LmdbStore.open(directory);
    await ensureDefaultContainer(store);
    await createContainer(store, 'third');
    expect((await store.get(keys.container('third')))!.version).toBeGreaterThan(before + 1_000_000);
  });

  it('any class, of a single node: it is not moved into a cluster', async () => {
    flip(keys.attachment('h1', bad!.id));
    const to = new MemoryMetadata();
    await expect(transferAll({ from: store, to, nodeId: 'n1', storeUuid: STORE })).rejects.toMatchObject(REFUSED);
    expect(to.items.size).toBe(0);
    expect(await store.keys('transfer/')).toEqual([]);
  });
});

describe('a record', () => {
  it('under the key of another one is damaged', async () => {
    const { value } = (await store.get(keys.group(good!.id)))!;
    await store.transaction([], [{ put: keys.group(bad!.id), value }]);
    expect(await damagedRecords(store)).toEqual([{ key: keys.group(bad!.id), why: `it is the record of ${good!.id}` }]);
  });

  it('of a class without a key of its own is read as it is', () => {
    const value = { id: randomUUID(), createdAt: 'then' };
    expect(parse(clusterRecord, { key: keys.cluster, value, version: 1 })).toEqual(value);
  });
});

describe('who follows records', () => {
  it('keeps one that is damaged as it was, and hears of the others', async () => {
    const follower = new Follower(
      store,
      keys.containers,
      item => parse(containerRecord, item),
      () => undefined,
    );
    await follower.read();
    const key = keys.container('other');
    const whole = bytesOf(key);
    flip(key);
    follower.notice(key);
    await setContainer(store, 'default', { enospc: 'error' });
    follower.notice(keys.container('default'));
    expect((await follower.read()).map(one => one.key)).toEqual([keys.container('default')]);
    expect(follower.get(key)).toMatchObject({ name: 'other' });
    expect([...follower.damaged.keys()]).toEqual([key]);
    write(key, whole);
    follower.notice(key);
    await follower.read();
    expect(follower.damaged.size).toBe(0);
    follower.close();
  });
});

describe('replicas', () => {
  it('go on by what their container was when it could be read; without that they are left out', async () => {
    await createContainer(store, 'two', { replicationFactor: 2 });
    const members = [member, { node: 'n2', storeUuid: OTHER, incarnation: 1 }];
    const { id } = await createVdisk(store, { name: 'r', sizeBytes: 4096, container: 'two' }, () => Promise.resolve(members));
    const follow = async (): Promise<readonly unknown[]> => {
      const vdisks = new ReplicatedVdisks(store, () => undefined);
      try {
        return (await vdisks.read()).changed;
      } finally {
        vdisks.close();
      }
    };
    const running = new ReplicatedVdisks(store, () => undefined);
    expect((await running.read()).changed).toHaveLength(1);
    // What is heard of is read, and is damaged by then.
    await setContainer(store, 'two', { enospc: 'error' });
    flip(keys.container('two'));
    await sleep(10);
    running.notice(id);
    await running.read();
    expect([...running.all()]).toMatchObject([{ replicationFactor: 2, minMembers: 1 }]);
    running.close();
    expect(await follow()).toEqual([]);
  });
});
