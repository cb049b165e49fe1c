import { exportRecord, hostRecord, keys, type ExportRecord, type HostRecord } from './model.js';
import type { MetadataStore, Versioned } from './store.js';

/** What the datapaths of hosts say of themselves, and how one waits for it. Records that cannot be read are left out: nothing depends on them but a wait. */

export async function putHost(store: MetadataStore, host: HostRecord): Promise<void> {
  await store.transaction([], [{ put: keys.host(host.host), value: hostRecord.parse(host) }]);
}

export async function listHosts(store: MetadataStore): Promise<HostRecord[]> {
  const { items } = await store.range(keys.hosts);
  return items.flatMap(({ value }) => hostRecord.safeParse(value).data ?? []);
}

export async function findHost(store: MetadataStore, host: string): Promise<HostRecord | null> {
  const found = await store.get(keys.host(host));
  return found === null ? null : (hostRecord.safeParse(found.value).data ?? null);
}

export async function listExports(store: MetadataStore, prefix: string = keys.exports): Promise<ExportRecord[]> {
  const { items } = await store.range(prefix);
  return items.flatMap(({ value }) => exportRecord.safeParse(value).data ?? []);
}

export async function findExport(store: MetadataStore, host: string, vdiskId: string): Promise<ExportRecord | null> {
  return parseExport(await store.get(keys.export(host, vdiskId)));
}

/** Null: there is none, or none that can be read. */
export function parseExport(found: Versioned | null): ExportRecord | null {
  return found === null ? null : (exportRecord.safeParse(found.value).data ?? null);
}

/** The attachment is offered by the datapath that runs (or ran last) at its host, not by one before it. */
export function isExported(host: HostRecord | null, one: ExportRecord | null, generation: number): boolean {
  return (
    host !== null && one !== null && one.state === 'exported' && one.generation === generation && one.datapathUuid === host.datapathUuid
  );
}

/**
 * Resolves with true when `holds` says so of the value under `key`, with false after `timeoutMs`. Asked again at each change of it; watches are
 * hints, so also now and then.
 */
export async function waitForKey(
  store: MetadataStore,
  key: string,
  timeoutMs: number,
  holds: (value: Versioned | null) => Promise<boolean> | boolean,
): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  let ring: () => void = () => undefined;
  const watch = store.watch(key, () => ring());
  try {
    for (;;) {
      const rung = new Promise<void>(resolve => (ring = resolve));
      if (await holds(await store.get(key))) return true;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) return false;
      await Promise.race([rung, sleep(Math.min(leftMs, RECHECK_MS))]);
    }
  } finally {
    watch.close();
  }
}

const RECHECK_MS = 250;
const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
