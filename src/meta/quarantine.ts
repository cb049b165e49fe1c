import { vdiskByName, now } from './found.js';
import { groupRecord, keys, type GroupRecord, type Quarantine } from './model.js';
import { invalid, parse, retry, retryable, settled } from './records.js';
import type { MetadataStore } from './store.js';

/** A vdisk that one controller after the other has died of is served to nobody, by a part of its group's record, until somebody releases it (rule 19). */

/** Whether the vdisk's requests wait, by what was read. */
export function quarantineOf(group: Pick<GroupRecord, 'quarantine'> | null): Quarantine | null {
  const quarantine = group?.quarantine;
  return quarantine?.releasedAt === undefined ? (quarantine ?? null) : null;
}

/**
 * Puts it into the record, or what is accused beside that. Where another one holds the vdisk already, that one stays. Gives what counts; null: there is no such vdisk any
 * more. Throws MetaUnavailable: then it is to be done again.
 */
export function quarantineVdisk(store: MetadataStore, vdiskId: string, wanted: Quarantine): Promise<Quarantine | null> {
  const key = keys.group(vdiskId);
  return retry(async () => {
    const found = await store.get(key);
    if (found === null) return null;
    const group = parse(groupRecord, found);
    const there = quarantineOf(group);
    if (there !== null && there.id !== wanted.id) return there;
    // Released as soon as it was there, and this is its repetition.
    if (there === null && group.quarantine?.id === wanted.id) return group.quarantine;
    const value: GroupRecord = { ...group, quarantine: wanted };
    const result = await store.transaction([{ key, version: found.version }], [{ put: key, value }]);
    return result.ok ? wanted : undefined;
  });
}

/** Its requests go on. Gives what had held it. */
export function releaseVdisk(store: MetadataStore, name: string): Promise<Quarantine> {
  return retry(async () => {
    const { record } = await vdiskByName(store, name);
    const key = keys.group(record.id);
    const found = await store.get(key);
    if (found === null) throw retryable('ERR_NOT_SERVED', `vdisk "${name}" has no group yet`, 'try again in a moment');
    const group = parse(groupRecord, found);
    const quarantine = quarantineOf(group);
    if (quarantine === null) {
      throw invalid('ERR_NOT_QUARANTINED', `vdisk "${name}" is not quarantined`, 'gatepath vdisk show tells how it is');
    }
    const value: GroupRecord = { ...group, quarantine: { ...quarantine, releasedAt: now() } };
    const transaction = store.transaction([{ key, version: found.version }], [{ put: key, value }]);
    const isDone = async (): Promise<boolean> => {
      const after = await store.get(key);
      const there = after === null ? undefined : parse(groupRecord, after).quarantine;
      return there?.id === quarantine.id && there.releasedAt !== undefined;
    };
    return (await settled(transaction, isDone)) ? quarantine : undefined;
  });
}

/** `a write of 4096 bytes at 8192`. */
export function inWords(requests: Quarantine['requests']): string {
  const [first, ...more] = requests.map(({ op, offsetBytes, lengthBytes }) => `a ${op} of ${lengthBytes} bytes at ${offsetBytes}`);
  return `${first ?? 'a request'}${more.length === 0 ? '' : `, or ${more.length} more`}`;
}

export function accusedInWords({ requests, nodes, at }: Quarantine): string {
  return `quarantined since ${at}: ${nodes.join(' and ')} died, one after the other, while they had ${inWords(requests)}`;
}
