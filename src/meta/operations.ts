import { randomUUID } from 'node:crypto';
import {
  containerRecord,
  defaultMinMembers,
  keys,
  vdiskRecord,
  type ContainerRecord,
  type Durability,
  type EnospcPolicy,
  type GroupMember,
  type GroupRecord,
  type ReplicationFactor,
  type VdiskRecord,
} from './model.js';
import type { GatepathError } from '../base/errors.js';
import { formatSize } from '../base/size.js';
import { readRecords, type RecordsRead } from './damage.js';
import { FIRST_HISTORY } from './groups.js';
import { attachmentsOf, nameTaken, now, vdiskByName, versionOf } from './found.js';
import { checkName, invalid, parse, retry, settled } from './records.js';
import type { MetadataStore, Operation } from './store.js';

/**
 * What is done to containers and vdisks, over any metadata store: read, check, compare-and-swap; again when somebody else was
 * faster. All throw GatepathError with what was wrong and what to do, or MetaUnavailable: then it may or may not be done, and asking again tells.
 */

export const DEFAULT_CONTAINER = 'default';

// ---------------------------------------------------------------- containers

export interface ContainerWish {
  readonly replicationFactor?: ReplicationFactor;
  readonly minMembers?: number;
  readonly durability?: Durability;
  readonly enospc?: EnospcPolicy;
  readonly quotaBytes?: number | null;
}

/** What of a container can be changed: its vdisks follow at once. */
export type ContainerChange = Pick<ContainerWish, 'enospc' | 'quotaBytes'>;

export async function createContainer(store: MetadataStore, containerName: string, wish: ContainerWish = {}): Promise<ContainerRecord> {
  checkName(containerName);
  const record = newContainer(containerName, wish);
  const { replicationFactor, minMembers } = record;
  if (minMembers > replicationFactor) {
    const message = `a vdisk with ${replicationFactor} ${replicationFactor === 1 ? 'member' : 'members'} never has the ${minMembers} that its writes would wait for`;
    throw invalid('ERR_MIN_MEMBERS', message, 'lower --min-members, or raise --rf');
  }
  const key = keys.container(containerName);
  const result = await store.transaction([{ key, version: 0 }], [{ put: key, value: record }]);
  if (!result.ok) throw invalid('ERR_EXISTS', `there is a container named "${containerName}" already`, 'choose another name');
  return record;
}

/** Where it is missing. One that is there stays as it is. */
export async function ensureDefaultContainer(store: MetadataStore, wish: ContainerWish = {}): Promise<void> {
  const key = keys.container(DEFAULT_CONTAINER);
  if ((await store.get(key)) !== null) return;
  // Not applied: somebody else has just made it.
  await store.transaction([{ key, version: 0 }], [{ put: key, value: newContainer(DEFAULT_CONTAINER, wish) }]);
}

/** A quota below what its vdisks use is allowed: they get no more until they use less. */
export async function setContainer(store: MetadataStore, containerName: string, change: ContainerChange): Promise<ContainerRecord> {
  checkName(containerName);
  return retry(async () => {
    const key = keys.container(containerName);
    const found = await store.get(key);
    if (found === null) throw notFound(containerName);
    const { enospc, quotaBytes } = change;
    const record: ContainerRecord = {
      ...parse(containerRecord, found),
      ...(enospc === undefined ? {} : { enospc }),
      ...(quotaBytes === undefined ? {} : { quotaBytes }),
    };
    const isSet = async (): Promise<boolean> => {
      const now = await store.get(key);
      return now !== null && JSON.stringify(parse(containerRecord, now)) === JSON.stringify(record);
    };
    return (await settled(store.transaction([versionOf(found)], [{ put: key, value: record }]), isSet)) ? record : undefined;
  });
}

function notFound(container: string): GatepathError {
  return invalid('ERR_NOT_FOUND', `there is no container named "${container}"`, `create it first: gatepath container create ${container}`);
}

function newContainer(containerName: string, wish: ContainerWish): ContainerRecord {
  const { replicationFactor = 1, minMembers, durability = 'always', enospc = 'wait', quotaBytes = null } = wish;
  return {
    name: containerName,
    replicationFactor,
    minMembers: minMembers ?? defaultMinMembers(replicationFactor),
    durability,
    enospc,
    quotaBytes,
    createdAt: now(),
  };
}

/** Throws ERR_NOT_FOUND. */
export async function findContainer(store: MetadataStore, name: string): Promise<ContainerRecord> {
  const found = await store.get(keys.container(name));
  if (found === null) throw notFound(name);
  return parse(containerRecord, found);
}

/** Those whose records can be read ({@link readContainers}). */
export async function listContainers(store: MetadataStore): Promise<readonly ContainerRecord[]> {
  return (await readContainers(store)).records;
}

export const readContainers = (store: MetadataStore): Promise<RecordsRead<ContainerRecord>> =>
  readRecords(store, keys.containers, containerRecord);

// ---------------------------------------------------------------- vdisks

/** The members of a new vdisk of the container, its first controller first; null where there is one node alone, which makes the group when it serves. */
export type Place = (container: ContainerRecord) => Promise<readonly GroupMember[] | null>;

/** The group is placed, and its first record written, together with the vdisk; `beside`: what else is. */
export async function createVdisk(
  store: MetadataStore,
  wanted: { readonly name: string; readonly sizeBytes: number; readonly container?: string; readonly id?: string },
  place: Place = () => Promise.resolve(null),
  beside: (record: VdiskRecord) => readonly Operation[] = () => [],
): Promise<VdiskRecord> {
  const { name, sizeBytes, container = DEFAULT_CONTAINER, id = randomUUID() } = wanted;
  checkName(name);
  checkName(container);
  const parsed = vdiskRecord.safeParse({
    id,
    name,
    container,
    sizeBytes,
    historyId: FIRST_HISTORY,
    createdAt: now(),
    deleting: false,
  });
  if (!parsed.success) {
    throw invalid('ERR_SIZE', `${sizeBytes} bytes is no size of a vdisk: ${parsed.error.issues[0]!.message}`, 'choose another size');
  }
  const record = parsed.data;
  const containerKey = keys.container(container);
  const nameKey = keys.vdiskName(name);
  const holdsName = async (): Promise<boolean> => (await store.get(nameKey))?.value === record.id;
  return retry(async () => {
    const found = await store.get(containerKey);
    if (found === null) throw notFound(container);
    if ((await store.get(nameKey)) !== null) throw nameTaken(name);
    const policy = parse(containerRecord, found);
    refuseBeyondQuota(policy, sizeBytes);
    const members = await place(policy);
    const compares = [
      { key: nameKey, version: 0 },
      { key: containerKey, version: found.version },
    ];
    const transaction = store.transaction(compares, [
      { put: keys.vdisk(record.id), value: record },
      { put: nameKey, value: record.id },
      ...(members === null ? [] : [{ put: keys.group(record.id), value: firstGroup(record.id, members) }]),
      ...beside(record),
    ]);
    return (await settled(transaction, holdsName)) ? record : undefined;
  });
}

/** A vdisk that could never be filled. Throws ERR_QUOTA. */
export function refuseBeyondQuota({ name: container, quotaBytes }: ContainerRecord, sizeBytes: number): void {
  if (quotaBytes === null || sizeBytes <= quotaBytes) return;
  const message = `a vdisk of ${formatSize(sizeBytes)} never fits into container "${container}", whose quota is ${formatSize(quotaBytes)}`;
  throw invalid('ERR_QUOTA', message, `make it smaller, or raise the quota: gatepath container set ${container} --quota SIZE`);
}

/** Nobody serves it before the controller has won a term. */
function firstGroup(vdiskId: string, members: readonly GroupMember[]): GroupRecord {
  return { vdiskId, epoch: 1, term: 0, controller: members[0]!.node, members: [...members], nonce: randomUUID(), generation: 0 };
}

/** Those being deleted too. */
export const readVdisks = (store: MetadataStore): Promise<RecordsRead<VdiskRecord>> => readRecords(store, keys.vdisks, vdiskRecord);

/** Those whose records can be read. */
export async function listVdisks(store: MetadataStore): Promise<readonly VdiskRecord[]> {
  return (await readVdisks(store)).records;
}

export async function livingVdisks(store: MetadataStore): Promise<VdiskRecord[]> {
  return (await listVdisks(store)).filter(vdisk => !vdisk.deleting);
}

export async function findVdisk(store: MetadataStore, name: string): Promise<VdiskRecord> {
  return (await vdiskByName(store, name)).record;
}

/** The first step of deleting: the name is free from here on, and an import or export of it is over. Refused while the vdisk is attached. */
export async function markDeleting(store: MetadataStore, name: string): Promise<VdiskRecord> {
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const [attached] = await attachmentsOf(store, record.id);
    if (attached !== undefined) {
      throw invalid(
        'ERR_ATTACHED',
        `vdisk "${name}" is attached at host "${attached.record.host}"`,
        `detach it first: gatepath detach ${name}`,
      );
    }
    const deleting: VdiskRecord = { ...record, deleting: true };
    // The name changes hands only after the record has changed: the one compare covers both.
    const transaction = store.transaction(
      [versionOf(versioned)],
      [{ put: versioned.key, value: deleting }, { remove: keys.vdiskName(name) }, { remove: keys.lease(record.id) }],
    );
    const isDeleting = async (): Promise<boolean> => {
      const left = await store.get(versioned.key);
      return left === null || parse(vdiskRecord, left).deleting;
    };
    return (await settled(transaction, isDeleting)) ? deleting : undefined;
  });
}
