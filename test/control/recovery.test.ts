import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ManagedNode, NodeStatus } from '../../src/control/node.js';
import { copyOf, lookAtCopies, recover } from '../../src/control/recovery.js';
import type { CopyView } from '../../src/control/schemas.js';
import { casGroup, idOf, viewOf } from '../../src/meta/groups.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import type { BeatRecord, GroupMember } from '../../src/meta/model.js';
import { groupOf, registerNode } from '../../src/meta/nodes.js';
import { createContainer, createVdisk } from '../../src/meta/operations.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const member = (node: string): GroupMember => ({ node, storeUuid: `a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a11${node.slice(1)}`, incarnation: 1 });
const [n1, n2, n3] = ['n1', 'n2', 'n3'].map(member) as [GroupMember, GroupMember, GroupMember];
const NONCE = 'b0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a222';
const WHOLE = { historyId: 1, lastSeq: 70, lastTerm: 4, isWhole: true, isTorn: false, isServing: false };

let directory: string;
let store: LmdbStore;
let id: string;

beforeEach(async () => {
  directory = makeTempDir('recovery');
  store = LmdbStore.open(join(directory, 'meta'));
  for (const { node, storeUuid } of [n1, n2, n3]) {
    const facts = { addresses: { unix: node, tcp: null }, shards: 1, streams: 1, control: `unix:${node}` };
    await registerNode(store, { id: node, storeUuid, ...facts, boot: { incarnation: 0, bootCount: 1 } });
  }
  await createContainer(store, 'two', { replicationFactor: 2 });
  ({ id } = await createVdisk(store, { name: 'v', sizeBytes: 4096, container: 'two' }, () => Promise.resolve([n1, n2])));
  // n2 was lost first, then n1 with what was written meanwhile.
  const group = (await groupOf(store, id))!;
  const next = { ...viewOf(group), epoch: 2, term: 2, members: [idOf(n1)], controller: idOf(n1), nonce: NONCE };
  expect(await casGroup(store, id, 1, next)).toEqual({ kind: 'applied' });
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

interface World {
  /** Nodes that live, and what they say; null: nothing. The request is made at n3. */
  readonly copies: Readonly<Record<string, CopyView['copy'] | 'silent' | 'damaged'>>;
}

function at({ copies }: World): { store: LmdbStore; node: ManagedNode } {
  const beats = Object.keys(copies).map((node): BeatRecord => ({ ...member(node), id: node, beat: 1, freeBytes: 1, totalBytes: 1 }));
  const statusOf = (node: string): NodeStatus => {
    const copy = copies[node];
    const problems = copy === 'damaged' ? [{ vdiskId: id, message: 'its log is damaged' }] : [];
    const replica = { vdiskId: id, allocatedBytes: 0, logBytes: 0, sessions: 0, drainedSeq: 0, resync: null };
    const replicas = copy == null || typeof copy === 'string' ? [] : [{ ...replica, ...copy, office: copy.isServing ? 'serving' : 'idle' }];
    return {
      vdisks: [],
      replicas,
      problems,
      shards: [],
      removing: 0,
      removingBytes: 0,
      storePages: null,
      damagedRecords: [],
      silentShards: 0,
    };
  };
  const cluster: ManagedNode['cluster'] = {
    living: () => beats,
    ask: () => Promise.resolve(null),
    askCopy: node => Promise.resolve(copies[node.id] === 'silent' ? null : copyOf(node.id, id, statusOf(node.id))),
    askCommand: () => Promise.resolve(null),
  };
  const node = { id: 'n3', status: () => Promise.resolve(statusOf('n3')), space: () => ({ freeBytes: 0, totalBytes: 0 }), cluster };
  return { store, node: node as unknown as ManagedNode };
}

describe('a vdisk is recovered by force', () => {
  it.each<[string, World, string | undefined, string]>([
    ['not where a member is there', { copies: { n1: WHOLE, n2: WHOLE, n3: null } }, undefined, 'ERR_NOT_LOST'],
    ['not where somebody serves it', { copies: { n2: { ...WHOLE, isServing: true }, n3: null } }, undefined, 'ERR_NOT_LOST'],
    ['not where a member lives and does not say', { copies: { n1: 'silent', n2: WHOLE, n3: null } }, undefined, 'ERR_NOT_LOST'],
    ['not without a copy', { copies: { n3: null } }, undefined, 'ERR_NO_COPY'],
    ['not from a copy that was being brought up', { copies: { n2: { ...WHOLE, isWhole: false }, n3: null } }, 'n2', 'ERR_NO_COPY'],
    ['not from one of another history', { copies: { n2: { ...WHOLE, historyId: 7 }, n3: null } }, 'n2', 'ERR_NO_COPY'],
    ['not from a damaged one', { copies: { n2: 'damaged', n3: null } }, 'n2', 'ERR_NO_COPY'],
    ['not from a node that does not live', { copies: { n3: WHOLE } }, 'n2', 'ERR_NO_COPY'],
    ['not by itself where a node does not say', { copies: { n2: 'silent', n3: WHOLE } }, undefined, 'ERR_COPIES_UNKNOWN'],
    ['not without consent', { copies: { n2: WHOLE, n3: null } }, undefined, 'ERR_DATA_LOSS'],
  ])('%s', async (_name, world, from, code) => {
    const options = at(world);
    const before = await groupOf(store, id);
    const acceptDataLoss = code !== 'ERR_DATA_LOSS';
    await expect(recover(options, 'v', { acceptDataLoss, ...(from !== undefined && { from }) })).rejects.toMatchObject({ code });
    expect(await groupOf(store, id)).toEqual(before);
  });

  it.each<[string, World, string | undefined, string]>([
    ['from the copy that ends last', { copies: { n2: WHOLE, n3: { ...WHOLE, lastSeq: 90, lastTerm: 3 } } }, undefined, 'n2'],
    ['from a member whose tail was torn, alone with it', { copies: { n1: { ...WHOLE, isTorn: true }, n3: null } }, undefined, 'n1'],
    ['from the one that is named', { copies: { n2: WHOLE, n3: { ...WHOLE, lastSeq: 9 } } }, 'n3', 'n3'],
    ['from the one that is named, though it cannot be asked', { copies: { n2: 'silent', n3: WHOLE } }, 'n2', 'n2'],
  ])('%s', async (_name, world, from, origin) => {
    const options = at(world);
    const recovering = recover(options, 'v', { acceptDataLoss: true, ...(from !== undefined && { from }) });
    // As the node does it: it wins a term.
    let group = (await groupOf(store, id))!;
    while (group.recovered === undefined) {
      await new Promise(resolve => setTimeout(resolve, 5));
      group = (await groupOf(store, id))!;
    }
    const epoch = group.epoch + 1;
    await casGroup(store, id, group.epoch, { ...viewOf(group), epoch, term: epoch, nonce: NONCE });
    expect(await recovering).toEqual({ vdisk: 'v', from: origin, historyId: 2, isServed: true });
    expect(group.members).toEqual([member(origin)]);
  });

  it('when it is said what is known: who is missing since when, and where the copies end', async () => {
    const { view } = await lookAtCopies(at({ copies: { n2: WHOLE, n3: null } }), 'v');
    expect(view).toMatchObject({ vdisk: 'v', historyId: 1, epoch: 2, term: 2, members: ['n1'], best: 'n2', refusal: null, silent: [] });
    expect(view.missing).toEqual([
      { node: 'n1', since: null },
      { node: 'n2', since: expect.any(String) as string },
    ]);
    expect(view.copies).toEqual([
      { node: 'n3', copy: null, problem: null, allocatedBytes: null },
      { node: 'n2', copy: WHOLE, problem: null, allocatedBytes: 0 },
    ]);
  });
});
