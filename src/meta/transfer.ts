import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { MAX_META_TRANSACTION } from '../wire/limits.js';
import { damageOf, holdBack, type DamagedRecord } from './damage.js';
import { groupRecord, keys, nodeRecord, vdiskRecord, type GroupMember, type GroupRecord } from './model.js';
import { invalid, parse } from './records.js';
import type { MetadataStore, Operation, Versioned } from './store.js';

/**
 * All that a single node's metadata says, put into that of a cluster: the node, its containers and vdisks, where they are attached. May be broken off
 * and begun again: a mark in the cluster's metadata says that a transfer has begun and not ended.
 */

export interface Transfer {
  readonly from: MetadataStore;
  readonly to: MetadataStore;
  readonly nodeId: string;
  readonly storeUuid: string;
}

export interface Transferred {
  readonly vdisks: number;
  readonly containers: number;
}

/** Nothing is sent in one transaction that could be too much for it. */
const BATCH = Math.min(32, MAX_META_TRANSACTION);
const MARKS = 'transfer/';
const markOf = (storeUuid: string): string => `${MARKS}${storeUuid}`;
/** Of these the cluster keeps its own. */
const KEPT = /^(container|host)\//;

/** Throws GatepathError, with nothing changed, where a name is taken in the cluster, or the node is not the one of the metadata. */
export async function transferAll({ from, to, nodeId, storeUuid }: Transfer): Promise<Transferred> {
  const items = (await from.range('')).items.filter(({ key }) => !key.startsWith(MARKS));
  const damaged = items.map(item => ({ key: item.key, why: damageOf(item) })).filter((one): one is DamagedRecord => one.why !== null);
  holdBack(damaged, 'the metadata is not moved, and nothing was changed');
  const member = memberOf(items, nodeId, storeUuid);
  const records = new Map<string, unknown>([...items.map(({ key, value }) => [key, value] as const), ...missingGroups(items, member)]);
  const there = new Map((await to.range('')).items.map(({ key, value }) => [key, value]));
  const mark = markOf(storeUuid);
  if (!there.has(mark)) {
    refuseTaken(records, there);
    // From here on the single node does not start again: what it did would not be in the cluster.
    await from.transaction([], [{ put: mark, value: { nodeId, begunAt: new Date().toISOString() } }]);
    await to.transaction([], [{ put: mark, value: { nodeId, begunAt: new Date().toISOString() } }]);
  }
  const operations: Operation[] = [...records]
    .filter(([key]) => !(KEPT.test(key) && there.has(key)))
    .map(([key, value]) => ({ put: key, value }));
  for (let at = 0; at < operations.length; at += BATCH) await to.transaction([], operations.slice(at, at + BATCH));
  return countAll(from);
}

export async function countAll(from: MetadataStore): Promise<Transferred> {
  const [vdisks, containers] = await Promise.all([from.range(keys.vdisks), from.range(keys.containers)]);
  return { vdisks: vdisks.items.length, containers: containers.items.length };
}

/** Of a single node's metadata: it is on its way into that of a cluster. */
export async function hasTransferBegun(from: MetadataStore): Promise<boolean> {
  return (await from.range(MARKS)).items.length > 0;
}

/** The node will never again use its own metadata. */
export async function endTransfer(to: MetadataStore, storeUuid: string): Promise<void> {
  await to.transaction([], [{ remove: markOf(storeUuid) }]);
}

function memberOf(items: readonly Versioned[], nodeId: string, storeUuid: string): GroupMember {
  const nodes = items.filter(({ key }) => key.startsWith(keys.nodes)).map(item => parse(nodeRecord, item));
  const own = nodes.find(one => one.id === nodeId);
  if (own?.storeUuid === storeUuid) return { node: nodeId, storeUuid, incarnation: own.incarnation };
  const names = nodes.filter(one => one.storeUuid === storeUuid).map(({ id }) => id);
  const action = names.length === 0 ? 'start it once as a single node' : `set "node: ${names.join('" or "node: ')}" in the configuration`;
  throw invalid('ERR_OTHER_NODE', `this data directory has not been that of a node "${nodeId}"`, action);
}

/** A vdisk that was created and never served has none; in a cluster one says whose it is. */
function missingGroups(items: readonly Versioned[], member: GroupMember): [string, GroupRecord][] {
  const present = new Set(items.map(({ key }) => key));
  return items
    .filter(({ key }) => key.startsWith(keys.vdisks))
    .map(item => parse(vdiskRecord, item).id)
    .filter(id => !present.has(keys.group(id)))
    .map(id => [
      keys.group(id),
      groupRecord.parse({ vdiskId: id, epoch: 1, term: 0, controller: member.node, members: [member], nonce: randomUUID(), generation: 0 }),
    ]);
}

function refuseTaken(records: ReadonlyMap<string, unknown>, there: ReadonlyMap<string, unknown>): void {
  const taken = [...records.keys()].filter(
    key => there.has(key) && !KEPT.test(key) && !isDeepStrictEqual(there.get(key), records.get(key)),
  );
  const [first] = taken;
  if (first === undefined) return;
  const what = first.startsWith(keys.vdiskNames)
    ? `a vdisk named "${first.slice(keys.vdiskNames.length)}"`
    : first.startsWith(keys.nodes)
      ? `a node named "${first.slice(keys.nodes.length)}"`
      : `a record ${first}`;
  const more = taken.length === 1 ? '' : `, and ${taken.length - 1} more of the same names`;
  const action = 'rename or delete one of the two, or give the cluster another "namespace" in etcd; nothing was changed';
  throw invalid('ERR_EXISTS', `the cluster has ${what} already${more}`, action);
}
