import { readRecords } from './damage.js';
import { groupRecord, keys, nodeRecord, removedNodeRecord, type GroupMember, type NodeRecord, type RemovedNodeRecord } from './model.js';
import { invalid, parse, retry, settled } from './records.js';
import type { MetadataStore } from './store.js';

/**
 * A node is removed from the cluster in steps, each of which may be the last one before an interruption: it is marked; the controllers bring up copies elsewhere and
 * let its members go; groups forget that it has been a member; then its records go, and what is left says that its store is of this cluster no longer.
 */

type Store = Pick<GroupMember, 'storeUuid'>;

/** Null: it was not removed. */
export async function removedNode(store: MetadataStore, { storeUuid }: Store): Promise<RemovedNodeRecord | null> {
  const found = await store.get(keys.removedNode(storeUuid));
  return found === null ? null : parse(removedNodeRecord, found);
}

/** By its id; of those that have had it, the last one. */
export async function findRemovedNode(store: MetadataStore, id: string): Promise<RemovedNodeRecord | null> {
  const all = (await readRecords(store, keys.removedNodes, removedNodeRecord)).records;
  const found = all.filter(one => one.id === id).sort((a, b) => (a.at < b.at ? -1 : 1));
  return found.at(-1) ?? null;
}

/** Throws GatepathError ERR_NODE_REMOVED. */
export async function refuseRemoved(store: MetadataStore, node: Store): Promise<void> {
  const removed = await removedNode(store, node);
  if (removed === null) return;
  const message = `this data directory is of this cluster no longer: node "${removed.id}" was removed from it at ${removed.at}`;
  const action = 'give the node an empty data directory: then it joins as a new one. Nothing in this one has been touched';
  throw invalid('ERR_NODE_REMOVED', message, action);
}

/** Marks it, or changes how many copies others have to have; others take over what it controls from now on. Null: there is no such node. */
export async function markRemoval(store: MetadataStore, id: string, copies: number): Promise<NodeRecord | null> {
  const key = keys.node(id);
  return retry(async () => {
    const found = await store.get(key);
    if (found === null) return null;
    const record = parse(nodeRecord, found);
    if (record.removal?.copies === copies) return record;
    const since = new Date().toISOString();
    const value: NodeRecord = {
      ...record,
      drainingSince: record.drainingSince ?? since,
      removal: { since: record.removal?.since ?? since, copies },
    };
    const result = await store.transaction([{ key, version: found.version }], [{ put: key, value }]);
    return result.ok ? value : undefined;
  });
}

/** Beside the epoch: who has been a member is nothing that its controller decides by. */
export async function forgetFormer(store: MetadataStore, vdiskId: string, nodeId: string): Promise<void> {
  const key = keys.group(vdiskId);
  await retry(async () => {
    const found = await store.get(key);
    if (found === null) return true;
    const record = parse(groupRecord, found);
    const former = (record.former ?? []).filter(({ node }) => node !== nodeId);
    if (former.length === (record.former ?? []).length) return true;
    const result = await store.transaction([{ key, version: found.version }], [{ put: key, value: { ...record, former } }]);
    return result.ok ? true : undefined;
  });
}

/** The last step: its records go, unless it has registered anew, or its removal has been called off, since `record` was read. False: that is so. */
export async function forgetNode(store: MetadataStore, { id, storeUuid }: NodeRecord): Promise<boolean> {
  const key = keys.node(id);
  return retry(async () => {
    const found = await store.get(key);
    const record = found === null ? null : parse(nodeRecord, found);
    if (record === null || record.storeUuid !== storeUuid) return (await removedNode(store, { storeUuid })) !== null;
    if (record.removal === null) return false;
    const value: RemovedNodeRecord = { id, storeUuid, at: new Date().toISOString() };
    const transaction = store.transaction(
      [{ key, version: found!.version }],
      [{ remove: key }, { remove: keys.beat(id) }, { put: keys.removedNode(storeUuid), value }],
    );
    const isDone = async (): Promise<boolean> => (await removedNode(store, { storeUuid })) !== null;
    return (await settled(transaction, isDone)) ? true : undefined;
  });
}
