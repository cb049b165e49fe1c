import { readRecords } from './damage.js';
import { attachmentRecord, groupRecord, keys, type AttachmentRecord, type LeaseRecord } from './model.js';
import { attachmentsOf, leaseLost, leaseOf, now, vdiskByName, versionOf } from './found.js';
import { checkName, invalid, parse, retry, retryable, settled } from './records.js';
import type { MetadataStore, Operation } from './store.js';

/**
 * Where vdisks are attached, over any metadata store: as in operations.ts. One attachment holds the vdisk: that of the highest generation which is not
 * shared. A shared one beside it is for a migration; activated, it holds the vdisk, and the former one is over: it is there until it is detached.
 */

export interface AttachWish {
  readonly shared?: boolean;
  /** For the client that holds its lease, and so for nobody else. */
  readonly isLeased?: boolean;
}

/** Attached already at that host: gives what there is. */
export async function attach(store: MetadataStore, name: string, host: string, wish: AttachWish = {}): Promise<AttachmentRecord> {
  const { shared = false, isLeased = false } = wish;
  checkName(host);
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const lease = await leaseOf(store, record.id);
    checkLease(name, lease?.record ?? null, isLeased);
    const found = await attachmentsOf(store, record.id);
    const attached = found.map(one => one.record);
    const here = found.find(one => one.record.host === host);
    if (here !== undefined && !isOver(here.record, attached)) return asAttached(here.record, shared);
    checkOthers(name, attached, host, shared);
    const group = await store.get(keys.group(record.id));
    const known = group === null ? null : parse(groupRecord, group);
    if (group === null || known === null || known.term === 0) {
      throw retryable('ERR_NOT_SERVED', `vdisk "${name}" is not served yet`, 'try again in a moment');
    }
    const attachment: AttachmentRecord = {
      vdiskId: record.id,
      vdiskName: name,
      host,
      generation: known.generation + 1,
      sizeBytes: record.sizeBytes,
      createdAt: now(),
      shared,
    };
    const key = keys.attachment(host, record.id);
    const operations: Operation[] = [
      { put: key, value: attachment },
      { put: group.key, value: { ...known, generation: attachment.generation } },
      // Touches the vdisk: a delete that has read "not attached" fails its compare.
      { put: versioned.key, value: record },
    ];
    // A lease that has come or gone meanwhile has touched the vdisk.
    const transaction = store.transaction([versionOf(versioned), versionOf(group)], operations);
    const isAttached = async (): Promise<boolean> => {
      const after = await store.get(key);
      return after !== null && parse(attachmentRecord, after).generation === attachment.generation;
    };
    return (await settled(transaction, isAttached)) ? attachment : undefined;
  });
}

function checkLease(name: string, lease: LeaseRecord | null, isLeased: boolean): void {
  if (isLeased && lease === null) throw leaseLost(name);
  if (isLeased || lease === null) return;
  const isImport = lease.purpose === 'import';
  const message = isImport ? `vdisk "${name}" is an unfinished import of "${lease.vdiskName}"` : `vdisk "${name}" is being exported`;
  throw invalid(
    'ERR_LEASED',
    `${message}, since ${lease.since}`,
    'try again when that has ended; interrupted, it ends by itself within a minute',
  );
}

/** Another attachment holds the vdisk since it was activated. */
export function isOver(one: AttachmentRecord, all: readonly AttachmentRecord[]): boolean {
  return !one.shared && one.generation < (holderOf(all)?.generation ?? 0);
}

/** Of one vdisk: the attachment that writes; none: they are all shared, or there is none. */
export function holderOf(all: readonly AttachmentRecord[]): AttachmentRecord | undefined {
  return all.filter(one => !one.shared).sort((a, b) => b.generation - a.generation)[0];
}

function asAttached(here: AttachmentRecord, shared: boolean): AttachmentRecord {
  if (!here.shared || shared) return here;
  const { vdiskName, host } = here;
  const message = `vdisk "${vdiskName}" is attached at host "${host}" as shared`;
  throw invalid('ERR_ATTACHED', message, `let it hold the vdisk: gatepath vdisk activate ${vdiskName} --host ${host}`);
}

/** What is attached elsewhere allows it: one that holds the vdisk beside one that is shared, and nothing beside one that is not. */
function checkOthers(name: string, attached: readonly AttachmentRecord[], host: string, shared: boolean): void {
  const others = attached.filter(one => one.host !== host);
  const inTheWay = shared ? others.find(one => one.shared || isOver(one, attached)) : (holderOf(others) ?? others[0]);
  if (inTheWay === undefined) return;
  const how = inTheWay.shared ? ' as shared' : isOver(inTheWay, attached) ? ', where it was before it was migrated' : '';
  const message = `vdisk "${name}" is attached at host "${inTheWay.host}"${how}`;
  throw invalid('ERR_ATTACHED', message, `detach it there first: gatepath detach ${name} --host ${inTheWay.host}`);
}

/**
 * The shared attachment at that host holds the vdisk from here on. Does so already: gives what there is. What it means for those who use the vdisk is decided by
 * the order in the log; of two that ask for it here, the first one is obeyed.
 */
export async function activate(store: MetadataStore, name: string, host?: string): Promise<AttachmentRecord> {
  if (host !== undefined) checkName(host);
  return retry(async () => {
    const { record } = await vdiskByName(store, name);
    const all = await attachmentsOf(store, record.id);
    const attached = all.map(one => one.record);
    const wanted = all.find(one => (host === undefined ? one.record.shared : one.record.host === host));
    if (wanted === undefined) {
      const message = `vdisk "${name}" is not attached ${host === undefined ? 'as shared' : `at host "${host}"`}`;
      throw invalid('ERR_NOT_ATTACHED', message, `attach it there first: gatepath attach ${name} --shared --host HOST`);
    }
    if (isOver(wanted.record, attached)) {
      const message = `vdisk "${name}" is held by host "${holderOf(attached)!.host}" since that was activated`;
      throw invalid(
        'ERR_SUPERSEDED',
        message,
        `to bring it back, attach it anew: gatepath attach ${name} --shared --host ${wanted.record.host}`,
      );
    }
    if (!wanted.record.shared) return wanted.record;
    const { key } = wanted.versioned;
    const activated: AttachmentRecord = { ...wanted.record, shared: false, activatedAt: now() };
    const transaction = store.transaction([versionOf(wanted.versioned)], [{ put: key, value: activated }]);
    const isActivated = async (): Promise<boolean> => {
      const after = await store.get(key);
      const found = after === null ? null : parse(attachmentRecord, after);
      return found !== null && found.generation === activated.generation && !found.shared;
    };
    return (await settled(transaction, isActivated)) ? activated : undefined;
  });
}

/** Returns what was detached; throws where it is not attached. `host`: which of two. */
export async function detach(store: MetadataStore, name: string, host?: string): Promise<AttachmentRecord> {
  if (host !== undefined) checkName(host);
  return retry(async () => {
    const { record } = await vdiskByName(store, name);
    const all = await attachmentsOf(store, record.id);
    const [attached, other] = host === undefined ? all : all.filter(one => one.record.host === host);
    if (attached === undefined) {
      const message = `vdisk "${name}" is not attached${host === undefined ? '' : ` at host "${host}"`}`;
      throw invalid('ERR_NOT_ATTACHED', message, 'nothing to do');
    }
    if (other !== undefined) {
      const hosts = all.map(one => `"${one.record.host}"`).join(' and ');
      throw invalid('ERR_ATTACHED', `vdisk "${name}" is attached at hosts ${hosts}`, 'say from which it is to be detached: --host');
    }
    const { key } = attached.versioned;
    // Only this attachment: never a newer one, which somebody else has made since.
    const transaction = store.transaction([versionOf(attached.versioned)], [{ remove: key }]);
    const isDetached = async (): Promise<boolean> => (await store.get(key))?.version !== attached.versioned.version;
    return (await settled(transaction, isDetached)) ? attached.record : undefined;
  });
}

/** Those whose records can be read. */
export async function listAttachments(store: MetadataStore): Promise<readonly AttachmentRecord[]> {
  return (await readRecords(store, keys.attachments, attachmentRecord)).records;
}
