import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { activate, attach, detach, holderOf, isOver, listAttachments } from '../../src/meta/attachments.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { winTerms } from '../../src/meta/nodes.js';
import { createVdisk, ensureDefaultContainer, markDeleting } from '../../src/meta/operations.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const SHARED = { shared: true };
let directory: string;
let store: LmdbStore;

/** Vdisk "a", held by host h1 with generation 1. */
beforeEach(async () => {
  directory = makeTempDir('att');
  store = LmdbStore.open(join(directory, 'meta'));
  await ensureDefaultContainer(store);
  const { id } = await createVdisk(store, { name: 'a', sizeBytes: 1 << 20 });
  await winTerms(store, [id], { node: 'n', storeUuid: randomUUID(), incarnation: 1 });
  await attach(store, 'a', 'h1');
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

const codeOf = (done: Promise<unknown>): Promise<string> =>
  done.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

/** "h1 holds, h2 shared" */
async function told(): Promise<string> {
  const all = await listAttachments(store);
  return [...all]
    .sort((one, other) => (one.host < other.host ? -1 : 1))
    .map(one => `${one.host} ${one.shared ? 'shared' : isOver(one, all) ? 'over' : 'holds'}`)
    .join(', ');
}

describe('a shared attachment', () => {
  it('stands beside the one that holds the vdisk, has a generation of its own, and keeps it when it is activated', async () => {
    const shared = await attach(store, 'a', 'h2', SHARED);
    expect(await attach(store, 'a', 'h2', SHARED)).toEqual(shared);
    expect(shared).toMatchObject({ generation: 2, shared: true });
    expect(await told()).toBe('h1 holds, h2 shared');
    const activated = await activate(store, 'a', 'h2');
    expect(activated).toEqual({ ...shared, shared: false, activatedAt: expect.any(String) as string });
    expect(await told()).toBe('h1 over, h2 holds');
    expect(holderOf(await listAttachments(store))).toEqual(activated);
    expect(await detach(store, 'a', 'h1')).toMatchObject({ generation: 1 });
    expect(await told()).toBe('h2 holds');
  });

  it('is activated once, however often; which one is known without its host; the one that is over is not activated', async () => {
    await attach(store, 'a', 'h2', SHARED);
    const first = await activate(store, 'a');
    expect(await activate(store, 'a', 'h2')).toEqual(first);
    expect(await codeOf(activate(store, 'a', 'h1'))).toBe('ERR_SUPERSEDED');
    expect(await told()).toBe('h1 over, h2 holds');
  });

  it('of two hosts that are activated at the same time, one holds the vdisk, whoever it is', async () => {
    await attach(store, 'a', 'h2', SHARED);
    const codes = await Promise.all(['h1', 'h2', 'h1', 'h2'].map(host => codeOf(activate(store, 'a', host))));
    expect(codes[1]).toBe('done');
    expect(await told()).toBe('h1 over, h2 holds');
  });

  it('is one; another one, and the way back, wait until what is in the way is detached, or replace it', async () => {
    await attach(store, 'a', 'h2', SHARED);
    expect(await codeOf(attach(store, 'a', 'h3', SHARED))).toBe('ERR_ATTACHED');
    expect(await codeOf(attach(store, 'a', 'h3'))).toBe('ERR_ATTACHED');
    // Not without saying so: it would take the vdisk away from a guest that runs.
    expect(await codeOf(attach(store, 'a', 'h2'))).toBe('ERR_ATTACHED');
    await activate(store, 'a', 'h2');
    expect(await codeOf(attach(store, 'a', 'h3', SHARED))).toBe('ERR_ATTACHED');
    expect(await codeOf(attach(store, 'a', 'h1'))).toBe('ERR_ATTACHED');
    expect(await attach(store, 'a', 'h1', SHARED)).toMatchObject({ generation: 3, shared: true });
    expect(await told()).toBe('h1 shared, h2 holds');
    await activate(store, 'a', 'h1');
    expect(await told()).toBe('h1 holds, h2 over');
  });

  it('given up leaves the other one as it was; with two, it has to be said which', async () => {
    await attach(store, 'a', 'h2', SHARED);
    expect(await codeOf(detach(store, 'a'))).toBe('ERR_ATTACHED');
    expect(await codeOf(detach(store, 'a', 'h3'))).toBe('ERR_NOT_ATTACHED');
    expect(await codeOf(markDeleting(store, 'a'))).toBe('ERR_ATTACHED');
    await detach(store, 'a', 'h2');
    expect(await told()).toBe('h1 holds');
    expect(await codeOf(activate(store, 'a'))).toBe('ERR_NOT_ATTACHED');
    expect(await codeOf(activate(store, 'a', 'h2'))).toBe('ERR_NOT_ATTACHED');
    // The one that holds it holds it.
    expect(await codeOf(activate(store, 'a', 'h1'))).toBe('done');
  });

  it('may be activated after the one that held the vdisk has gone', async () => {
    await attach(store, 'a', 'h2', SHARED);
    await detach(store, 'a', 'h1');
    expect(await told()).toBe('h2 shared');
    await activate(store, 'a');
    expect(await told()).toBe('h2 holds');
  });
});
