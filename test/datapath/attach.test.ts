import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { AttachmentWatcher } from '../../src/datapath/attach.js';
import { keys, type AttachmentRecord } from '../../src/meta/model.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';

const events: string[] = [];
let watcher: AttachmentWatcher | null = null;

function watch(store: MemoryMetadata, known: readonly AttachmentRecord[] = []): void {
  const say = (what: string) => (one: AttachmentRecord) => void events.push(`${what} ${one.vdiskName} ${one.generation} ${one.sizeBytes}`);
  const listener = { onAttached: say('attached'), onDetached: say('detached'), onActivated: say('activated'), onResized: say('resized') };
  watcher = new AttachmentWatcher(store, 'here', listener, silentLogger, known);
}

function attachment(vdiskName: string, generation = 1, sizeBytes = 4_096, host = 'here', vdiskId = randomUUID()): AttachmentRecord {
  return { vdiskId, vdiskName, host, generation, sizeBytes, createdAt: '2026-01-01T00:00:00Z', shared: false };
}

const put = (store: MemoryMetadata, one: AttachmentRecord): Promise<void> => store.put(keys.attachment(one.host, one.vdiskId), one);

afterEach(() => {
  watcher?.close();
  events.length = 0;
});

describe('attachments of a host', () => {
  it('are told: those there are, new ones, gone ones, newer generations, sizes', async () => {
    const store = new MemoryMetadata();
    const a = attachment('a');
    await put(store, a);
    await put(store, attachment('elsewhere', 1, 4_096, 'other'));
    watch(store);
    await vi.waitFor(() => expect(events).toEqual(['attached a 1 4096']));
    const b = attachment('b');
    await put(store, b);
    await vi.waitFor(() => expect(events.at(-1)).toBe('attached b 1 4096'));
    await put(store, { ...a, generation: 2 });
    await vi.waitFor(() => expect(events.slice(2)).toEqual(['detached a 1 4096', 'attached a 2 4096']));
    await put(store, { ...b, sizeBytes: 8_192 });
    await vi.waitFor(() => expect(events.at(-1)).toBe('resized b 1 8192'));
    await store.transaction([], [{ remove: keys.attachment('here', b.vdiskId) }]);
    await vi.waitFor(() => expect(events.at(-1)).toBe('detached b 1 8192'));
    expect(events.length).toBe(6);
    expect(watcher!.attachments.map(one => one.vdiskName)).toEqual(['a']);
  });

  it('of the process before are there from the beginning, until the store says otherwise', async () => {
    const store = new MemoryMetadata();
    const [a, b] = [attachment('a'), attachment('b')];
    await put(store, { ...a, sizeBytes: 8_192 });
    store.available = false;
    watch(store, [a, b]);
    expect(events).toEqual(['attached a 1 4096', 'attached b 1 4096']);
    store.available = true;
    await vi.waitFor(() => expect(events.slice(2)).toEqual(['detached b 1 4096', 'resized a 1 8192']), 10_000);
  });

  it('stay while the store does not answer', async () => {
    const store = new MemoryMetadata();
    const a = attachment('a');
    await put(store, a);
    watch(store);
    await vi.waitFor(() => expect(events.length).toBe(1));
    store.available = false;
    await store.transaction([], [{ remove: keys.attachment('here', a.vdiskId) }]).catch(() => undefined);
    for (const { listener } of store.watches) listener({ broken: true });
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(events).toEqual(['attached a 1 4096']);
    store.available = true;
    await vi.waitFor(() => expect(events.at(-1)).toBe('detached a 1 4096'), { timeout: 2_000 });
  });

  it('that are not readable are ignored, the others not', async () => {
    const store = new MemoryMetadata();
    await store.put(keys.attachment('here', 'junk'), { generation: 'many' });
    await put(store, attachment('a'));
    watch(store);
    await vi.waitFor(() => expect(events).toEqual(['attached a 1 4096']));
  });

  it('are not told twice when many hints come at once', async () => {
    const store = new MemoryMetadata();
    await put(store, attachment('a'));
    watch(store);
    for (let i = 0; i < 20; i++) for (const { listener } of store.watches) listener({ broken: i % 2 === 0 });
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(events).toEqual(['attached a 1 4096']);
  });

  it('are told to be activated when they are shared no longer, once', async () => {
    const store = new MemoryMetadata();
    const shared = { ...attachment('a'), shared: true };
    await put(store, shared);
    watch(store);
    await vi.waitFor(() => expect(events).toEqual(['attached a 1 4096']));
    await put(store, { ...shared, shared: false });
    await put(store, { ...shared, shared: false, sizeBytes: 8_192 });
    await vi.waitFor(() => expect(events).toEqual(['attached a 1 4096', 'activated a 1 4096', 'resized a 1 8192']));
  });
});
