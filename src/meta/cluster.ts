import { randomUUID } from 'node:crypto';
import { clusterRecord, keys } from './model.js';
import { parse, retry, settled } from './records.js';
import type { MetadataStore } from './store.js';

/** Which cluster this metadata is of: told by its id, so that a node never works with the metadata of another one. */

/** The id that is there. `make`: where none is, `id` (null: a new one) becomes it. Null: none is there. */
export async function clusterOf(
  store: MetadataStore,
  { make, id }: { readonly make: boolean; readonly id: string | null },
): Promise<string | null> {
  const key = keys.cluster;
  return retry(async () => {
    const found = await store.get(key);
    if (found !== null) return parse(clusterRecord, found).id;
    if (!make) return null;
    const record = { id: id ?? randomUUID(), createdAt: new Date().toISOString() };
    const transaction = store.transaction([{ key, version: 0 }], [{ put: key, value: record }]);
    const isOurs = async (): Promise<boolean> => (await store.get(key)) !== null;
    // Whoever was first: it is read back.
    await settled(transaction, isOurs);
    return undefined;
  });
}
