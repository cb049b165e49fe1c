import { basename, join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import type { EventSink } from '../base/events.js';
import type { LmdbDamage } from '../base/lmdb-image.js';
import { holdBack } from '../meta/damage.js';
import type { GroupMember } from '../meta/model.js';
import { readGroups, readNodes } from '../meta/nodes.js';
import { readVdisks } from '../meta/operations.js';
import type { MetadataStore } from '../meta/store.js';
import { emptyStargate, type BootRecord, type DataDirectory } from '../stargate/data-directory.js';
import { damageAtStart } from '../stargate/store/index.js';

export interface DamagedStoreOptions {
  readonly directory: DataDirectory;
  readonly nodeId: string;
  /** The metadata is elsewhere: other nodes may have what is here. */
  readonly isShared: boolean;
  readonly events: EventSink;
}

const MOST_NAMED = 3;

/**
 * A database of the block store of which pages are damaged is not opened: it says what every block is, and nobody can say what it said. A single node does not start with it. A node of
 * a cluster gives up its copies, as one does whose disk has been replaced: its data is set aside, and it comes back under a new incarnation, which is a member of nothing, and
 * is brought up from the others. Not where it is the only member of a group: then it does not start.
 *
 * Undefined: nothing is wrong. Otherwise what is to be done before the node registers, with the boot record to register with. Throws `ERR_STORE_DAMAGED`.
 */
export function whereStoreIsDamaged(options: DamagedStoreOptions): ((store: MetadataStore) => Promise<BootRecord>) | undefined {
  const { directory, isShared } = options;
  const damage = damageAtStart(join(directory.path, 'stargate', 'store'));
  if (damage === null) return undefined;
  if (!isShared)
    throw refusal(directory, damage, 'this is the only copy of what it says', 'restore the whole directory from a backup, of one day');
  return store => giveUp(store, damage, options);
}

/** Crash order: (1) the folder has another name; (2) the node registers. A start in between finds no data, and does (2). */
async function giveUp(store: MetadataStore, damage: LmdbDamage, { directory, nodeId, events }: DamagedStoreOptions): Promise<BootRecord> {
  const alone = await onlyHere(store, nodeId, directory);
  if (alone.length > 0) {
    const named = alone.slice(0, MOST_NAMED).join(', ');
    const more = alone.length > MOST_NAMED ? ` and ${alone.length - MOST_NAMED} more` : '';
    const action = `restore ${directory.path} from a backup, or move ${join(directory.path, 'stargate')} away and start: what has other copies is brought up from those, what has none is lost`;
    throw refusal(directory, damage, `no other node has ${named}${more}`, action);
  }
  const aside = emptyStargate(directory.path);
  events.emit({
    kind: 'rot-found',
    severity: 'error',
    vdiskId: null,
    cause: `${inWords(directory, damage)}: the copies of this node are given up, and brought up anew from the other nodes`,
    action: `look at the disk; remove ${aside} when "gatepath status" says that all vdisks are healthy: until then it is what this node had`,
    details: { page: damage.page, aside: basename(aside) },
  });
  return { incarnation: 0, bootCount: directory.boot.bootCount };
}

/** Vdisks of whose groups nobody else is a member. Whose own store has been replaced is none, though the record may name it still. Throws ERR_METADATA where that is not known. */
async function onlyHere(store: MetadataStore, nodeId: string, { storeUuid }: DataDirectory): Promise<string[]> {
  const [nodes, { groups, damaged }, vdisks] = await Promise.all([readNodes(store), readGroups(store), readVdisks(store)]);
  holdBack([...damaged, ...nodes.damaged], `the copies of node "${nodeId}", whose block store is damaged, are not given up`);
  const current = new Map(nodes.records.map(({ id, ...store }) => [id, store]));
  const isHere = (member: GroupMember): boolean => member.node === nodeId && member.storeUuid === storeUuid;
  const isWhole = ({ node, storeUuid: uuid, incarnation }: GroupMember): boolean =>
    current.get(node)?.storeUuid === uuid && current.get(node)?.incarnation === incarnation;
  const names = new Map(vdisks.records.map(({ id, name }) => [id, name]));
  return [...groups.values()]
    .filter(({ members }) => members.some(isHere) && !members.some(one => !isHere(one) && isWhole(one)))
    .map(({ vdiskId }) => names.get(vdiskId) ?? vdiskId);
}

function inWords({ path }: DataDirectory, { page, message }: LmdbDamage): string {
  return `the database of the block store, ${join(path, 'stargate', 'store', 'data.mdb')}, is damaged${page < 0 ? '' : `, page ${page}`}: ${message}`;
}

function refusal(directory: DataDirectory, damage: LmdbDamage, why: string, action: string): GatepathError {
  const message = `${inWords(directory, damage)}; ${why}`;
  return new GatepathError(
    'corrupt',
    'ERR_STORE_DAMAGED',
    message,
    `${action}; "gatepath verify ${directory.path}" says what else is damaged`,
  );
}
