import type { GatepathError } from '../base/errors.js';
import {
  attachmentRecord,
  keys,
  leaseRecord,
  uuid,
  vdiskRecord,
  type AttachmentRecord,
  type LeaseRecord,
  type VdiskRecord,
} from './model.js';
import { checkName, invalid, parse, retry } from './records.js';
import type { MetadataStore, Versioned } from './store.js';

/** Records as they are read for a change: with the version that the change compares. */
export interface Found<T> {
  readonly record: T;
  readonly versioned: Versioned;
}

/** A living vdisk. Two reads: by the second one it may have been deleted, and its name may be another one's. */
export async function vdiskByName(store: MetadataStore, name: string): Promise<Found<VdiskRecord>> {
  checkName(name);
  return retry(async () => {
    const named = await store.get(keys.vdiskName(name));
    if (named === null) throw invalid('ERR_NOT_FOUND', `there is no vdisk named "${name}"`, 'gatepath vdisk list shows those there are');
    const versioned = await store.get(keys.vdisk(parse(uuid, named)));
    const record = versioned === null ? null : parse(vdiskRecord, versioned);
    return versioned === null || record!.deleting ? undefined : { record: record!, versioned };
  });
}

export async function attachmentsOf(store: MetadataStore, vdiskId: string): Promise<Found<AttachmentRecord>[]> {
  const here = (await store.keys(keys.attachments)).filter(key => key.endsWith(`/${vdiskId}`));
  const found = await Promise.all(here.map(key => store.get(key)));
  return found.filter(one => one !== null).map(versioned => ({ record: parse(attachmentRecord, versioned), versioned }));
}

/** Null: nobody has the vdisk for an import or an export. */
export async function leaseOf(store: MetadataStore, vdiskId: string): Promise<Found<LeaseRecord> | null> {
  const versioned = await store.get(keys.lease(vdiskId));
  return versioned === null ? null : { record: parse(leaseRecord, versioned), versioned };
}

export const leaseLost = (vdiskName: string): GatepathError =>
  invalid(
    'ERR_LEASE_LOST',
    `the system has given up the import or export of vdisk "${vdiskName}": its vdisk was deleted, or its client was not heard of for too long`,
    'begin it again',
  );

/** Of a vdisk. */
export const nameTaken = (name: string): GatepathError =>
  invalid('ERR_EXISTS', `there is a vdisk named "${name}" already`, 'choose another name, or delete that one');

export const versionOf = ({ key, version }: Versioned): { readonly key: string; readonly version: number } => ({ key, version });
export const now = (): string => new Date().toISOString();
