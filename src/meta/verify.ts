import { statSync } from 'node:fs';
import { GatepathError } from '../base/errors.js';
import { RECORD_CLASSES, vdiskOfKey } from './damage.js';
import { COUNTER_KEY, imageOf } from './lmdb.js';
import { decodeOldRecord, decodeRecord, isOldRecord } from './lmdb-record.js';
import { keys, type GroupRecord, type NodeRecord, type VdiskRecord } from './model.js';

/** What the offline verifier of the metadata of one node found wrong. */
export interface MetaFinding {
  readonly severity: 'error' | 'notice';
  /** Stable: meta-database, meta-record, meta-reference, meta-version. */
  readonly code: string;
  /** '': of the database as a whole. */
  readonly key: string;
  readonly vdiskId: string | null;
  readonly message: string;
}

export interface VerifiedMetadata {
  readonly findings: readonly MetaFinding[];
  readonly vdisks: ReadonlyMap<string, VdiskRecord>;
  readonly groups: ReadonlyMap<string, GroupRecord>;
  readonly nodes: readonly NodeRecord[];
}

/** Checks the database file `path`, each record, and that they name each other. Offline: nobody writes meanwhile. Changes nothing. */
export function verifyMetadata(path: string): VerifiedMetadata {
  const verifier = new MetadataVerifier();
  // A first start was killed before it wrote anything.
  if (statSync(path).size > 0) verifier.read(path);
  verifier.checkReferences();
  return verifier;
}

class MetadataVerifier implements VerifiedMetadata {
  readonly findings: MetaFinding[] = [];
  readonly vdisks = new Map<string, VdiskRecord>();
  readonly groups = new Map<string, GroupRecord>();
  readonly nodes: NodeRecord[] = [];
  readonly #records = new Map<string, unknown>();
  #counter = 0;
  #highest = 0;
  /** All that is there was written by a version that keeps checksums. */
  #isRenewed = false;

  read(path: string): void {
    const image = imageOf(path);
    for (const [key, record] of image.check()) this.#take(Buffer.from(key).toString('utf8'), record);
    for (const { page, message } of image.damage) this.#tell('meta-database', '', page < 0 ? message : `page ${page}: ${message}`);
    if (this.#highest > this.#counter)
      this.#tell('meta-version', COUNTER_KEY, `a record has version ${this.#highest}, the counter stands at ${this.#counter}`);
  }

  #take(key: string, bytes: Uint8Array): void {
    try {
      const isOld = isOldRecord(bytes);
      if (key === COUNTER_KEY) this.#isRenewed = !isOld;
      // The counter comes first of all keys.
      const { value, version } = isOld && !this.#isRenewed ? decodeOldRecord(key, bytes) : decodeRecord(key, bytes);
      if (key === COUNTER_KEY) this.#counter = version;
      else this.#takeValue(key, value, version);
    } catch (error) {
      if (!(error instanceof GatepathError)) throw error;
      this.#tell('meta-record', key, error.message);
    }
  }

  #takeValue(key: string, value: unknown, version: number): void {
    this.#highest = Math.max(this.#highest, version);
    this.#records.set(key, value);
    const schema = RECORD_CLASSES.find(({ prefix }) => key.startsWith(prefix))?.schema;
    const parsed = schema?.safeParse(value);
    if (parsed?.success === false)
      return this.#tell('meta-record', key, `the record is not what Gatepath wrote: ${parsed.error.issues[0]!.message}`);
    const known = parsed?.data;
    if (key.startsWith(keys.vdisks)) this.vdisks.set(key.slice(keys.vdisks.length), known as VdiskRecord);
    else if (key.startsWith(keys.groups)) this.groups.set(key.slice(keys.groups.length), known as GroupRecord);
    else if (key.startsWith(keys.nodes)) this.nodes.push(known as NodeRecord);
  }

  checkReferences(): void {
    for (const [id, vdisk] of this.vdisks) {
      const { name, container, deleting } = vdisk;
      const key = keys.vdisk(id);
      if (vdisk.id !== id) this.#tell('meta-reference', key, `the record is of vdisk ${vdisk.id}`);
      if (deleting) continue;
      if (this.#records.get(keys.vdiskName(name)) !== id)
        this.#tell('meta-reference', keys.vdiskName(name), `the name "${name}" does not lead to the vdisk`, id);
      if (!this.#records.has(keys.container(container))) this.#tell('meta-reference', key, `its container "${container}" is missing`);
      if (!this.groups.has(id) && !this.#records.has(keys.group(id)))
        this.#tell('meta-reference', keys.group(id), 'the group record is missing', id);
    }
    for (const [key, value] of this.#records) {
      if (key.startsWith(keys.vdiskNames) && !this.vdisks.has(String(value)))
        this.#tell('meta-reference', key, `there is no vdisk ${String(value)}`);
      const isOfVdisk = [keys.groups, keys.attachments, keys.leases].some(prefix => key.startsWith(prefix));
      const id = isOfVdisk ? key.slice(key.lastIndexOf('/') + 1) : null;
      if (id === null) continue;
      if (!this.#records.has(keys.vdisk(id))) this.#tell('meta-reference', key, `there is no vdisk ${id}`);
      else if ((value as { vdiskId?: unknown }).vdiskId !== id) this.#tell('meta-reference', key, 'the record is of another vdisk');
    }
  }

  #tell(code: string, key: string, message: string, vdiskId: string | null = vdiskOfKey(key)): void {
    this.findings.push({ severity: 'error', code, key, vdiskId, message });
  }
}
