import type { z } from 'zod';
import { GatepathError } from '../base/errors.js';
import {
  attachmentRecord,
  beatRecord,
  clusterRecord,
  containerRecord,
  exportRecord,
  groupRecord,
  hostRecord,
  keys,
  leaseRecord,
  nodeRecord,
  removedNodeRecord,
  uuid,
  vdiskRecord,
} from './model.js';
import type { MetadataStore, Versioned } from './store.js';

/**
 * Records that cannot be read: their checksum differs, they are no msgpack, or not what the cluster model says. A damaged record is there, and nobody knows what it says: it is
 * never taken for none, and nothing that it could name is given up because of it.
 */
export interface DamagedRecord {
  readonly key: string;
  readonly why: string;
}

/** What a store gives as the value of a record whose bytes cannot be read. Plain, so that it goes over the wire; no record of the model looks like this. */
const MARK = 'damaged record';
export const damagedValue = (why: string): unknown => ({ [MARK]: why });

/** Of a record whose own version is not known: above all that there are. A change upon it is refused. */
export const DAMAGED_VERSION = Number.MAX_SAFE_INTEGER;

/** Null: the store could read it. */
export function damageOfValue(value: unknown): string | null {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, MARK)) return null;
  return String((value as Record<string, unknown>)[MARK]);
}

/** What is under each prefix; of two that fit the first one counts. `names`: the field that repeats the end of the key. */
export const RECORD_CLASSES: readonly { readonly prefix: string; readonly schema: z.ZodType; readonly names: string | null }[] = [
  { prefix: keys.removedNodes, schema: removedNodeRecord, names: 'storeUuid' },
  { prefix: keys.beats, schema: beatRecord, names: 'id' },
  { prefix: keys.nodes, schema: nodeRecord, names: 'id' },
  { prefix: keys.containers, schema: containerRecord, names: 'name' },
  { prefix: keys.vdiskNames, schema: uuid, names: null },
  { prefix: keys.vdisks, schema: vdiskRecord, names: 'id' },
  { prefix: keys.groups, schema: groupRecord, names: 'vdiskId' },
  { prefix: keys.attachments, schema: attachmentRecord, names: 'vdiskId' },
  { prefix: keys.hosts, schema: hostRecord, names: 'host' },
  { prefix: keys.exports, schema: exportRecord, names: 'vdiskId' },
  { prefix: keys.leases, schema: leaseRecord, names: 'vdiskId' },
  { prefix: keys.cluster, schema: clusterRecord, names: null },
];

const classOf = (key: string) => RECORD_CLASSES.find(({ prefix }) => key.startsWith(prefix));

/** Null: it is what its key says, or of no class that this version knows. */
export function damageOf({ key, value }: Versioned): string | null {
  const of = classOf(key);
  const read = of === undefined ? { data: value, why: damageOfValue(value) } : readAs(of.schema, { key, value });
  return read.why;
}

/** `why` null: `data` is the record. */
export function readAs<T>(
  schema: z.ZodType<T>,
  { key, value }: Pick<Versioned, 'key' | 'value'>,
): { data: T; why: null } | { why: string } {
  const marked = damageOfValue(value);
  if (marked !== null) return { why: marked };
  const parsed = schema.safeParse(value);
  if (!parsed.success) return { why: parsed.error.issues[0]!.message };
  const names = classOf(key)?.names ?? null;
  const named = names === null ? null : (parsed.data as Record<string, string>)[names]!;
  return named === null || key.slice(key.lastIndexOf('/') + 1) === named
    ? { data: parsed.data, why: null }
    : { why: `it is the record of ${named}` };
}

/** The vdisk that a record is of, by its key; null: of none. */
export function vdiskOfKey(key: string): string | null {
  const isOfVdisk = [keys.vdisks, keys.groups, keys.attachments, keys.leases, keys.exports].some(prefix => key.startsWith(prefix));
  return isOfVdisk ? key.slice(key.lastIndexOf('/') + 1) : null;
}

export interface RecordsRead<T> {
  readonly records: readonly T[];
  readonly damaged: readonly DamagedRecord[];
}

/** All with the prefix. Who acts upon what is *not* there has to look at what is damaged, too. */
export async function readRecords<T>(store: MetadataStore, prefix: string, schema: z.ZodType<T>): Promise<RecordsRead<T>> {
  const records: T[] = [];
  const damaged: DamagedRecord[] = [];
  for (const item of (await store.range(prefix)).items) {
    const read = readAs(schema, item);
    if (read.why === null) records.push(read.data);
    else damaged.push({ key: item.key, why: read.why });
  }
  return { records, damaged };
}

/** Of these classes, which never change so often that it matters when they are read. */
const SURVEYED = RECORD_CLASSES.filter(({ prefix }) => prefix !== keys.beats && prefix !== keys.exports);

/** All that are damaged, class by class, so that nobody waits for the whole. Beats and exports are hints, and written anew all the time: they are left out. */
export async function damagedRecords(store: MetadataStore): Promise<DamagedRecord[]> {
  const found: DamagedRecord[] = [];
  for (const { prefix, schema } of SURVEYED) found.push(...(await readRecords(store, prefix, schema)).damaged);
  return found;
}

export function damagedRecord({ key, why }: DamagedRecord): GatepathError {
  return new GatepathError(
    'corrupt',
    'ERR_METADATA',
    `the metadata record ${key} is damaged: ${why}`,
    'put the metadata back from a backup; "gatepath status" names all records that are damaged',
  );
}

/** Throws ERR_METADATA where something is to be done that one of these records could forbid. `what`: in the present tense. */
export function holdBack(damaged: readonly DamagedRecord[], what: string): void {
  const [first] = damaged;
  if (first === undefined) return;
  const more = damaged.length === 1 ? '' : `, and ${damaged.length - 1} more`;
  const message = `${what}: the metadata record ${first.key} is damaged (${first.why})${more}, and nobody knows what it says of this`;
  throw new GatepathError('corrupt', 'ERR_METADATA', message, 'put the metadata back from a backup, and try again');
}
