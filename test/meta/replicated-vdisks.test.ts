import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { casGroup, viewOf } from '../../src/meta/groups.js';
import { keys, type GroupMember } from '../../src/meta/model.js';
import { groupOf } from '../../src/meta/nodes.js';
import { createContainer, createVdisk, markDeleting } from '../../src/meta/operations.js';
import { ReplicatedVdisks } from '../../src/meta/replicated-vdisks.js';
import { MemoryMetadata } from './memory-metadata.js';

const member: GroupMember = { node: 'n1', storeUuid: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111', incarnation: 1 };

class Counted extends MemoryMetadata {
  reads = 0;
  /** The next reads of these fail. */
  refused = '';

  override get(key: string): ReturnType<MemoryMetadata['get']> {
    this.reads++;
    if (this.refused !== '' && key.startsWith(this.refused)) return Promise.reject(new Error('refused'));
    return super.get(key);
  }

  override async range(prefix: string): ReturnType<MemoryMetadata['range']> {
    if (prefix === this.refused) throw new Error('refused');
    const found = await super.range(prefix);
    this.reads += found.items.length;
    return found;
  }
}

let store: Counted;
let followed: ReplicatedVdisks;

beforeEach(async () => {
  store = new Counted();
  await createContainer(store, 'two', { replicationFactor: 2 });
  await createContainer(store, 'one');
  followed = new ReplicatedVdisks(store, () => undefined);
});
afterEach(() => followed.close());

const create = async (name: string, container = 'two'): Promise<string> =>
  (await createVdisk(store, { name, sizeBytes: 4096, container }, () => Promise.resolve([member]))).id;
const changed = async (): Promise<string[]> => (await followed.read()).changed.map(({ vdisk }) => vdisk.name).sort();
const takeOver = async (id: string): Promise<void> => {
  const group = (await groupOf(store, id))!;
  await casGroup(store, id, group.epoch, { ...viewOf(group), epoch: group.epoch + 1, term: group.term + 1, nonce: randomUUID() });
};

it('tells of all at first, and then of those that have changed, and reads no others', async () => {
  for (let i = 0; i < 50; i++) await create(`v${i}`);
  await create('alone', 'one');
  expect(await changed()).toHaveLength(50);
  const id = await create('new');
  expect(await changed()).toEqual(['new']);
  expect(await changed()).toEqual([]);
  store.reads = 0;
  await takeOver(id);
  const before = store.reads;
  const { changed: news } = await followed.read();
  expect(news.map(({ vdisk, group }) => [vdisk.name, group.term])).toEqual([['new', 1]]);
  expect(store.reads - before).toBeLessThan(5);
  expect([...followed.all()]).toHaveLength(51);
  const vdisk = (await store.get(keys.vdisk(id)))!.value as object;
  await store.transaction([], [{ put: keys.vdisk(id), value: { ...vdisk, sizeBytes: 8192 } }]);
  expect((await followed.read()).changed.map(one => one.vdisk.sizeBytes)).toEqual([8192]);
});

it('does not tell of one that is being deleted, and says when no record of it is left', async () => {
  const id = await create('a');
  await followed.read();
  expect(followed.isLiving(id)).toBe(true);
  await markDeleting(store, 'a');
  expect(await followed.read()).toEqual({ changed: [], ended: [] });
  expect(followed.isLiving(id)).toBe(false);
  await store.transaction([], [{ remove: keys.vdisk(id) }, { remove: keys.group(id) }]);
  expect(await followed.read()).toEqual({ changed: [], ended: [id] });
  expect([...followed.all()]).toEqual([]);
});

it.each(['group/', 'container/'])('what has been read before a read of %s fails is told of the next time', async prefix => {
  await followed.read();
  await createContainer(store, 'later', { replicationFactor: 2 });
  await create('a', 'later');
  store.refused = prefix;
  await expect(followed.read()).rejects.toThrow('refused');
  store.refused = '';
  expect(await changed()).toEqual(['a']);
  // Without any hint, when it is known that there is one.
  const watches = [...store.watches];
  store.watches.clear();
  const id = await create('b');
  for (const one of watches) store.watches.add(one);
  expect(await changed()).toEqual([]);
  followed.notice(id);
  expect(await changed()).toEqual(['b']);
});
