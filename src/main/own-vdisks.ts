import { damagedRecord, type DamagedRecord } from '../meta/damage.js';
import { keys, type GroupMember, type GroupRecord, type VdiskRecord } from '../meta/model.js';
import { concerns, readGroups } from '../meta/nodes.js';
import { readContainers, readVdisks } from '../meta/operations.js';
import type { MetadataStore } from '../meta/store.js';
import type { VdiskProblem } from '../stargate/messages.js';

/** What a start finds in the metadata of the vdisks that this node has to do with. */
export interface OwnVdisks {
  /** In their groups this node is, and their records can be read. */
  readonly vdisks: readonly VdiskRecord[];
  /** A record of them is damaged: who else could serve them, and how, is not known. */
  readonly refused: readonly VdiskProblem[];
}

/**
 * A vdisk is served only by records that can be read: the vdisk's own, its group's (another node may have been made its controller, or its only member), and its container's (whether its
 * answers have to wait for the disk, and so whether a start may have lost some). The others are not touched by that.
 */
export async function ownVdisks(store: MetadataStore, self: GroupMember): Promise<OwnVdisks> {
  const vdisks = await readVdisks(store);
  const { groups, damaged: damagedGroups } = await readGroups(store);
  const containers = await readContainers(store);
  const damaged = new Map([...damagedGroups, ...containers.damaged].map(one => [one.key, one]));
  const own: VdiskRecord[] = [];
  const refused: VdiskProblem[] = [];
  for (const vdisk of vdisks.records) {
    const { id, container, deleting } = vdisk;
    const group = groups.get(id);
    const isDamaged = damaged.get(keys.group(id)) ?? damaged.get(keys.container(container));
    // Of one without a group nothing has been written yet.
    if (deleting || (group !== undefined && !concerns(group, self))) continue;
    if (isDamaged === undefined) own.push(vdisk);
    else refused.push(problem(id, isDamaged));
  }
  for (const one of vdisks.damaged) {
    const vdiskId = one.key.slice(keys.vdisks.length);
    const group = groups.get(vdiskId);
    if (group === undefined || hasBeenIn(group, self)) refused.push(problem(vdiskId, one));
  }
  return { vdisks: own, refused };
}

function problem(vdiskId: string, damaged: DamagedRecord): VdiskProblem {
  return { vdiskId, message: `${damagedRecord(damaged).message}; put it back from a backup, then start this node again` };
}

const hasBeenIn = ({ members, former = [] }: GroupRecord, self: GroupMember): boolean =>
  concerns({ members: [...members, ...former] }, self);
