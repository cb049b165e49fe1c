import { randomUUID } from 'node:crypto';
import { afterEach, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import type { ExportStatus } from '../../src/datapath/main.js';
import { ExportReport } from '../../src/datapath/report.js';
import { listExports } from '../../src/meta/hosts.js';
import { keys } from '../../src/meta/model.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';

let report: ExportReport | null = null;

function reporting(store: MemoryMetadata) {
  const exports = new Map<string, ExportStatus[]>();
  const exportsOf = (vdiskId: string): readonly ExportStatus[] => exports.get(vdiskId) ?? [];
  const names = { host: 'here', datapathUuid: randomUUID(), nbdSocket: '/nbd', nbdTls: null };
  const made = new ExportReport({ store, ...names, exportsOf, log: silentLogger });
  report = made;
  const change = (vdiskId: string, ...all: ExportStatus[]): void => {
    exports.set(vdiskId, all);
    made.update(vdiskId);
  };
  return { change, made };
}

const exported = (vdiskId: string, generation = 1): ExportStatus => ({
  ...{ vdiskId, name: 'v', generation, sizeBytes: 4_096, shared: false, exported: true, ending: false, quarantine: null },
});
const ending = (vdiskId: string, generation = 1): ExportStatus => ({ ...exported(vdiskId, generation), exported: false, ending: true });
const said = async (store: MemoryMetadata): Promise<string[]> =>
  (await listExports(store)).map(({ generation, state }) => `${generation} ${state}`);

afterEach(() => report?.close());

it('says of a thousand exports that come together in a few transactions, and of one more in one', async () => {
  const store = new MemoryMetadata();
  const { change } = reporting(store);
  for (let i = 0; i < 1_000; i++) {
    const id = randomUUID();
    change(id, exported(id));
    // As messages from shards come: each in a turn of its own for promises, not for the loop.
    await Promise.resolve();
  }
  await vi.waitFor(async () => expect(await said(store)).toHaveLength(1_000));
  expect(store.transactions).toBeLessThan(20);
  const before = store.transactions;
  const last = randomUUID();
  change(last, exported(last));
  await vi.waitFor(async () => expect(await said(store)).toHaveLength(1_001));
  expect(store.transactions).toBe(before + 1);
});

it('says what counts of two generations, and nothing of what is gone', async () => {
  const store = new MemoryMetadata();
  await store.put(keys.export('here', 'former'), { of: 'a former process' });
  const { change } = reporting(store);
  const id = randomUUID();
  change(id, exported(id));
  await vi.waitFor(async () => expect(await said(store)).toEqual(['1 exported']));
  change(id, ending(id), { ...exported(id, 2), exported: false });
  await vi.waitFor(async () => expect(await said(store)).toEqual(['1 ending']));
  change(id, ending(id), exported(id, 2));
  await vi.waitFor(async () => expect(await said(store)).toEqual(['2 exported']));
  change(id);
  await vi.waitFor(async () => expect(await said(store)).toEqual([]));
});

it('says it later where the store does not answer', async () => {
  const store = new MemoryMetadata();
  const { change, made } = reporting(store);
  made.update();
  await vi.waitFor(() => expect(store.items.has(keys.host('here'))).toBe(true));
  store.available = false;
  const id = randomUUID();
  const before = store.transactions;
  change(id, exported(id));
  await vi.waitFor(() => expect(store.transactions).toBeGreaterThan(before));
  // It was not applied.
  store.items.delete(keys.export('here', id));
  store.available = true;
  await vi.waitFor(async () => expect(await said(store)).toEqual(['1 exported']), 10_000);
});
