import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attach, detach, listAttachments } from '../../src/meta/attachments.js';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { beginExport, beginImport, endLease, finishImport, isUnfinishedImport, listLeases, renewLease } from '../../src/meta/leases.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys } from '../../src/meta/model.js';
import { winTerms } from '../../src/meta/nodes.js';
import { createVdisk, ensureDefaultContainer, findVdisk, listVdisks, livingVdisks, markDeleting } from '../../src/meta/operations.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const member = { node: 'n1', storeUuid: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111', incarnation: 1 };
const sizeBytes = 1 << 30;
const leased = { isLeased: true };

let directory: string;
let store: LmdbStore;

beforeEach(async () => {
  directory = makeTempDir('leases');
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

/** Begun and served: its vdisk's id and own name. */
async function importing(name: string): Promise<{ id: string; own: string }> {
  const { vdisk: made } = await beginImport(store, { name, sizeBytes });
  await winTerms(store, [made.id], member);
  return { id: made.id, own: made.name };
}

/** A store whose transactions are done, and whose answers are lost. */
const silent = (): MetadataStore => ({
  get: key => store.get(key),
  range: prefix => store.range(prefix),
  keys: prefix => store.keys(prefix),
  watch: (prefix, listener) => store.watch(prefix, listener),
  close: () => store.close(),
  transaction: async (compares, operations) => {
    await store.transaction(compares, operations);
    throw new MetaUnavailable('lost');
  },
});

describe('an import', () => {
  it('has its name from its end on, and not before', async () => {
    const { id, own } = await importing('web1');
    await expect(findVdisk(store, 'web1')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await findVdisk(store, own)).toMatchObject({ id });
    expect(isUnfinishedImport(await findVdisk(store, own))).toBe(true);
    await finishImport(store, id);
    expect(await findVdisk(store, 'web1')).toMatchObject({ id, name: 'web1', sizeBytes, deleting: false });
    expect(isUnfinishedImport(await findVdisk(store, 'web1'))).toBe(false);
    await expect(findVdisk(store, own)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await listLeases(store)).toEqual([]);
  });

  it('is refused where the name is taken, also by an import', async () => {
    await vdisk('here');
    await expect(beginImport(store, { name: 'here', sizeBytes })).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    await importing('soon');
    await expect(beginImport(store, { name: 'soon', sizeBytes })).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    await expect(beginImport(store, { name: '../x', sizeBytes })).rejects.toMatchObject({ code: 'ERR_NAME' });
    await expect(beginImport(store, { name: 'x', sizeBytes, container: 'none' })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await listVdisks(store)).toHaveLength(2);
  });

  it('does not take a name that somebody else has taken meanwhile', async () => {
    const { id } = await importing('web1');
    const other = await vdisk('web1');
    await expect(finishImport(store, id)).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    expect(await findVdisk(store, 'web1')).toMatchObject({ id: other });
  });

  it('is attached for its client and nobody else, and is not finished before it is detached', async () => {
    const { id, own } = await importing('web1');
    await expect(attach(store, own, 'h1')).rejects.toMatchObject({ code: 'ERR_LEASED' });
    await attach(store, own, 'h1', leased);
    await expect(attach(store, own, 'h1')).rejects.toMatchObject({ code: 'ERR_LEASED' });
    await expect(finishImport(store, id)).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    await detach(store, own);
    await finishImport(store, id);
    await attach(store, 'web1', 'h1');
  });

  it('that ends is gone with its vdisk', async () => {
    const { id, own } = await importing('web1');
    expect(await endLease(store, id)).toBe(true);
    expect(await livingVdisks(store)).toEqual([]);
    expect(await store.get(keys.vdiskName(own))).toBeNull();
    await expect(renewLease(store, id)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    await expect(finishImport(store, id)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    await expect(attach(store, 'web1', 'h1', leased)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await endLease(store, id)).toBe(true);
  });

  it('that was renewed since somebody looked is left alone', async () => {
    const { id } = await importing('web1');
    const [seen] = await listLeases(store);
    await renewLease(store, id);
    expect(await endLease(store, id, seen!.versioned)).toBe(false);
    await finishImport(store, id);
    expect(await findVdisk(store, 'web1')).toMatchObject({ id });
  });

  it('whose vdisk is deleted is over', async () => {
    const { id, own } = await importing('web1');
    await markDeleting(store, own);
    await expect(renewLease(store, id)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    await expect(finishImport(store, id)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
    expect(await listLeases(store)).toEqual([]);
    expect(await endLease(store, id)).toBe(true);
    await importing('web1');
  });

  it('finished or ended by a transaction whose answer is lost is so', async () => {
    const first = await importing('a');
    expect(await finishImport(silent(), first.id)).toMatchObject({ name: 'a' });
    const second = await importing('b');
    expect(await endLease(silent(), second.id)).toBe(true);
    expect((await livingVdisks(store)).map(({ name }) => name)).toEqual(['a']);
  });
});

describe('an export', () => {
  it('has the vdisk to itself, and leaves it as it was', async () => {
    const id = await vdisk('web1');
    await beginExport(store, 'web1');
    await expect(attach(store, 'web1', 'h1')).rejects.toMatchObject({ code: 'ERR_LEASED' });
    await expect(beginExport(store, 'web1')).rejects.toMatchObject({ code: 'ERR_LEASED' });
    await attach(store, 'web1', 'h1', leased);
    await expect(endLease(store, id)).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    await detach(store, 'web1');
    await endLease(store, id);
    expect(await findVdisk(store, 'web1')).toMatchObject({ id, deleting: false });
    expect(await listAttachments(store)).toEqual([]);
    await attach(store, 'web1', 'h1');
  });

  it('is refused while somebody has it attached, whoever is faster', async () => {
    await vdisk('web1');
    await attach(store, 'web1', 'h1');
    await expect(beginExport(store, 'web1')).rejects.toMatchObject({ code: 'ERR_ATTACHED' });
    await detach(store, 'web1');
    for (let i = 0; i < 20; i++) {
      const results = await Promise.allSettled([attach(store, 'web1', 'h1'), beginExport(store, 'web1')]);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const [one] = await listLeases(store);
      if (one === undefined) await detach(store, 'web1');
      else await endLease(store, one.record.vdiskId);
    }
  });

  it('is nothing that could be finished as an import', async () => {
    const id = await vdisk('web1');
    await beginExport(store, 'web1');
    await expect(finishImport(store, id)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' });
  });
});
