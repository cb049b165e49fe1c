import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { baseOfMember, bootedMember, bootOfMember, memberId, type MemberId } from '../wire/replicate.js';
import { MetaUnavailable } from './errors.js';
import {
  containerRecord,
  groupRecord,
  keys,
  MAX_FORMER_MEMBERS,
  vdiskRecord,
  type ContainerRecord,
  type FormerMember,
  type GroupMember,
  type GroupRecord,
  type VdiskRecord,
} from './model.js';
import { groupOf } from './nodes.js';
import { parse, retry } from './records.js';
import type { MetadataStore } from './store.js';

/** Group records as the replicas of a vdisk see and change them (rules 7 and 8). */

/** The part of the record that its controller writes; the rest is kept as it is. */
export interface GroupView {
  readonly epoch: number;
  readonly term: number;
  readonly controller: MemberId;
  readonly members: readonly MemberId[];
  readonly nonce: string;
  readonly historyId: number;
  readonly lossTerm?: number | undefined;
}

export type GroupCasOutcome =
  | { readonly kind: 'applied' }
  /** The epoch was another one; `group` is what is there now: perhaps this very proposal, of which the answer was lost. */
  | { readonly kind: 'refused'; readonly group: GroupView }
  | { readonly kind: 'unknown' };

/** That a vdisk is created with. */
export const FIRST_HISTORY = 1;

export function historyOf({ recovered }: Pick<GroupRecord, 'recovered'>): number {
  return recovered?.historyId ?? FIRST_HISTORY;
}

export function viewOf(record: GroupRecord): GroupView {
  const { epoch, term, controller, members, nonce, lossTerm } = record;
  const found = members.find(one => one.node === controller);
  const ids = members.map(idOf);
  const id = found === undefined ? (`${controller}/-/0` as MemberId) : idOf(found);
  return { epoch, term, controller: id, members: ids, nonce, historyId: historyOf(record), lossTerm };
}

export function idOf({ node, storeUuid, incarnation, boot }: GroupMember): MemberId {
  const id = memberId(node, storeUuid, incarnation);
  return boot === undefined ? id : bootedMember(id, boot);
}

function memberOf(id: MemberId): GroupMember {
  const [node, storeUuid, incarnation] = baseOfMember(id).split('/') as [string, string, string];
  const boot = bootOfMember(id);
  return { node, storeUuid, incarnation: Number(incarnation), ...(boot > 0 ? { boot } : {}) };
}

/** Upon exactly this epoch. A record that others have changed beside (its generation) is tried again. */
export async function casGroup(store: MetadataStore, vdiskId: string, expectedEpoch: number, next: GroupView): Promise<GroupCasOutcome> {
  const key = keys.group(vdiskId);
  try {
    return await retry(async () => {
      const found = await store.get(key);
      // Deleted: nobody is to act on any answer.
      if (found === null) return { kind: 'unknown' };
      const record = parse(groupRecord, found);
      if (record.epoch !== expectedEpoch) return { kind: 'refused', group: viewOf(record) };
      const { epoch, term, controller, members, nonce, lossTerm } = next;
      const kept = members.map(memberOf);
      const former = formerMembers(record, kept);
      const value: GroupRecord = { ...record, epoch, term, controller: memberOf(controller).node, members: kept, former, nonce, lossTerm };
      const result = await store.transaction([{ key, version: found.version }], [{ put: key, value }]);
      return result.ok ? { kind: 'applied' } : undefined;
    });
  } catch (error) {
    if (error instanceof MetaUnavailable) return { kind: 'unknown' };
    throw error;
  }
}

/** One for each node, which knows by itself what it was in other incarnations; none that is a member again. */
export function formerMembers({ members, former = [] }: GroupRecord, kept: readonly GroupMember[]): FormerMember[] {
  const isThere = (one: GroupMember): boolean => kept.some(({ node, storeUuid }) => node === one.node || storeUuid === one.storeUuid);
  const until = new Date().toISOString();
  const all = [...former, ...members.map(one => ({ ...one, until }))];
  const byNode = new Map(all.filter(one => !isThere(one)).map(one => [one.node, one]));
  return [...byNode.values()].slice(-MAX_FORMER_MEMBERS);
}

/**
 * Takes those out of the group of a vdisk that is being deleted of which `isGone` says that they have its data no more. With the last of them go the vdisk's
 * records. Returns the nodes that are still to remove theirs. Throws MetaUnavailable: then it is to be done again.
 */
export async function leaveDeletedVdisk(
  store: MetadataStore,
  vdiskId: string,
  isGone: (holder: GroupMember) => boolean,
): Promise<readonly string[]> {
  const [vdiskKey, key] = [keys.vdisk(vdiskId), keys.group(vdiskId)];
  return retry(async () => {
    const vdisk = await store.get(vdiskKey);
    const found = await store.get(key);
    // Others were the last; or this is none that is being deleted.
    if (vdisk === null || !parse(vdiskRecord, vdisk).deleting) return [];
    const record = found === null ? null : parse(groupRecord, found);
    const all = [...(record?.members ?? []), ...(record?.former ?? [])];
    const left = all.filter(one => !isGone(one));
    const isUnchanged = record !== null && left.length > 0 && left.length === all.length;
    if (isUnchanged) return left.map(({ node }) => node);
    const compares = [
      { key: vdiskKey, version: vdisk.version },
      { key, version: found?.version ?? 0 },
    ];
    if (record === null || left.length === 0) {
      const result = await store.transaction(compares, [{ remove: vdiskKey }, { remove: key }]);
      return result.ok ? [] : undefined;
    }
    // A change like any other, so that a controller that does not know of the end yet finds its proposals lost.
    const members = record.members.filter(one => left.includes(one));
    const former = (record.former ?? []).filter(one => left.includes(one));
    const value: GroupRecord = { ...record, epoch: record.epoch + 1, members, former, nonce: randomUUID() };
    const result = await store.transaction(compares, [{ put: key, value }]);
    return result.ok ? left.map(({ node }) => node) : undefined;
  });
}

const TERM_POLL_MS = 20;

/** Whether a controller has won a term above this one by then. While the metadata cannot be read nothing is known, and it is read again. */
export async function whenTermWon(store: MetadataStore, vdiskId: string, aboveTerm: number, timeoutMs: number): Promise<boolean> {
  for (const endMs = performance.now() + timeoutMs; performance.now() < endMs; await delay(TERM_POLL_MS)) {
    const group = await groupOf(store, vdiskId).catch(() => null);
    if (group !== null && group.term > aboveTerm) return true;
  }
  return false;
}

/** A vdisk that several nodes hold. */
export interface ReplicatedVdisk {
  readonly vdisk: VdiskRecord;
  readonly group: GroupRecord;
  readonly replicationFactor: number;
  readonly minMembers: number;
  readonly durability: ContainerRecord['durability'];
}

/** Null: it is none, or is being deleted. */
export async function replicatedVdisk(store: MetadataStore, vdiskId: string): Promise<ReplicatedVdisk | null> {
  const found = await store.get(keys.vdisk(vdiskId));
  const groupFound = await store.get(keys.group(vdiskId));
  if (found === null || groupFound === null) return null;
  const vdisk = parse(vdiskRecord, found);
  const container = await store.get(keys.container(vdisk.container));
  if (vdisk.deleting || container === null) return null;
  const { replicationFactor, minMembers, durability } = parse(containerRecord, container);
  return replicationFactor === 1 ? null : { vdisk, group: parse(groupRecord, groupFound), replicationFactor, minMembers, durability };
}
