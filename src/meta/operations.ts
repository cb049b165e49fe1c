import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { GatepathError } from '../base/errors.js';
import { MAX_META_TRANSACTION } from '../wire/limits.js';
import {
  attachmentRecord,
  containerRecord,
  groupRecord,
  keys,
  name as nameSchema,
  nodeRecord,
  vdiskRecord,
  type AttachmentRecord,
  type ContainerRecord,
  type GroupRecord,
  type VdiskRecord,
} from './model.js';
import type { Compare, MetadataStore, Operation, Versioned } from './store.js';

/**
 * What is done to the cluster model, over any metadata store: read, check, compare-and-swap; again when somebody else was faster. All throw
 * GatepathError with what was wrong and what to do.
 */

export const DEFAULT_CONTAINER = 'default';
/** How often a compare-and-swap is tried against others before that is taken for a fault. */
const MAX_ATTEMPTS = 50;

// ---------------------------------------------------------------- containers

export async function createContainer(store: MetadataStore, containerName: string): Promise<ContainerRecord> {
  checkName(containerName);
  const record: ContainerRecord = { name: containerName, replicationFactor: 1, durability: 'always', createdAt: now() };
  const key = keys.container(containerName);
  const result = await store.transaction([{ key, version: 0 }], [{ put: key, value: record }]);
  if (!result.ok) throw invalid('ERR_EXISTS', `there is a container named "${containerName}" already`, 'choose another name');
  return record;
}

export async function ensureDefaultContainer(store: MetadataStore): Promise<void> {
  if ((await store.get(keys.container(DEFAULT_CONTAINER))) === null) await createContainer(store, DEFAULT_CONTAINER);
}

export async function listContainers(store: MetadataStore): Promise<ContainerRecord[]> {
  return (await store.range(keys.containers)).items.map(item => parse(containerRecord, item));
}

// ---------------------------------------------------------------- vdisks

export async function createVdisk(
  store: MetadataStore,
  wanted: { readonly name: string; readonly sizeBytes: number; readonly container?: string },
): Promise<VdiskRecord> {
  const { name, sizeBytes, container = DEFAULT_CONTAINER } = wanted;
  checkName(name);
  const containerKey = keys.container(container);
  const found = await store.get(containerKey);
  if (found === null) {
    throw invalid('ERR_NOT_FOUND', `there is no container named "${container}"`, `create it first: gatepath container create ${container}`);
  }
  const record = vdiskRecord.parse({ id: randomUUID(), name, container, sizeBytes, historyId: 1, createdAt: now(), deleting: false });
  const compares = [
    { key: keys.vdiskName(name), version: 0 },
    { key: containerKey, version: found.version },
  ];
  const result = await store.transaction(compares, [
    { put: keys.vdisk(record.id), value: record },
    { put: keys.vdiskName(name), value: record.id },
  ]);
  if (!result.ok) throw invalid('ERR_EXISTS', `there is a vdisk named "${name}" already`, 'choose another name, or delete that one');
  return record;
}

/** Those being deleted too. */
export async function listVdisks(store: MetadataStore): Promise<VdiskRecord[]> {
  return (await store.range(keys.vdisks)).items.map(item => parse(vdiskRecord, item));
}

export async function findVdisk(store: MetadataStore, name: string): Promise<VdiskRecord> {
  return (await vdiskByName(store, name)).record;
}

/** The first step of deleting: the name is free from here on. Refused while the vdisk is attached. */
export async function markDeleting(store: MetadataStore, name: string): Promise<VdiskRecord> {
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const attached = await attachmentsOf(store, record.id);
    if (attached.length > 0) {
      throw invalid(
        'ERR_ATTACHED',
        `vdisk "${name}" is attached at host "${attached[0]!.host}"`,
        `detach it first: gatepath detach ${name}`,
      );
    }
    const deleting: VdiskRecord = { ...record, deleting: true };
    const result = await store.transaction(
      [{ key: versioned.key, version: versioned.version }],
      [{ put: versioned.key, value: deleting }, { remove: keys.vdiskName(name) }],
    );
    return result.ok ? deleting : undefined;
  });
}

/** The last step: its data is gone. */
export async function forgetVdisk(store: MetadataStore, vdiskId: string): Promise<void> {
  await store.transaction([], [{ remove: keys.vdisk(vdiskId) }, { remove: keys.group(vdiskId) }]);
}

// ---------------------------------------------------------------- attachments

export async function attach(store: MetadataStore, name: string, host: string): Promise<AttachmentRecord> {
  checkName(host);
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const attached = await attachmentsOf(store, record.id);
    const here = attached.find(one => one.host === host);
    if (here !== undefined) return here;
    if (attached.length > 0) {
      const other = attached[0]!.host;
      throw invalid('ERR_ATTACHED', `vdisk "${name}" is attached at host "${other}"`, `detach it there first: gatepath detach ${name}`);
    }
    const group = await store.get(keys.group(record.id));
    const known = group === null ? null : parse(groupRecord, group);
    const generation = (known?.generation ?? 0) + 1;
    const attachment: AttachmentRecord = {
      vdiskId: record.id,
      vdiskName: name,
      host,
      generation,
      sizeBytes: record.sizeBytes,
      createdAt: now(),
    };
    if (known === null) throw retryable('ERR_NOT_SERVED', `vdisk "${name}" is not served yet`, 'try again in a moment');
    const result = await store.transaction(
      [
        { key: versioned.key, version: versioned.version },
        { key: keys.group(record.id), version: group!.version },
      ],
      [
        { put: keys.attachment(host, record.id), value: attachment },
        { put: keys.group(record.id), value: { ...known, generation } },
        // Touches the vdisk: a delete that has read "not attached" fails its compare.
        { put: versioned.key, value: record },
      ],
    );
    return result.ok ? attachment : undefined;
  });
}

/** Returns what was detached; throws where it is not attached. */
export async function detach(store: MetadataStore, name: string): Promise<AttachmentRecord> {
  const { record } = await vdiskByName(store, name);
  const [attachment] = await attachmentsOf(store, record.id);
  if (attachment === undefined) throw invalid('ERR_NOT_ATTACHED', `vdisk "${name}" is not attached`, 'nothing to do');
  await store.transaction([], [{ remove: keys.attachment(attachment.host, record.id) }]);
  return attachment;
}

export async function listAttachments(store: MetadataStore): Promise<AttachmentRecord[]> {
  return (await store.range('attachment/')).items.map(item => parse(attachmentRecord, item));
}

async function attachmentsOf(store: MetadataStore, vdiskId: string): Promise<AttachmentRecord[]> {
  return (await listAttachments(store)).filter(one => one.vdiskId === vdiskId);
}

// ---------------------------------------------------------------- nodes and terms

/** The node has started: its boot counter goes up. Refused when the id belongs to another data directory. */
export async function registerNode(
  store: MetadataStore,
  node: { readonly id: string; readonly storeUuid: string; readonly address: string },
): Promise<void> {
  checkName(node.id);
  const key = keys.node(node.id);
  await retry(async () => {
    const found = await store.get(key);
    const known = found === null ? null : parse(nodeRecord, found);
    if (known !== null && known.storeUuid !== node.storeUuid) {
      throw invalid('ERR_NODE_TAKEN', `node id "${node.id}" belongs to another data directory`, 'give this node another id');
    }
    const record = { ...node, incarnation: known?.incarnation ?? 1, bootCount: (known?.bootCount ?? 0) + 1 };
    const result = await store.transaction([{ key, version: found?.version ?? 0 }], [{ put: key, value: record }]);
    return result.ok ? true : undefined;
  });
}

export interface WonTerm {
  readonly term: number;
  readonly nonce: string;
}

/**
 * A new term for each of the vdisks, with this node as controller and only member (rule 7): epoch and term go up by one, the nonce is new. A
 * node may serve a vdisk only after this.
 */
export async function winTerms(
  store: MetadataStore,
  vdiskIds: readonly string[],
  member: { readonly node: string; readonly storeUuid: string; readonly incarnation: number },
): Promise<Map<string, WonTerm>> {
  const terms = new Map<string, WonTerm>();
  for (let from = 0; from < vdiskIds.length; from += MAX_META_TRANSACTION) {
    const batch = vdiskIds.slice(from, from + MAX_META_TRANSACTION);
    await retry(async () => {
      const compares: Compare[] = [];
      const operations: Operation[] = [];
      for (const vdiskId of batch) {
        const key = keys.group(vdiskId);
        const found = await store.get(key);
        const known = found === null ? null : parse(groupRecord, found);
        const epoch = (known?.epoch ?? 0) + 1;
        const record: GroupRecord = {
          vdiskId,
          epoch,
          term: epoch,
          controller: member.node,
          members: [member],
          nonce: randomUUID(),
          generation: known?.generation ?? 0,
        };
        compares.push({ key, version: found?.version ?? 0 });
        operations.push({ put: key, value: record });
        terms.set(vdiskId, { term: epoch, nonce: record.nonce });
      }
      return (await store.transaction(compares, operations)).ok ? true : undefined;
    });
  }
  return terms;
}

export async function groupOf(store: MetadataStore, vdiskId: string): Promise<GroupRecord | null> {
  const found = await store.get(keys.group(vdiskId));
  return found === null ? null : parse(groupRecord, found);
}

// ---------------------------------------------------------------- helpers

async function vdiskByName(store: MetadataStore, name: string): Promise<{ record: VdiskRecord; versioned: Versioned }> {
  const id = await store.get(keys.vdiskName(name));
  const versioned = id === null ? null : await store.get(keys.vdisk(String(id.value)));
  if (versioned === null) throw invalid('ERR_NOT_FOUND', `there is no vdisk named "${name}"`, 'gatepath vdisk list shows those there are');
  return { record: parse(vdiskRecord, versioned), versioned };
}

/** Until `attempt` gives something else than undefined (somebody else was faster). */
async function retry<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < MAX_ATTEMPTS; i++) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw retryable('ERR_CONTENTION', `the metadata changed ${MAX_ATTEMPTS} times in a row under this operation`, 'try again');
}

function parse<T>(schema: z.ZodType<T>, { key, value }: Versioned): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new GatepathError(
    'corrupt',
    'ERR_METADATA',
    `the metadata record ${key} is damaged: ${parsed.error.issues[0]!.message}`,
    'restore the metadata from a backup',
  );
}

function checkName(name: string): void {
  const parsed = nameSchema.safeParse(name);
  if (!parsed.success)
    throw invalid('ERR_NAME', `"${shorten(name)}" is no name: ${parsed.error.issues[0]!.message}`, 'choose another name');
}

const shorten = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
const now = (): string => new Date().toISOString();
const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
const retryable = (code: string, message: string, action: string): GatepathError => new GatepathError('retryable', code, message, action);
