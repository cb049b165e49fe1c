import { memberId, type MemberId } from '../wire/replicate.js';
import { MetaUnavailable } from './errors.js';
import { containerRecord, groupRecord, keys, vdiskRecord, type GroupMember, type GroupRecord, type VdiskRecord } from './model.js';
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
}

export type GroupCasOutcome =
  | { readonly kind: 'applied' }
  /** The epoch was another one; `group` is what is there now: perhaps this very proposal, of which the answer was lost. */
  | { readonly kind: 'refused'; readonly group: GroupView }
  | { readonly kind: 'unknown' };

export function viewOf({ epoch, term, controller, members, nonce }: GroupRecord): GroupView {
  const found = members.find(one => one.node === controller);
  const ids = members.map(idOf);
  return { epoch, term, controller: found === undefined ? (`${controller}/-/0` as MemberId) : idOf(found), members: ids, nonce };
}

export function idOf({ node, storeUuid, incarnation }: GroupMember): MemberId {
  return memberId(node, storeUuid, incarnation);
}

function memberOf(id: MemberId): GroupMember {
  const [node, storeUuid, incarnation] = id.split('/') as [string, string, string];
  return { node, storeUuid, incarnation: Number(incarnation) };
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
      const { epoch, term, controller, members, nonce } = next;
      const value: GroupRecord = { ...record, epoch, term, controller: memberOf(controller).node, members: members.map(memberOf), nonce };
      const result = await store.transaction([{ key, version: found.version }], [{ put: key, value }]);
      return result.ok ? { kind: 'applied' } : undefined;
    });
  } catch (error) {
    if (error instanceof MetaUnavailable) return { kind: 'unknown' };
    throw error;
  }
}

/** A vdisk that several nodes hold. */
export interface ReplicatedVdisk {
  readonly vdisk: VdiskRecord;
  readonly group: GroupRecord;
  readonly replicationFactor: number;
  readonly minMembers: number;
}

/** The vdisks of containers with more than one replica, those being deleted left out. Read one after the other: what has just been made may be missing. */
export async function replicatedVdisks(store: MetadataStore): Promise<ReplicatedVdisk[]> {
  const [vdisks, groups, containers] = [
    (await store.range(keys.vdisks)).items.map(item => parse(vdiskRecord, item)),
    (await store.range(keys.groups)).items.map(item => parse(groupRecord, item)),
    (await store.range(keys.containers)).items.map(item => parse(containerRecord, item)),
  ];
  return vdisks.flatMap(vdisk => {
    const group = groups.find(one => one.vdiskId === vdisk.id);
    const container = containers.find(one => one.name === vdisk.container);
    if (vdisk.deleting || group === undefined || container === undefined || container.replicationFactor === 1) return [];
    const { replicationFactor, minMembers } = container;
    return [{ vdisk, group, replicationFactor, minMembers }];
  });
}

export async function replicatedVdisk(store: MetadataStore, vdiskId: string): Promise<ReplicatedVdisk | null> {
  const found = await store.get(keys.vdisk(vdiskId));
  const groupFound = await store.get(keys.group(vdiskId));
  if (found === null || groupFound === null) return null;
  const vdisk = parse(vdiskRecord, found);
  const container = await store.get(keys.container(vdisk.container));
  if (vdisk.deleting || container === null) return null;
  const { replicationFactor, minMembers } = parse(containerRecord, container);
  return replicationFactor === 1 ? null : { vdisk, group: parse(groupRecord, groupFound), replicationFactor, minMembers };
}
