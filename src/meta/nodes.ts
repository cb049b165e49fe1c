import { randomUUID } from 'node:crypto';
import type { GatepathError } from '../base/errors.js';
import { MAX_META_TRANSACTION } from '../wire/limits.js';
import { damagedRecord, readAs, readRecords, type DamagedRecord, type RecordsRead } from './damage.js';
import {
  groupRecord,
  keys,
  LOG_FORMAT,
  nodeRecord,
  type GroupMember,
  type GroupRecord,
  type NodeAddresses,
  type NodeRecord,
} from './model.js';
import { proposeTogether, type Proposal } from './propose.js';
import { checkName, invalid, parse, retry, settled } from './records.js';
import { refuseRemoved } from './removals.js';
import type { MetadataStore } from './store.js';

/** Nodes, and the terms in which they serve vdisks. */

/** What a store knows of itself: kept durably in its data directory. */
export interface Boot {
  /** 0: never registered. */
  readonly incarnation: number;
  /** Raised durably at each start, before the node registers. */
  readonly bootCount: number;
}

export interface StartingNode {
  readonly id: string;
  readonly storeUuid: string;
  readonly addresses: NodeAddresses;
  readonly shards: number;
  readonly streams: number;
  readonly faultDomain?: string | null;
  /** Where its management API will listen: `unix:PATH`. */
  readonly control?: string | null;
  readonly boot: Boot;
  /** Of another version than this one; for tests. */
  readonly logFormat?: number;
}

/**
 * The node has started. The store has to keep the incarnation and boot counter of the record that it gets *durably* before the node does
 * anything in its name. Refused when the id belongs to another store that has been in use, and when the store is that of a node that was removed.
 */
export async function registerNode(store: MetadataStore, node: StartingNode): Promise<NodeRecord> {
  checkName(node.id);
  const key = keys.node(node.id);
  return retry(async () => {
    await refuseRemoved(store, node);
    const found = await store.get(key);
    const known = found === null ? null : parse(nodeRecord, found);
    const { id, storeUuid, addresses, shards, streams, faultDomain = null, control = null, logFormat = LOG_FORMAT } = node;
    const { drainingSince = null, removal = null } = known ?? {};
    const where = { id, storeUuid, address: addresses.unix, addresses, shards, streams, faultDomain, control };
    const facts = { ...where, logFormat, drainingSince, removal };
    const record: NodeRecord = { ...facts, ...nextBoot(known, node) };
    const compares = [
      { key, version: found?.version ?? 0 },
      { key: keys.removedNode(storeUuid), version: 0 },
    ];
    const transaction = store.transaction(compares, [{ put: key, value: record }]);
    const applied = await settled(transaction, async () => {
      const now = await store.get(key);
      const kept = now === null ? null : parse(nodeRecord, now);
      return kept?.storeUuid === record.storeUuid && kept.incarnation === record.incarnation && kept.bootCount === record.bootCount;
    });
    return applied ? record : undefined;
  });
}

/**
 * An incarnation goes on only in a store that has seen all of it: the same one, under the same incarnation, with a boot counter above the
 * registered one. Anything else (an empty store, one brought back from a copy, one whose registration is gone) may have forgotten what it
 * promised or acknowledged: a new incarnation, which is a member of nothing.
 */
function nextBoot(known: NodeRecord | null, { id, storeUuid, boot }: StartingNode): Boot {
  if (known === null) return { incarnation: boot.incarnation + 1, bootCount: boot.bootCount };
  if (known.storeUuid !== storeUuid) {
    if (boot.incarnation > 0) {
      throw invalid('ERR_NODE_TAKEN', `node id "${id}" belongs to another data directory`, 'give this node another id');
    }
    return { incarnation: known.incarnation + 1, bootCount: boot.bootCount };
  }
  if (boot.incarnation === known.incarnation && boot.bootCount > known.bootCount) return boot;
  // Above both: neither this store's older copies nor its younger ones can be taken for it.
  return {
    incarnation: Math.max(boot.incarnation, known.incarnation) + 1,
    bootCount: Math.max(boot.bootCount, known.bootCount) + 1,
  };
}

/** Desired state: the node acts on it when it sees it. To do its full duty again ends its removal, too. */
export async function setDraining(store: MetadataStore, id: string, isDraining: boolean): Promise<NodeRecord> {
  const key = keys.node(id);
  return retry(async () => {
    const found = await store.get(key);
    if (found === null) throw noSuchNode(id);
    const record = parse(nodeRecord, found);
    if ((record.drainingSince !== null) === isDraining) return record;
    const value: NodeRecord = isDraining
      ? { ...record, drainingSince: new Date().toISOString() }
      : { ...record, drainingSince: null, removal: null };
    const result = await store.transaction([{ key, version: found.version }], [{ put: key, value }]);
    return result.ok ? value : undefined;
  });
}

export const noSuchNode = (id: string): GatepathError =>
  invalid('ERR_NOT_FOUND', `there is no node "${id}"`, 'gatepath node list shows those there are');

/** Those whose records can be read: of the others nothing is known but that they are there ({@link readNodes}). */
export async function listNodes(store: MetadataStore): Promise<readonly NodeRecord[]> {
  return (await readNodes(store)).records;
}

export const readNodes = (store: MetadataStore): Promise<RecordsRead<NodeRecord>> => readRecords(store, keys.nodes, nodeRecord);

export interface WonTerm {
  readonly term: number;
  readonly nonce: string;
}

export interface WonTerms {
  readonly won: ReadonlyMap<string, WonTerm>;
  /** Vdisk → why it may not be served by this member. */
  readonly refused: ReadonlyMap<string, string>;
}

/**
 * A new term for each of the vdisks, with this node as controller and only member (rule 7): epoch and term go up by one, the nonce is new. A
 * node may serve a vdisk only after this. Only the member of a group of one wins one (rule 11): what another incarnation of the store has
 * acknowledged may be missing in this one, which is refused. Vdisks of other nodes, and those with several members, are neither won nor refused.
 */
export async function winTerms(store: MetadataStore, vdiskIds: readonly string[], member: GroupMember): Promise<WonTerms> {
  const won = new Map<string, WonTerm>();
  const refused = new Map<string, string>();
  const ids = [...new Set(vdiskIds)];
  for (let from = 0; from < ids.length; from += MAX_META_TRANSACTION) {
    await retry(async () => {
      const batch = ids.slice(from, from + MAX_META_TRANSACTION).filter(vdiskId => !won.has(vdiskId) && !refused.has(vdiskId));
      const next = await Promise.all(batch.map(vdiskId => nextTerm(store, vdiskId, member)));
      for (const [i, one] of next.entries()) if (typeof one === 'string') refused.set(batch[i]!, one);
      const proposals = next.filter(one => one !== null && typeof one !== 'string');
      if (proposals.length === 0) return true;
      const outcomes = await proposeTogether(store, proposals);
      for (const [i, outcome] of outcomes.entries()) {
        const { vdiskId, term, nonce } = proposals[i]!.value;
        if (outcome.won) won.set(vdiskId, { term, nonce });
      }
      return outcomes.every(outcome => outcome.won) ? true : undefined;
    });
  }
  return { won, refused };
}

async function nextTerm(
  store: MetadataStore,
  vdiskId: string,
  member: GroupMember,
): Promise<(Proposal & { readonly value: GroupRecord }) | string | null> {
  const key = keys.group(vdiskId);
  const found = await store.get(key);
  const read = found === null ? { data: null, why: null } : readAs(groupRecord, found);
  if (read.why !== null) return damagedRecord({ key, why: read.why }).message;
  const known = read.data;
  if (known !== null && !known.members.some(one => isSame(one, member))) return concerns(known, member) ? strangerTo(known, member) : null;
  if (known !== null && known.members.length > 1) return null;
  const epoch = (known?.epoch ?? 0) + 1;
  const value: GroupRecord = {
    vdiskId,
    epoch,
    term: epoch,
    controller: member.node,
    members: [member],
    nonce: randomUUID(),
    generation: known?.generation ?? 0,
    ...(known?.former === undefined ? {} : { former: known.former }),
    ...(known?.recovered === undefined ? {} : { recovered: known.recovered }),
  };
  return { key, version: found?.version ?? 0, value };
}

/**
 * The group has this node or this store in it, perhaps as another incarnation. Nothing else is this node's business: not to serve, and not to
 * complain about.
 */
export function concerns({ members }: Pick<GroupRecord, 'members'>, { node, storeUuid }: GroupMember): boolean {
  return members.some(one => one.node === node || one.storeUuid === storeUuid);
}

/** The same store under the same incarnation, whichever of its starts. */
export function isSame(a: GroupMember, b: GroupMember): boolean {
  return a.node === b.node && a.storeUuid === b.storeUuid && a.incarnation === b.incarnation;
}

function strangerTo({ members }: GroupRecord, member: GroupMember): string {
  const name = ({ node, storeUuid, incarnation }: GroupMember): string => `node "${node}", store ${storeUuid}, incarnation ${incarnation}`;
  return `its data is with ${members.map(name).join('; ')}; this is ${name(member)}, an emptied or older data directory: put that one back`;
}

export interface GroupsRead {
  /** By vdisk. */
  readonly groups: ReadonlyMap<string, GroupRecord>;
  readonly damaged: readonly DamagedRecord[];
}

export async function readGroups(store: MetadataStore): Promise<GroupsRead> {
  const { records, damaged } = await readRecords(store, keys.groups, groupRecord);
  return { groups: new Map(records.map(group => [group.vdiskId, group])), damaged };
}

export async function groupOf(store: MetadataStore, vdiskId: string): Promise<GroupRecord | null> {
  const found = await store.get(keys.group(vdiskId));
  return found === null ? null : parse(groupRecord, found);
}
