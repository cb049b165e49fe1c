import { attachmentsOf, versionOf } from './found.js';
import { groupRecord, keys, vdiskRecord, type AttachmentRecord, type VdiskRecord } from './model.js';
import { parse, retry, settled } from './records.js';
import type { MetadataStore, Operation } from './store.js';

/** What a vdisk's log says of its size, in a term of its controller. */
export interface SizedVdisk {
  readonly vdiskId: string;
  readonly term: number;
  readonly sizeBytes: number;
}

/**
 * Brings the size that the log says into the vdisk's record and its attachments (rule 26); again, where it is there already, changes nothing. Only in the controller's own
 * term: of two controllers, the later one has looked after it had won its term, so one before it writes nothing over what that one has found. False: the vdisk is gone, or
 * another term is. Throws MetaUnavailable: then it is to be done again.
 */
export function recordSize(store: MetadataStore, { vdiskId, term, sizeBytes }: SizedVdisk): Promise<boolean> {
  const [key, groupKey] = [keys.vdisk(vdiskId), keys.group(vdiskId)];
  return retry(async () => {
    const found = await store.get(key);
    const group = await store.get(groupKey);
    const vdisk = found === null ? null : parse(vdiskRecord, found);
    if (found === null || group === null || vdisk!.deleting || parse(groupRecord, group).term !== term) return false;
    const attachments = (await attachmentsOf(store, vdiskId)).filter(one => one.record.sizeBytes !== sizeBytes);
    if (vdisk!.sizeBytes === sizeBytes && attachments.length === 0) return true;
    const operations: Operation[] = [
      // Whoever attaches it meanwhile has read another record, and reads again.
      { put: key, value: { ...vdisk!, sizeBytes } satisfies VdiskRecord },
      ...attachments.map(({ record, versioned }) => ({ put: versioned.key, value: { ...record, sizeBytes } satisfies AttachmentRecord })),
    ];
    const compares = [found, group, ...attachments.map(one => one.versioned)].map(versionOf);
    const isRecorded = async (): Promise<boolean> => {
      const after = await store.get(key);
      return after === null || parse(vdiskRecord, after).sizeBytes === sizeBytes;
    };
    return (await settled(store.transaction(compares, operations), isRecorded)) ? true : undefined;
  });
}
