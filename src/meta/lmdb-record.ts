import { crc32c } from '@node-rs/crc32';
import { Packr, unpack } from 'msgpackr';
import type { GatepathError } from '../base/errors.js';
import { DAMAGED_VERSION, damagedRecord, damagedValue } from './damage.js';

/**
 * A record of the metadata store of one node. LMDB has no checksums of its own:
 *
 * ```
 * 0  u8   0xc1, which no msgpack begins with
 * 1  u8   version (1)
 * 2  u16  0
 * 4  u32  CRC32C, little endian, of the key in UTF-8, bytes 0 to 3 and what follows
 * 8  –    msgpack: [version of the record, value]
 * ```
 * Older ones are a msgpack map of `value` and `version` alone; a start writes them anew ({@link isOldRecord}).
 */
export const MetaRecordAt = { mark: 0, version: 1, crc: 4, body: 8 } as const;
const MARK = 0xc1;
const RECORD_VERSION = 1;

export interface StoredRecord {
  readonly value: unknown;
  readonly version: number;
}

const packr = new Packr({ useRecords: false });

export function encodeRecord(key: string, { value, version }: StoredRecord): Buffer {
  const body = packr.pack([version, value]);
  const record = Buffer.alloc(MetaRecordAt.body + body.length);
  record[MetaRecordAt.mark] = MARK;
  record[MetaRecordAt.version] = RECORD_VERSION;
  body.copy(record, MetaRecordAt.body);
  record.writeUInt32LE(crcOf(key, record), MetaRecordAt.crc);
  return record;
}

/** Throws GatepathError `ERR_METADATA` for a record that is damaged, or lies under another key. */
export function decodeRecord(key: string, record: Uint8Array): StoredRecord {
  const why = damageOf(key, record);
  if (why !== null) throw damaged(key, why);
  return bodyOf(record);
}

/** As {@link decodeRecord}; of one that is damaged the value says so, and its version is above all others. */
export function readRecord(key: string, record: Uint8Array): StoredRecord {
  const why = damageOf(key, record);
  return why === null ? bodyOf(record) : { value: damagedValue(why), version: DAMAGED_VERSION };
}

function damageOf(key: string, record: Uint8Array): string | null {
  const bytes = bytesOf(record);
  if (bytes.length <= MetaRecordAt.body || bytes[MetaRecordAt.mark] !== MARK) return 'it is no record';
  if (bytes[MetaRecordAt.version] !== RECORD_VERSION) return `version ${bytes[MetaRecordAt.version]} is not known`;
  return crcOf(key, bytes) === bytes.readUInt32LE(MetaRecordAt.crc) ? null : 'its checksum differs';
}

function bodyOf(record: Uint8Array): StoredRecord {
  const [version, value] = unpack(bytesOf(record).subarray(MetaRecordAt.body)) as [number, unknown];
  return { value, version };
}

const bytesOf = (record: Uint8Array): Buffer => Buffer.from(record.buffer, record.byteOffset, record.byteLength);

export function isOldRecord(record: Uint8Array): boolean {
  return record[MetaRecordAt.mark] !== MARK;
}

/** Throws as {@link decodeRecord}. */
export function decodeOldRecord(key: string, record: Uint8Array): StoredRecord {
  let decoded: unknown;
  try {
    decoded = unpack(record);
  } catch (cause) {
    throw damaged(key, (cause as Error).message);
  }
  const { value, version } = (decoded ?? {}) as Partial<StoredRecord>;
  if (!Number.isSafeInteger(version) || value === undefined) throw damaged(key, 'it is no record');
  return { value, version: version! };
}

function crcOf(key: string, record: Buffer): number {
  return crc32c(record.subarray(MetaRecordAt.body), crc32c(record.subarray(0, MetaRecordAt.crc), crc32c(Buffer.from(key, 'utf8'))));
}

const damaged = (key: string, why: string): GatepathError => damagedRecord({ key, why });
