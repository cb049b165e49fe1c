import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { MAX_SIZE_BYTES } from '../../src/base/size.js';
import { leaveDeletedVdisk } from '../../src/meta/groups.js';
import { keys } from '../../src/meta/model.js';
import { groupOf, winTerms } from '../../src/meta/nodes.js';
import { attach, detach, listAttachments } from '../../src/meta/attachments.js';
import * as operations from '../../src/meta/operations.js';
import type { Compare, MetadataStore, Operation, TransactionResult } from '../../src/meta/store.js';
import { MetaServer } from '../../src/meta/wire-server.js';
import { WireStore } from '../../src/meta/wire-store.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const { createContainer, createVdisk, ensureDefaultContainer, findVdisk, markDeleting } = operations;
const member = { node: 'n1', storeUuid: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111', incarnation: 1 };
const sizeBytes = 1 << 30;

let directory: string;
let store: LmdbStore;

beforeEach(async () => {
  directory = makeTempDir('ops');
  store = LmdbStore.open(join(directory, 'meta'));
  await ensureDefaultContainer(store);
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

/** Created and served. */
async function vdisk(name: string): Promise<string> {
  const { id } = await createVdisk(store, { name, sizeBytes });
  await winTerms(store, [id], member);
  return id;
}

const codes = (results: readonly PromiseSettledResult<unknown>[]): string[] =>
  results.map(one => (one.status === 'fulfilled' ? 'done' : (one.reason as { code: string }).code)).sort();

describe('names', () => {
  it.each<[string, string]>([
    ['empty', ''],
    ['a slash', 'a/b'],
    ['only dots', '..'],
    ['300 characters', 'x'.repeat(300)],
    ['unicode', 'größe'],
    ['a character outside the basic plane', 'disk\u{1f600}'],
    ['half of such a character', 'disk\ud83d'],
    ['a NUL', 'a\0b'],
    ['a space in front', ' a'],
    ['an option', '-rf'],
  ])('%s is refused wherever a name is taken, with what a name is', async (_, name) => {
    const refused = { code: 'ERR_NAME', kind: 'invalid' };
    await vdisk('good');
    await expect(createVdisk(store, { name, sizeBytes })).rejects.toMatchObject(refused);
    await expect(createVdisk(store, { name: 'a', sizeBytes, container: name })).rejects.toMatchObject(refused);
    await expect(createContainer(store, name)).rejects.toMatchObject(refused);
    await expect(findVdisk(store, name)).rejects.toMatchObject(refused);
    await expect(markDeleting(store, name)).rejects.toMatchObject(refused);
    await expect(attach(store, name, 'h')).rejects.toMatchObject(refused);
    await expect(attach(store, 'good', name)).rejects.toMatchObject(refused);
    await expect(detach(store, name)).rejects.toMatchObject(refused);
    expect((await store.range('')).items.map(item => item.key)).not.toContain(keys.vdiskName(name));
  });

  it('of 255 characters, and of dots, dashes and digits inside, are fine', async () => {
    for (const name of ['x'.repeat(255), '0', 'a.b-c_d', 'A']) {
      await vdisk(name);
      expect((await findVdisk(store, name)).name).toBe(name);
    }
    // Names that begin alike are different ones.
    await expect(findVdisk(store, 'a.b')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });
});

describe('vdisks', () => {
  it.each([0, -4096, 1.5, Number.NaN, MAX_SIZE_BYTES + 1, 2 ** 60, Infinity])('of %d bytes are refused', async size => {
    await expect(createVdisk(store, { name: 'a', sizeBytes: size })).rejects.toMatchObject({ code: 'ERR_SIZE', kind: 'invalid' });
  });

  it('have a name of their own, in a container that exists', async () => {
    await createVdisk(store, { name: 'a', sizeBytes: MAX_SIZE_BYTES });
    await expect(createVdisk(store, { name: 'a', sizeBytes })).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    await expect(createVdisk(store, { name: 'b', sizeBytes, container: 'none' })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await createContainer(store, 'fast');
    await expect(createContainer(store, 'fast')).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    expect((await createVdisk(store, { name: 'b', sizeBytes, container: 'fast' })).container).toBe('fast');
    expect((await operations.listVdisks(store)).map(one => one.name).sort()).toEqual(['a', 'b']);
    expect((await operations.listContainers(store)).map(one => one.name)).toEqual(['default', 'fast']);
  });

  it('in a cluster have a group from the first moment on, and are attached when its controller has won a term', async () => {
    const members = [member, { ...member, node: 'n2', storeUuid: 'b0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a222' }];
    const asked: unknown[] = [];
    await createContainer(store, 'safe', { replicationFactor: 2 });
    const { id } = await createVdisk(store, { name: 'a', sizeBytes, container: 'safe' }, container => {
      asked.push([container.name, container.replicationFactor, container.minMembers]);
      return Promise.resolve(members);
    });
    expect(asked).toEqual([['safe', 2, 1]]);
    const group = await groupOf(store, id);
    expect(group).toMatchObject({ vdiskId: id, epoch: 1, term: 0, controller: 'n1', members, generation: 0 });
    await expect(attach(store, 'a', 'h')).rejects.toMatchObject({ code: 'ERR_NOT_SERVED' });
    await store.transaction([], [{ put: keys.group(id), value: { ...group, epoch: 2, term: 2 } }]);
    expect(await attach(store, 'a', 'h')).toMatchObject({ generation: 1 });
  });

  it('that find no place are not made', async () => {
    const nowhere = { ...new Error(), code: 'ERR_TOO_FEW_NODES' };
    await expect(createVdisk(store, { name: 'a', sizeBytes }, () => Promise.reject(nowhere as unknown as Error))).rejects.toBe(nowhere);
    await expect(findVdisk(store, 'a')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('are not deleted while they are attached; deleted, their name is free and their records go', async () => {
    const id = await vdisk('a');
    await attach(store, 'a', 'h');
    await expect(markDeleting(store, 'a')).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    await detach(store, 'a');
    expect(await markDeleting(store, 'a')).toMatchObject({ id, deleting: true });
    await expect(findVdisk(store, 'a')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(markDeleting(store, 'a')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    const next = await vdisk('a');
    expect(next).not.toBe(id);
    expect(await leaveDeletedVdisk(store, id, () => true)).toEqual([]);
    expect(await store.get(keys.vdisk(id))).toBe(null);
    expect(await store.get(keys.group(id))).toBe(null);
    expect((await findVdisk(store, 'a')).id).toBe(next);
  });
});

describe('attachments', () => {
  it('are at one host; the same again gives what there is; each new one has a higher generation', async () => {
    await vdisk('a');
    const first = await attach(store, 'a', 'h1');
    expect(await attach(store, 'a', 'h1')).toEqual(first);
    await expect(attach(store, 'a', 'h2')).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    expect(await detach(store, 'a')).toEqual(first);
    await expect(detach(store, 'a')).rejects.toMatchObject({ code: 'ERR_NOT_ATTACHED' });
    expect((await attach(store, 'a', 'h2')).generation).toBe(first.generation + 1);
  });

  it('need a vdisk that is there and served', async () => {
    await expect(attach(store, 'a', 'h')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await createVdisk(store, { name: 'a', sizeBytes });
    await expect(attach(store, 'a', 'h')).rejects.toMatchObject({ code: 'ERR_NOT_SERVED', kind: 'retryable' });
  });
});

/** Stops before one transaction or read of its choice, for what somebody else does meanwhile. */
class Interleaved implements MetadataStore {
  beforeTransaction: (() => Promise<unknown>) | null = null;
  beforeGet = new Map<string, () => Promise<unknown>>();
  constructor(private readonly inner: MetadataStore) {}

  async get(key: string): ReturnType<MetadataStore['get']> {
    const meanwhile = this.beforeGet.get(key);
    this.beforeGet.delete(key);
    await meanwhile?.();
    return this.inner.get(key);
  }

  async transaction(compares: readonly Compare[], changes: readonly Operation[]): Promise<TransactionResult> {
    const meanwhile = this.beforeTransaction;
    this.beforeTransaction = null;
    await meanwhile?.();
    return this.inner.transaction(compares, changes);
  }

  range: MetadataStore['range'] = prefix => this.inner.range(prefix);
  keys: MetadataStore['keys'] = prefix => this.inner.keys(prefix);
  watch: MetadataStore['watch'] = (prefix, listener) => this.inner.watch(prefix, listener);
  close = (): Promise<void> => Promise.resolve();
}

describe('what somebody else does in between', () => {
  it('an attach makes a delete fail, and a delete an attach', async () => {
    await vdisk('a');
    const late = new Interleaved(store);
    late.beforeTransaction = () => attach(store, 'a', 'h');
    await expect(markDeleting(late, 'a')).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    await detach(store, 'a');
    late.beforeTransaction = () => markDeleting(store, 'a');
    await expect(attach(late, 'a', 'h')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await listAttachments(store)).toEqual([]);
  });

  it('a detach takes away the attachment it has seen, not the next one', async () => {
    await vdisk('a');
    await attach(store, 'a', 'h1');
    const late = new Interleaved(store);
    late.beforeTransaction = async () => {
      await detach(store, 'a');
      await attach(store, 'a', 'h1');
    };
    const detached = await detach(late, 'a');
    // The second one, knowingly: the first was gone, the operation looked again.
    expect(detached.generation).toBe(2);
    late.beforeTransaction = () => attach(store, 'a', 'h2');
    await attach(store, 'a', 'h1');
    late.beforeTransaction = async () => {
      await detach(store, 'a');
    };
    await expect(detach(late, 'a')).rejects.toMatchObject({ code: 'ERR_NOT_ATTACHED' });
  });

  it('a name that changes hands while it is looked up is never taken from its new vdisk', async () => {
    const old = await vdisk('a');
    let next = '';
    const late = new Interleaved(store);
    // Between the two reads of a look-up: the old vdisk is deleted, its name given to a new one.
    late.beforeGet.set(keys.vdisk(old), async () => {
      await markDeleting(store, 'a');
      next = await vdisk('a');
    });
    expect((await markDeleting(late, 'a')).id).toBe(next);
    const third = await vdisk('a');
    late.beforeGet.set(keys.vdisk(third), () => markDeleting(store, 'a'));
    await expect(attach(late, 'a', 'h')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await listAttachments(store)).toEqual([]);
  });

  it('a changed container does not make a vdisk "exist already"', async () => {
    const late = new Interleaved(store);
    late.beforeTransaction = async () => {
      const key = keys.container('default');
      await store.transaction([], [{ put: key, value: { ...((await store.get(key))!.value as object), durability: 'flush' } }]);
    };
    expect((await createVdisk(late, { name: 'a', sizeBytes })).name).toBe('a');
  });

  it('a container made at the same time is fine', async () => {
    await store.transaction([], [{ remove: keys.container('default') }]);
    const late = new Interleaved(store);
    late.beforeTransaction = () => ensureDefaultContainer(store);
    await ensureDefaultContainer(late);
    expect((await operations.listContainers(store)).length).toBe(1);
  });
});

/** Applies, or loses, the next transaction, and says that its outcome is unknown. */
class Uncertain extends Interleaved {
  next: 'applied' | 'lost' | null = null;

  override async transaction(compares: readonly Compare[], changes: readonly Operation[]): Promise<TransactionResult> {
    const { next } = this;
    this.next = null;
    if (next === null) return super.transaction(compares, changes);
    if (next === 'applied') await super.transaction(compares, changes);
    throw new MetaUnavailable('outcome unknown');
  }
}

describe('an unknown outcome', () => {
  it('that was applied is found by reading back', async () => {
    const unsure = new Uncertain(store);
    unsure.next = 'applied';
    const { id } = await createVdisk(unsure, { name: 'a', sizeBytes });
    await winTerms(store, [id], member);
    unsure.next = 'applied';
    expect(await attach(unsure, 'a', 'h')).toMatchObject({ generation: 1 });
    unsure.next = 'applied';
    expect(await detach(unsure, 'a')).toMatchObject({ host: 'h' });
    unsure.next = 'applied';
    expect(await markDeleting(unsure, 'a')).toMatchObject({ deleting: true });
  });

  it('that was not (yet) stays unknown, and asking again does it', async () => {
    const unsure = new Uncertain(store);
    const steps = [
      () => createVdisk(unsure, { name: 'a', sizeBytes }),
      () => attach(unsure, 'a', 'h'),
      () => detach(unsure, 'a'),
      () => markDeleting(unsure, 'a'),
    ];
    for (const [i, step] of steps.entries()) {
      unsure.next = 'lost';
      await expect(step()).rejects.toBeInstanceOf(MetaUnavailable);
      await step();
      if (i === 0) await winTerms(store, [(await findVdisk(store, 'a')).id], member);
    }
  });
});

describe('containers', () => {
  it('say how many copies there are, and with how many at least writes go on', async () => {
    expect(await createContainer(store, 'one')).toMatchObject({ replicationFactor: 1, minMembers: 1 });
    expect(await createContainer(store, 'two', { replicationFactor: 2 })).toMatchObject({ replicationFactor: 2, minMembers: 1 });
    expect(await createContainer(store, 'three', { replicationFactor: 3 })).toMatchObject({ replicationFactor: 3, minMembers: 2 });
    expect(await createContainer(store, 'strict', { replicationFactor: 3, minMembers: 3 })).toMatchObject({ minMembers: 3 });
    expect(await createContainer(store, 'quick', { durability: 'flush' })).toMatchObject({ replicationFactor: 1, durability: 'flush' });
    expect(await createContainer(store, 'cached', { replicationFactor: 3, durability: 'flush' })).toMatchObject({ durability: 'flush' });
    const never = createContainer(store, 'never', { replicationFactor: 2, minMembers: 3 });
    await expect(never).rejects.toMatchObject({ code: 'ERR_MIN_MEMBERS' });
  });

  it('change their policies, and nothing else', async () => {
    await operations.createContainer(store, 'tight', { enospc: 'error', quotaBytes: 2 ** 30 });
    await expect(operations.createVdisk(store, { name: 'big', sizeBytes: 2 ** 30 + 4096, container: 'tight' })).rejects.toMatchObject({
      code: 'ERR_QUOTA',
    });
    await operations.createVdisk(store, { name: 'fits', sizeBytes: 2 ** 30, container: 'tight' });
    const before = (await operations.listContainers(store)).find(one => one.name === 'tight');
    expect(before).toMatchObject({ enospc: 'error', quotaBytes: 2 ** 30 });
    expect(await operations.setContainer(store, 'tight', { quotaBytes: null })).toEqual({ ...before, quotaBytes: null });
    expect(await operations.setContainer(store, 'tight', { enospc: 'wait' })).toEqual({ ...before, quotaBytes: null, enospc: 'wait' });
    await expect(operations.setContainer(store, 'none', { enospc: 'wait' })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('of older versions read as they were meant', async () => {
    const old = { name: 'old', replicationFactor: 1, durability: 'always', createdAt: 'then' };
    await store.transaction([], [{ put: keys.container('old'), value: old }]);
    expect((await operations.listContainers(store)).find(one => one.name === 'old')).toEqual({
      ...old,
      ...{ minMembers: 1, enospc: 'wait', quotaBytes: null },
    });
  });
});

describe('many at once, over the wire', () => {
  let server: MetaServer;
  let clients: WireStore[];

  beforeEach(async () => {
    const socketPath = join(directory, 's');
    server = new MetaServer({ store, software: 'test', log: silentLogger });
    await server.listen(socketPath);
    clients = Array.from({ length: 8 }, () => new WireStore({ socketPath, software: 'test' }));
  });

  afterEach(async () => {
    for (const client of clients) await client.close();
    await server.close();
  });

  it('one creation of a name wins, one host gets the vdisk, one deletion succeeds', async () => {
    const created = await Promise.allSettled(clients.map(client => createVdisk(client, { name: 'a', sizeBytes })));
    expect(codes(created)).toEqual([...Array<string>(7).fill('ERR_EXISTS'), 'done']);
    expect((await operations.listVdisks(store)).length).toBe(1);
    await winTerms(store, [(await findVdisk(store, 'a')).id], member);
    const attached = await Promise.allSettled(clients.map((client, i) => attach(client, 'a', `h${i}`)));
    expect(codes(attached)).toEqual([...Array<string>(7).fill('ERR_ATTACHED'), 'done']);
    const detached = await Promise.allSettled(clients.map(client => detach(client, 'a')));
    expect(codes(detached)).toEqual([...Array<string>(7).fill('ERR_NOT_ATTACHED'), 'done']);
    const deleted = await Promise.allSettled(clients.map(client => markDeleting(client, 'a')));
    expect(codes(deleted)).toEqual([...Array<string>(7).fill('ERR_NOT_FOUND'), 'done']);
  });

  it('attaching, detaching, deleting and creating race, and the records stay consistent', async () => {
    const expected = new Set(['ERR_EXISTS', 'ERR_NOT_FOUND', 'ERR_ATTACHED', 'ERR_NOT_ATTACHED', 'ERR_NOT_SERVED', 'ERR_CONTENTION']);
    const generations = new Map<string, number[]>();
    let done = 0;
    await Promise.all(
      clients.map(async (client, i) => {
        for (let round = 0; round < 40; round++) {
          const name = `v${round % 2}`;
          const steps = [
            async () => winTerms(client, [(await createVdisk(client, { name, sizeBytes })).id], member),
            async () => {
              const { vdiskId, generation } = await attach(client, name, `h${i}`);
              generations.set(vdiskId, [...(generations.get(vdiskId) ?? []), generation]);
            },
            () => detach(client, name),
            () => markDeleting(client, name),
          ];
          try {
            await steps[(round + i) % 4]!();
            done++;
          } catch (error) {
            if (!expected.has((error as { code: string }).code)) throw error;
          }
        }
      }),
    );
    expect(done).toBeGreaterThan(40);
    const vdisks = await operations.listVdisks(store);
    const living = vdisks.filter(one => !one.deleting);
    const named = (await store.range(keys.vdiskNames)).items.map(item => item.value);
    expect(named.sort()).toEqual(living.map(one => one.id).sort());
    const attachments = await listAttachments(store);
    expect(attachments.every(one => living.some(({ id }) => id === one.vdiskId))).toBe(true);
    expect(new Set(attachments.map(one => one.vdiskId)).size).toBe(attachments.length);
  });
});
