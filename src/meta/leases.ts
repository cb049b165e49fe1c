import { randomUUID } from 'node:crypto';
import { readAs } from './damage.js';
import { attachmentsOf, leaseLost, leaseOf, nameTaken, now, vdiskByName, versionOf, type Found } from './found.js';
import { keys, leaseRecord, vdiskRecord, type LeaseRecord, type VdiskRecord } from './model.js';
import { createVdisk, type Place } from './operations.js';
import { checkName, invalid, parse, retry, settled } from './records.js';
import type { Compare, MetadataStore, Operation } from './store.js';

/**
 * Imports and exports of vdisks by a client process, over any metadata store: as in operations.ts. The client keeps its lease by renewing it; one that is not renewed
 * any more is ended by the nodes (main/lapsed-leases.ts). The vdisk of an import gets its name in the transaction that ends the lease: before that it has never had it.
 *
 *   (none) ──beginImport──▶ leased, name importing-… ──finishImport──▶ vdisk NAME, no lease
 *                                                    └─endLease─────▶ being deleted, no lease
 *   vdisk NAME ──beginExport──▶ leased ──endLease──▶ vdisk NAME, no lease
 */

export interface Leased {
  readonly vdisk: VdiskRecord;
  readonly lease: LeaseRecord;
}

/** The vdisk is made under a name of its own. Throws ERR_EXISTS where the name is taken, or another import is to have it. */
export async function beginImport(
  store: MetadataStore,
  wanted: { readonly name: string; readonly sizeBytes: number; readonly container?: string },
  place?: Place,
): Promise<Leased> {
  checkName(wanted.name);
  await refuseTaken(store, wanted.name);
  const id = randomUUID();
  const lease: LeaseRecord = { vdiskId: id, purpose: 'import', vdiskName: wanted.name, beat: 0, since: now() };
  const vdisk = await createVdisk(store, { ...wanted, id, name: ownName(id) }, place, () => [{ put: keys.lease(id), value: lease }]);
  return { vdisk, lease };
}

/** Nobody but its import uses it. */
export const isUnfinishedImport = ({ id, name }: VdiskRecord): boolean => name === ownName(id);

const ownName = (vdiskId: string): string => `importing-${vdiskId}`;

/** So that a long import does not find out at its end; what counts is looked at then, again. */
async function refuseTaken(store: MetadataStore, name: string): Promise<void> {
  if ((await store.get(keys.vdiskName(name))) !== null) throw nameTaken(name);
  const other = (await listLeases(store)).find(({ record }) => record.purpose === 'import' && record.vdiskName === name);
  if (other === undefined) return;
  const action = 'choose another name, or try again when that has ended; interrupted, it ends by itself within a minute';
  throw invalid('ERR_EXISTS', `a vdisk "${name}" is being imported, since ${other.record.since}`, action);
}

/** Throws ERR_ATTACHED where somebody has the vdisk. */
export async function beginExport(store: MetadataStore, name: string): Promise<Leased> {
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const other = await leaseOf(store, record.id);
    if (other !== null) {
      const what = other.record.purpose === 'export' ? 'is being exported' : 'is an unfinished import';
      throw invalid('ERR_LEASED', `vdisk "${name}" ${what}, since ${other.record.since}`, 'try again when that has ended');
    }
    const [attached] = await attachmentsOf(store, record.id);
    if (attached !== undefined) {
      const message = `vdisk "${name}" is attached at host "${attached.record.host}": what is read while a guest writes is of no one moment`;
      throw invalid('ERR_ATTACHED', message, `stop its guest and detach it first: gatepath detach ${name}`);
    }
    const key = keys.lease(record.id);
    const lease: LeaseRecord = { vdiskId: record.id, purpose: 'export', vdiskName: name, beat: 0, since: now() };
    const transaction = store.transaction(
      [versionOf(versioned), { key, version: 0 }],
      // Touches the vdisk: an attach or a delete that has read it before fails its compare.
      [
        { put: key, value: lease },
        { put: versioned.key, value: record },
      ],
    );
    const isMine = async (): Promise<boolean> => (await leaseOf(store, record.id))?.record.since === lease.since;
    return (await settled(transaction, isMine)) ? { vdisk: record, lease } : undefined;
  });
}

/** The client lives. Throws ERR_LEASE_LOST where the lease is no more, or the vdisk is being deleted. */
export async function renewLease(store: MetadataStore, vdiskId: string): Promise<void> {
  await retry(async () => {
    const { lease } = await held(store, vdiskId);
    const { record, versioned } = lease;
    const value: LeaseRecord = { ...record, beat: record.beat + 1 };
    const { ok } = await store.transaction([versionOf(versioned)], [{ put: versioned.key, value }]);
    return ok ? true : undefined;
  });
}

/** Of a vdisk that is leased. */
export async function leasedVdisk(store: MetadataStore, vdiskId: string): Promise<Leased> {
  const { vdisk, lease } = await held(store, vdiskId);
  return { vdisk: vdisk.record, lease: lease.record };
}

/** The vdisk of an import is whole, and nobody has it attached: from here on it has its name. */
export async function finishImport(store: MetadataStore, vdiskId: string): Promise<VdiskRecord> {
  return retry(async () => {
    const { vdisk, lease } = await held(store, vdiskId);
    const { vdiskName, purpose } = lease.record;
    if (purpose !== 'import') throw leaseLost(vdiskName);
    const nameKey = keys.vdiskName(vdiskName);
    if ((await store.get(nameKey)) !== null) throw nameTaken(vdiskName);
    const record: VdiskRecord = { ...vdisk.record, name: vdiskName };
    const [attached] = await attachmentsOf(store, vdiskId);
    if (attached !== undefined) throw stillAttached(vdiskName, attached.record.host);
    const transaction = store.transaction(
      [versionOf(vdisk.versioned), versionOf(lease.versioned), { key: nameKey, version: 0 }],
      [
        { put: vdisk.versioned.key, value: vdiskRecord.parse(record) },
        { put: nameKey, value: vdiskId },
        { remove: keys.vdiskName(vdisk.record.name) },
        { remove: lease.versioned.key },
      ],
    );
    const isDone = async (): Promise<boolean> => (await store.get(nameKey))?.value === vdiskId;
    return (await settled(transaction, isDone)) ? record : undefined;
  });
}

/**
 * The client has given up, or is gone: then `asOf` is the lease as it was when it was last looked at, and one that has been renewed since is left alone.
 * The vdisk of an import is deleted. Nobody may have it attached. False: it has been renewed.
 */
export async function endLease(store: MetadataStore, vdiskId: string, asOf?: Compare): Promise<boolean> {
  return retry(async () => {
    const lease = await leaseOf(store, vdiskId);
    if (lease === null) return true;
    if (asOf !== undefined && lease.versioned.version !== asOf.version) return false;
    const versioned = await store.get(keys.vdisk(vdiskId));
    const vdisk = versioned === null ? null : parse(vdiskRecord, versioned);
    // Deleted by somebody: its lease has gone with it.
    if (versioned === null || vdisk!.deleting) return undefined;
    const [attached] = await attachmentsOf(store, vdiskId);
    if (attached !== undefined) throw stillAttached(lease.record.vdiskName, attached.record.host);
    const isImport = lease.record.purpose === 'import';
    const value: VdiskRecord = { ...vdisk!, deleting: isImport };
    const operations: Operation[] = [
      { remove: lease.versioned.key },
      { put: versioned.key, value },
      ...(isImport ? [{ remove: keys.vdiskName(vdisk!.name) }] : []),
    ];
    const transaction = store.transaction([versionOf(lease.versioned), versionOf(versioned)], operations);
    const isDone = async (): Promise<boolean> => (await leaseOf(store, vdiskId)) === null;
    return (await settled(transaction, isDone)) ? true : undefined;
  });
}

const stillAttached = (name: string, host: string) =>
  invalid('ERR_ATTACHED', `the vdisk of the import or export of "${name}" is attached at host "${host}" still`, 'try again in a moment');

/** Those whose records can be read: of another one nobody knows when it was renewed last, so it is neither ended nor over. */
export async function listLeases(store: MetadataStore): Promise<Found<LeaseRecord>[]> {
  const { items } = await store.range(keys.leases);
  return items.flatMap(versioned => {
    const read = readAs(leaseRecord, versioned);
    return read.why === null ? [{ record: read.data, versioned }] : [];
  });
}

async function held(store: MetadataStore, vdiskId: string): Promise<{ vdisk: Found<VdiskRecord>; lease: Found<LeaseRecord> }> {
  const lease = await leaseOf(store, vdiskId);
  if (lease === null) throw leaseLost(vdiskId);
  const versioned = await store.get(keys.vdisk(vdiskId));
  const record = versioned === null ? null : parse(vdiskRecord, versioned);
  if (versioned === null || record!.deleting) throw leaseLost(lease.record.vdiskName);
  return { vdisk: { record: record!, versioned }, lease };
}
