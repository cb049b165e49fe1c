import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { casGroup, idOf, leaveDeletedVdisk, viewOf } from '../../src/meta/groups.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, type GroupMember } from '../../src/meta/model.js';
import { groupOf } from '../../src/meta/nodes.js';
import { createContainer, createVdisk, findVdisk, listVdisks, markDeleting } from '../../src/meta/operations.js';
import { recoverVdisk } from '../../src/meta/recovery.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const member = (node: string, incarnation = 1): GroupMember => ({
  node,
  storeUuid: `a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a11${node.slice(1)}`,
  incarnation,
});
const [n1, n2, n3] = ['n1', 'n2', 'n3'].map(node => member(node)) as [GroupMember, GroupMember, GroupMember];
const NONCE = 'b0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a222';

let directory: string;
let store: LmdbStore;
let id: string;

beforeEach(async () => {
  directory = makeTempDir('groups');
  store = LmdbStore.open(join(directory, 'meta'));
  await createContainer(store, 'three', { replicationFactor: 3 });
  ({ id } = await createVdisk(store, { name: 'v', sizeBytes: 4096, container: 'three' }, () => Promise.resolve([n1, n2, n3])));
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

/** As a controller does it. */
async function setMembers(...members: readonly GroupMember[]): Promise<void> {
  const group = (await groupOf(store, id))!;
  const next = { ...viewOf(group), epoch: group.epoch + 1, members: members.map(idOf), controller: idOf(members[0]!), nonce: NONCE };
  expect(await casGroup(store, id, group.epoch, next)).toEqual({ kind: 'applied' });
}

const names = (members: readonly GroupMember[] = []): string => members.map(one => `${one.node}/${one.incarnation}`).join(' ');
const holders = async (): Promise<string> => {
  const group = await groupOf(store, id);
  return group === null ? 'none' : `${names(group.members)} | ${names(group.former)}`;
};

describe('former members', () => {
  it('are remembered until they are members again, one for each node', async () => {
    await setMembers(n2, n3);
    expect(await holders()).toBe('n2/1 n3/1 | n1/1');
    await setMembers(n2);
    expect(await holders()).toBe('n2/1 | n1/1 n3/1');
    await setMembers(n2, n1);
    expect(await holders()).toBe('n2/1 n1/1 | n3/1');
    // An emptied disk: what it was before is over.
    await setMembers(n2, n1, member('n3', 2));
    expect(await holders()).toBe('n2/1 n1/1 n3/2 | ');
    await setMembers(n2, n1);
    expect(await holders()).toBe('n2/1 n1/1 | n3/2');
  });
});

describe('the end of a vdisk', () => {
  const leave = (node: string): Promise<readonly string[]> => leaveDeletedVdisk(store, id, one => one.node === node);

  it('is not begun by leaving', async () => {
    expect(await leave('n1')).toEqual([]);
    expect(await holders()).toBe('n1/1 n2/1 n3/1 | ');
  });

  it('comes with the last that leaves, former members too; a second time changes nothing', async () => {
    await setMembers(n2, n3);
    await markDeleting(store, 'v');
    expect(await leave('n2')).toEqual(['n3', 'n1']);
    const { epoch } = (await groupOf(store, id))!;
    expect(await leave('n2')).toEqual(['n3', 'n1']);
    expect((await groupOf(store, id))!.epoch).toBe(epoch);
    expect(await leave('n3')).toEqual(['n1']);
    expect(await holders()).toBe(' | n1/1');
    expect((await listVdisks(store)).map(one => one.deleting)).toEqual([true]);
    expect(await leave('n1')).toEqual([]);
    expect([await listVdisks(store), await holders()]).toEqual([[], 'none']);
    expect(await leave('n1')).toEqual([]);
  });

  it('comes when all leave at once', async () => {
    await markDeleting(store, 'v');
    await Promise.all(['n1', 'n2', 'n3'].map(leave));
    expect([await listVdisks(store), await holders()]).toEqual([[], 'none']);
  });

  it('makes the proposals of a controller that does not know of it lost, and brings nobody back', async () => {
    const before = (await groupOf(store, id))!;
    await markDeleting(store, 'v');
    await leave('n2');
    const next = { ...viewOf(before), epoch: before.epoch + 1, term: before.epoch + 1, nonce: NONCE };
    expect(await casGroup(store, id, before.epoch, next)).toMatchObject({ kind: 'refused', group: { epoch: before.epoch + 1 } });
    expect(await holders()).toBe('n1/1 n3/1 | ');
  });

  it('of one that nobody has served yet takes one node', async () => {
    const { id: unserved } = await createVdisk(store, { name: 'w', sizeBytes: 4096, container: 'three' });
    await markDeleting(store, 'w');
    expect(await leaveDeletedVdisk(store, unserved, () => false)).toEqual([]);
    expect(await store.get(keys.vdisk(unserved))).toBe(null);
  });
});

describe('a vdisk that is recovered by force', () => {
  it('has one member, another history, and a record that no proposal of before applies to; all others are remembered', async () => {
    await setMembers(n2, n3);
    const before = (await groupOf(store, id))!;
    const group = await recoverVdisk(store, 'v', n1, before.epoch);
    const epoch = before.epoch + 1;
    expect(group).toMatchObject({ epoch, term: epoch, controller: 'n1', generation: before.generation + 1 });
    expect(group.recovered).toMatchObject({ historyId: 2, origin: n1, generation: group.generation });
    expect(await groupOf(store, id)).toEqual(group);
    expect(await holders()).toBe('n1/1 | n2/1 n3/1');
    expect((await findVdisk(store, 'v')).historyId).toBe(2);
    const late = { ...viewOf(before), epoch, members: [idOf(n2)], nonce: NONCE };
    expect(await casGroup(store, id, before.epoch, late)).toMatchObject({ kind: 'refused', group: { historyId: 2 } });
    // What its controller changes from here on keeps the history.
    await setMembers(n1, n3);
    expect(viewOf((await groupOf(store, id))!).historyId).toBe(2);
    expect((await recoverVdisk(store, 'v', n3, epoch + 1)).recovered).toMatchObject({ historyId: 3, origin: n3 });
  });

  it('is left as it is where its members are others by now', async () => {
    const before = (await groupOf(store, id))!;
    await setMembers(n2, n3);
    await expect(recoverVdisk(store, 'v', n1, before.epoch)).rejects.toMatchObject({ code: 'ERR_CHANGED' });
    expect(await holders()).toBe('n2/1 n3/1 | n1/1');
  });
});
