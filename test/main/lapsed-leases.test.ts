import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { LapsedLeases } from '../../src/main/lapsed-leases.js';
import { attach, detach, listAttachments } from '../../src/meta/attachments.js';
import { beginExport, beginImport, listLeases, renewLease } from '../../src/meta/leases.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { winTerms } from '../../src/meta/nodes.js';
import { createVdisk, ensureDefaultContainer, livingVdisks } from '../../src/meta/operations.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep, waitFor } from '../support/wait.js';

const member = { node: 'n1', storeUuid: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111', incarnation: 1 };
const sizeBytes = 1 << 20;
const WAIT_MS = 30_000;

let directory: string;
let store: LmdbStore;
let running: LapsedLeases[];
let deletions: number;

beforeEach(async () => {
  directory = makeTempDir('lapsed');
  store = LmdbStore.open(join(directory, 'meta'));
  running = [];
  deletions = 0;
  await ensureDefaultContainer(store);
});

afterEach(async () => {
  for (const one of running) one.close();
  await store.close();
  removeTempDir(directory);
});

function start(lapseMs: number, over: MetadataStore = store): void {
  running.push(
    new LapsedLeases({
      store: over,
      log: silentLogger,
      makeRoom: () => undefined,
      onDeleting: () => void deletions++,
      lapseMs,
      lookMs: lapseMs / 10,
    }),
  );
}

async function importing(name: string): Promise<string> {
  const { vdisk } = await beginImport(store, { name, sizeBytes });
  await winTerms(store, [vdisk.id], member);
  return vdisk.id;
}

const leases = async (): Promise<number> => (await listLeases(store)).length;

describe('an import or export whose client is gone', () => {
  it('ends: detached, and an import’s vdisk is deleted; once, however many nodes look', async () => {
    const { vdisk } = await beginImport(store, { name: 'web1', sizeBytes });
    await winTerms(store, [vdisk.id], member);
    await attach(store, vdisk.name, 'h1', { isLeased: true });
    start(500);
    start(500);
    await waitFor('the end of the lease', WAIT_MS, async () => (await leases()) === 0);
    expect(await livingVdisks(store)).toEqual([]);
    expect(await listAttachments(store)).toEqual([]);
    expect(deletions).toBeGreaterThan(0);
  });

  it('ends: an export’s vdisk is free, and whole', async () => {
    const { id } = await createVdisk(store, { name: 'web1', sizeBytes });
    await winTerms(store, [id], member);
    await beginExport(store, 'web1');
    await attach(store, 'web1', 'h1', { isLeased: true });
    start(500);
    await waitFor('the end of the lease', WAIT_MS, async () => (await leases()) === 0);
    expect(await livingVdisks(store)).toMatchObject([{ name: 'web1', deleting: false }]);
    await attach(store, 'web1', 'h2');
    await detach(store, 'web1');
  });
});

describe('a client that lives', () => {
  it('keeps what it has begun, for as long as it likes', async () => {
    const id = await importing('web1');
    start(1_000);
    const endMs = performance.now() + 4_000;
    while (performance.now() < endMs) {
      await renewLease(store, id);
      await sleep(100);
    }
    expect(await leases()).toBe(1);
  });

  it('is not blamed for a time in which the metadata did not answer', async () => {
    const id = await importing('web1');
    let isSilent = false;
    const asked = { silently: 0 };
    const flaky: MetadataStore = {
      get: key => store.get(key),
      transaction: (compares, operations) => store.transaction(compares, operations),
      watch: (prefix, listener) => store.watch(prefix, listener),
      close: () => store.close(),
      keys: prefix => store.keys(prefix),
      range: prefix => {
        if (!isSilent) return store.range(prefix);
        asked.silently++;
        return Promise.reject(new Error('silent'));
      },
    };
    start(1_000, flaky);
    await sleep(300);
    isSilent = true;
    await sleep(1_500);
    isSilent = false;
    // Nobody could renew meanwhile; now there is time for that again.
    await sleep(500);
    expect(asked.silently).toBeGreaterThan(3);
    expect(await leases()).toBe(1);
    await renewLease(store, id);
    await waitFor('the end of the lease', WAIT_MS, async () => (await leases()) === 0);
  });
});
