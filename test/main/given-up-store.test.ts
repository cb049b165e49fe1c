import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentEvents } from '../../src/base/events.js';
import { whereStoreIsDamaged } from '../../src/main/damaged-store.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, type GroupMember } from '../../src/meta/model.js';
import { registerNode } from '../../src/meta/nodes.js';
import type { DataDirectory } from '../../src/stargate/data-directory.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const VDISK = uuid(9);

let dir: string;
let data: string;
let store: LmdbStore;

/** As the node has registered: its first incarnation. */
async function register(n: number, incarnation = 0): Promise<GroupMember> {
  const unix = `/n${n}.sock`;
  const node = {
    id: `n${n}`,
    storeUuid: uuid(n),
    addresses: { unix, tcp: null },
    shards: 1,
    streams: 1,
    boot: { incarnation, bootCount: 1 },
  };
  const { incarnation: given } = await registerNode(store, node);
  return { node: node.id, storeUuid: node.storeUuid, incarnation: given };
}

const group = (...members: readonly GroupMember[]): Promise<unknown> => {
  const record = { vdiskId: VDISK, epoch: 1, term: 1, controller: members[0]?.node ?? 'n1', members, nonce: uuid(8), generation: 1 };
  return store.transaction([], [{ put: keys.group(VDISK), value: record }]);
};

beforeEach(() => {
  dir = makeTempDir('given-up');
  data = join(dir, 'data');
  mkdirSync(join(data, 'stargate', 'store'), { recursive: true });
  writeFileSync(join(data, 'stargate', 'store', 'data.mdb'), Buffer.alloc(100_000, 0x55));
  mkdirSync(join(dir, 'meta'));
  store = LmdbStore.open(join(dir, 'meta'));
});
afterEach(async () => {
  await store.close();
  removeTempDir(dir);
});

const giveUp = (): Promise<{ incarnation: number }> => {
  const directory = { path: data, storeUuid: uuid(1), boot: { incarnation: 1, bootCount: 5 } } as DataDirectory;
  return whereStoreIsDamaged({ directory, nodeId: 'n1', isShared: true, events: silentEvents })!(store);
};

describe('the data of a node whose block store is damaged', () => {
  it('is set aside where another node is a member, and where this one is none', async () => {
    const [n1, n2] = [await register(1), await register(2)];
    await group(n1, n2);
    expect(await giveUp()).toEqual({ incarnation: 0, bootCount: 5 });
    expect([existsSync(join(data, 'stargate-damaged-1', 'store', 'data.mdb')), readdirSync(join(data, 'stargate'))]).toEqual([true, []]);
    // Of a vdisk that is being deleted there are no members at the end.
    for (const [i, members] of [[n2], []].entries()) {
      mkdirSync(join(data, 'stargate', 'store'));
      writeFileSync(join(data, 'stargate', 'store', 'data.mdb'), Buffer.alloc(100_000, 0x55));
      await group(...members);
      expect(await giveUp()).toMatchObject({ incarnation: 0 });
      expect(existsSync(join(data, `stargate-damaged-${i + 2}`))).toBe(true);
    }
  });

  it('stays, and the node does not start, where nobody else has a copy, or the other one has lost it as well', async () => {
    const [n1, n2] = [await register(1), await register(2)];
    const refused = { code: 'ERR_STORE_DAMAGED', message: expect.stringContaining(`no other node has ${VDISK}`) as string };
    await group(n1);
    await expect(giveUp()).rejects.toMatchObject(refused);
    await group(n1, n2);
    // It has given up its own.
    await register(2, 0);
    await expect(giveUp()).rejects.toMatchObject(refused);
    expect(readdirSync(data)).toEqual(['stargate']);
  });

  it('stays where nobody knows who else has it', async () => {
    const [n1, n2] = [await register(1), await register(2)];
    for (const key of [keys.group(VDISK), keys.node('n2')]) {
      await group(n1, n2);
      store.database.putSync(key, Buffer.from('damaged'));
      await expect(giveUp()).rejects.toMatchObject({ code: 'ERR_METADATA', message: expect.stringContaining(key) as string });
    }
    expect(readdirSync(data)).toEqual(['stargate']);
  });
});
