import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ManagedNode } from '../../src/control/node.js';
import { removeNode } from '../../src/control/removal.js';
import { casGroup, idOf, viewOf } from '../../src/meta/groups.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, type BeatRecord, type GroupMember } from '../../src/meta/model.js';
import { groupOf, listNodes, registerNode, setDraining } from '../../src/meta/nodes.js';
import { createContainer, createVdisk, findVdisk } from '../../src/meta/operations.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const member = (node: string): GroupMember => ({ node, storeUuid: `a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a11${node.slice(1)}`, incarnation: 1 });
const [n1, n2, n3, n4] = ['n1', 'n2', 'n3', 'n4'].map(member) as [GroupMember, GroupMember, GroupMember, GroupMember];
const NONCE = 'b0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a222';
const FACTS = { addresses: { unix: '/s', tcp: null }, shards: 1, streams: 1 };

let directory: string;
let store: LmdbStore;
/** Nodes that live; asked is n1. */
let living: readonly string[];

const register = ({ node, storeUuid }: GroupMember, bootCount = 1) =>
  registerNode(store, { id: node, storeUuid, ...FACTS, boot: { incarnation: bootCount - 1, bootCount } });

beforeEach(async () => {
  directory = makeTempDir('removal');
  store = LmdbStore.open(join(directory, 'meta'));
  for (const one of [n1, n2, n3, n4]) await register(one);
  for (const copies of [1, 2, 3] as const) await createContainer(store, `rf${copies}`, { replicationFactor: copies });
  living = ['n1', 'n2', 'n3', 'n4'];
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

function remove(id: string, force = false) {
  const cluster: ManagedNode['cluster'] = {
    living: () => living.map((node): BeatRecord => ({ ...member(node), id: node, beat: 1, freeBytes: 1, totalBytes: 1 })),
    ask: () => Promise.resolve(null),
    askCopy: () => Promise.resolve(null),
    askCommand: () => Promise.resolve(null),
  };
  const status = { vdisks: [], replicas: [], problems: [], shards: [], silentShards: 0 };
  const node = {
    id: 'n1',
    status: () => Promise.resolve(status),
    space: () => ({ freeBytes: 0, totalBytes: 0 }),
    lastProblem: () => null,
    cluster,
  };
  return removeNode({ store, node: node as unknown as ManagedNode }, id, { force });
}

async function make(name: string, members: readonly GroupMember[]): Promise<string> {
  const container = `rf${members.length}`;
  return (await createVdisk(store, { name, sizeBytes: 4096, container }, () => Promise.resolve(members))).id;
}

/** As a controller does it. */
async function change(id: string, members: readonly GroupMember[]): Promise<void> {
  const group = (await groupOf(store, id))!;
  const next = { ...viewOf(group), epoch: group.epoch + 1, members: members.map(idOf), controller: idOf(members[0]!), nonce: NONCE };
  expect(await casGroup(store, id, group.epoch, next)).toEqual({ kind: 'applied' });
}

const recordOf = async (id: string) => (await listNodes(store)).find(one => one.id === id);

describe('a node is removed', () => {
  it('when it is drained, and others have its copies; its store is of the cluster no longer, and its id is free', async () => {
    const id = await make('v', [n4, n1, n2]);
    await expect(remove('n4')).rejects.toMatchObject({
      code: 'ERR_NOT_DRAINED',
      action: expect.stringContaining('node drain n4') as string,
    });
    expect(await recordOf('n4')).toMatchObject({ removal: null });
    await setDraining(store, 'n4', true);
    const waiting = { isRemoved: false, lost: [], waitsFor: [{ vdisk: 'v', copies: 2, wanted: 3, resyncing: null }], waiting: 1 };
    expect(await remove('n4')).toMatchObject(waiting);
    expect(await recordOf('n4')).toMatchObject({ removal: { copies: 3 } });
    // Again, and with its next start, it is as far as it was.
    await register(n4, 2);
    expect(await remove('n4')).toMatchObject(waiting);
    await change(id, [n1, n2, n3, n4]);
    expect(await remove('n4')).toMatchObject({ isRemoved: false, waitsFor: [{ copies: 3, wanted: 3 }] });
    await change(id, [n1, n2, n3]);
    expect((await groupOf(store, id))!.former).toMatchObject([{ node: 'n4' }]);
    expect(await remove('n4')).toMatchObject({ isRemoved: true, waiting: 0 });
    expect([await recordOf('n4'), (await groupOf(store, id))!.former]).toEqual([undefined, []]);
    expect(await remove('n4')).toMatchObject({ isRemoved: true });
    await expect(register(n4, 3)).rejects.toMatchObject({
      code: 'ERR_NODE_REMOVED',
      message: expect.stringMatching(/^this data directory is of this cluster no longer: node "n4" was removed from it at 20/) as string,
    });
    expect(await register({ ...n4, storeUuid: NONCE })).toMatchObject({ id: 'n4', incarnation: 1, removal: null });
    await expect(remove('n9')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('is called off by undrain', async () => {
    await make('v', [n4, n1]);
    await setDraining(store, 'n4', true);
    await remove('n4');
    await setDraining(store, 'n4', false);
    expect(await recordOf('n4')).toMatchObject({ removal: null, drainingSince: null });
    await expect(remove('n4')).rejects.toMatchObject({ code: 'ERR_NOT_DRAINED' });
  });

  it('that is dead: when another one has been brought up for each copy that it had', async () => {
    const id = await make('v', [n1, n4]);
    living = ['n1', 'n2', 'n3'];
    expect(await remove('n4')).toMatchObject({ isRemoved: false, waitsFor: [{ vdisk: 'v', copies: 1, wanted: 2 }] });
    await change(id, [n1]);
    expect(await remove('n4')).toMatchObject({ isRemoved: false, waitsFor: [{ vdisk: 'v', copies: 1, wanted: 2 }] });
    expect((await groupOf(store, id))!.former).toMatchObject([{ node: 'n4' }]);
    await change(id, [n1, n3]);
    expect(await remove('n4')).toMatchObject({ isRemoved: true });
    expect((await groupOf(store, id))!.former).toEqual([]);
  });

  it.each(['group', 'vdisk', 'container', 'node'] as const)(
    'not while a record cannot be read that may name it, or need it: of a %s',
    async what => {
      const id = await make('v', [n1, n2]);
      const { container } = await findVdisk(store, 'v');
      await setDraining(store, 'n4', true);
      const key = { group: keys.group(id), vdisk: keys.vdisk(id), container: keys.container(container), node: keys.node('n2') }[what];
      const whole = store.database.get(key)!;
      store.database.putSync(key, Buffer.from('damaged'));
      const damaged = { code: 'ERR_METADATA', message: expect.stringContaining(`record ${key} is damaged`) as string };
      await expect(remove('n4')).rejects.toMatchObject(damaged);
      expect(await recordOf('n4')).toMatchObject({ removal: null });
      store.database.putSync(key, whole);
      expect(await remove('n4')).toMatchObject({ isRemoved: true });
    },
  );

  it('not where a vdisk would be lost, of one that lives or is dead, unless that is said', async () => {
    await make('alone', [n4]);
    await make('both', [n1, n4]);
    await setDraining(store, 'n4', true);
    const lost = { code: 'ERR_WOULD_LOSE', message: expect.stringContaining('vdisk alone would be lost for good') as string };
    await expect(remove('n4')).rejects.toMatchObject(lost);
    const of2 = await make('of2', [n3, n4]);
    await change(of2, [n4]);
    await expect(remove('n4')).rejects.toMatchObject(lost);
    living = ['n1', 'n2', 'n3'];
    await expect(remove('n4')).rejects.toMatchObject({
      code: 'ERR_WOULD_LOSE',
      message: expect.stringMatching(/vdisk (alone, of2|of2, alone) would/) as string,
    });
    expect(await recordOf('n4')).toMatchObject({ removal: null });
    const forced = await remove('n4', true);
    expect(forced).toMatchObject({ isRemoved: false, waitsFor: [{ vdisk: 'both', copies: 1, wanted: 2 }] });
    expect([...forced.lost].sort()).toEqual(['alone', 'of2']);
  });

  it('not where copies would be missing from then on, unless that is said; nor where writes would wait for ever', async () => {
    const id = await make('v', [n4, n1, n2]);
    await setDraining(store, 'n4', true);
    living = ['n1', 'n2', 'n4'];
    const tooFew = { code: 'ERR_TOO_FEW_NODES', message: expect.stringContaining('vdisk v would have only 2 copies') as string };
    await expect(remove('n4')).rejects.toMatchObject(tooFew);
    expect(await remove('n4', true)).toMatchObject({ isRemoved: false, waitsFor: [{ copies: 2, wanted: 2 }] });
    // What was said once holds.
    expect(await remove('n4')).toMatchObject({ isRemoved: false });
    await change(id, [n1, n2]);
    expect(await remove('n4')).toMatchObject({ isRemoved: true });
    living = ['n1'];
    const waits = { code: 'ERR_TOO_FEW_NODES', message: expect.stringContaining('writes of vdisk v would wait for ever') as string };
    await expect(remove('n2', true)).rejects.toMatchObject(waits);
  });
});
