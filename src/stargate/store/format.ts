import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import type { BlockState } from '../core/ports.js';
import { placeSeed } from './chunk.js';
import { StoreError } from './errors.js';
import { MAX_VDISK_ID_BYTES } from './limits.js';

/**
 * Keys and the small records of the block store; chunk records are in chunk.ts. Keys are big-endian, so that they sort by
 * number; records little-endian. Each record has its version at byte 0 and at byte 4 its CRC32C, computed with that field zero
 * and seeded with the key's numbers.
 *
 * ```
 * key 00                                   format    'GPSTORE\0' at 8, u32 version at 16
 * key 01                                   counter   u32 next layer at 8
 * key 02 u32 layer                         layer     u8 flags at 1 (1 = being deleted), u16 length at 8, vdisk id in UTF-8 at 10
 * key 03 u32 layer, u32 segment            segment   u8 base state at 1, u32 data blocks at 8, u48 drainSeq at 12, u48 base seq at 18
 * key 04 u32 layer, u32 segment, u16 chunk chunk
 * ```
 * A segment's blocks whose chunk has no record have the segment's base state and seq: a trim of a whole segment is one small record.
 */
export const KeyKind = { format: 0, counter: 1, layer: 2, segment: 3, chunk: 4 } as const;
export const FORMAT_VERSION = 1;
export const RECORD_VERSION = 1;
const MAGIC = 'GPSTORE\0';
const DELETING = 1;
const FORMAT_BYTES = 20;
const COUNTER_BYTES = 12;
const LAYER_HEADER_BYTES = 10;
export const SEGMENT_BYTES_ON_DISK = 24;
const CHUNK_KEY_BYTES = 11;
assert.equal(CHUNK_KEY_BYTES, 1 + 4 + 4 + 2);

export interface LayerRecord {
  readonly vdiskId: string;
  readonly deleting: boolean;
}

export interface SegmentRecord {
  drainSeq: number;
  dataBlocks: number;
  baseState: BlockState;
  baseSeq: number;
}

export const formatKey = Buffer.from([KeyKind.format]);
export const counterKey = Buffer.from([KeyKind.counter]);

export function layerKey(layer: number): Buffer {
  const key = Buffer.alloc(5);
  key[0] = KeyKind.layer;
  key.writeUInt32BE(layer, 1);
  return key;
}

export function segmentKey(layer: number, segment: number): Buffer {
  const key = Buffer.alloc(9);
  key[0] = KeyKind.segment;
  key.writeUInt32BE(layer, 1);
  key.writeUInt32BE(segment, 5);
  return key;
}

export function chunkKey(layer: number, segment: number, chunk: number): Buffer {
  return fillChunkKey(Buffer.alloc(CHUNK_KEY_BYTES), layer, segment, chunk);
}

/** As `chunkKey`, into a buffer of 11 bytes that is used again and again. */
export function fillChunkKey(key: Buffer, layer: number, segment: number, chunk: number): Buffer {
  key[0] = KeyKind.chunk;
  key.writeUInt32BE(layer, 1);
  key.writeUInt32BE(segment, 5);
  key.writeUInt16BE(chunk, 9);
  return key;
}

/** First key above all keys that begin with `prefix`. */
export function keyAfter(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i] !== 0xff) {
      end[i]!++;
      return end.subarray(0, i + 1);
    }
  }
  return assert.fail('no key lies above');
}

export interface ParsedKey {
  readonly kind: number;
  readonly layer: number;
  readonly segment: number;
  readonly chunk: number;
}

const KEY_BYTES: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 5, 3: 9, 4: CHUNK_KEY_BYTES };

/** Null for bytes that are no key of ours. */
export function parseKey(key: Uint8Array): ParsedKey | null {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const kind = key[0] ?? -1;
  if (KEY_BYTES[kind] !== key.length) return null;
  return {
    kind,
    layer: key.length >= 5 ? view.getUint32(1) : -1,
    segment: key.length >= 9 ? view.getUint32(5) : -1,
    chunk: key.length >= 11 ? view.getUint16(9) : -1,
  };
}

export function encodeFormat(): Buffer {
  const record = Buffer.alloc(FORMAT_BYTES);
  record.write(MAGIC, 8, 'latin1');
  record.writeUInt32LE(FORMAT_VERSION, 16);
  return seal(record, 0);
}

/** Throws `ERR_STORE_FORMAT` unless it is a format that this version reads. */
export function checkFormat(record: Uint8Array): void {
  const bytes = Buffer.from(record);
  if (bytes.length < FORMAT_BYTES || bytes.toString('latin1', 8, 16) !== MAGIC) {
    throw new StoreError('ERR_STORE_FORMAT', 'this is not a Gatepath block store; name an empty directory or one of Gatepath');
  }
  const version = bytes.readUInt32LE(16);
  if (version !== FORMAT_VERSION) {
    throw new StoreError(
      'ERR_STORE_FORMAT',
      `the block store has format version ${version}, this program reads ${FORMAT_VERSION}; use the program that wrote it, or a newer one`,
    );
  }
  unseal(bytes, 0, 'format record');
}

export function encodeCounter(nextLayer: number): Buffer {
  const record = Buffer.alloc(COUNTER_BYTES);
  record.writeUInt32LE(nextLayer, 8);
  return seal(record, 0);
}

export function decodeCounter(record: Uint8Array): number {
  return unseal(Buffer.from(record), 0, 'layer counter', COUNTER_BYTES).readUInt32LE(8);
}

export function encodeLayer(layer: number, value: LayerRecord): Buffer {
  const id = Buffer.from(value.vdiskId, 'utf8');
  assert(id.length > 0 && id.length <= MAX_VDISK_ID_BYTES, `a vdisk id has 1 to ${MAX_VDISK_ID_BYTES} bytes`);
  const record = Buffer.alloc(LAYER_HEADER_BYTES + id.length);
  record[1] = value.deleting ? DELETING : 0;
  record.writeUInt16LE(id.length, 8);
  id.copy(record, LAYER_HEADER_BYTES);
  return seal(record, placeSeed(layer, 0, 0));
}

export function decodeLayer(layer: number, record: Uint8Array): LayerRecord {
  const bytes = unseal(Buffer.from(record), placeSeed(layer, 0, 0), `record of layer ${layer}`, LAYER_HEADER_BYTES);
  if (bytes.length !== LAYER_HEADER_BYTES + bytes.readUInt16LE(8))
    throw new StoreError('ERR_STORE_RECORD', `record of layer ${layer}: length`);
  return { vdiskId: bytes.toString('utf8', LAYER_HEADER_BYTES), deleting: (bytes[1]! & DELETING) !== 0 };
}

export function encodeSegment(layer: number, segment: number, value: SegmentRecord): Buffer {
  const record = Buffer.alloc(SEGMENT_BYTES_ON_DISK);
  record[1] = value.baseState;
  record.writeUInt32LE(value.dataBlocks, 8);
  record.writeUIntLE(value.drainSeq, 12, 6);
  record.writeUIntLE(value.baseSeq, 18, 6);
  return seal(record, placeSeed(layer, segment, 0));
}

export function decodeSegment(layer: number, segment: number, record: Uint8Array): SegmentRecord {
  const bytes = unseal(Buffer.from(record), placeSeed(layer, segment, 0), `record of segment ${layer}/${segment}`, SEGMENT_BYTES_ON_DISK);
  return {
    baseState: bytes[1] as BlockState,
    dataBlocks: bytes.readUInt32LE(8),
    drainSeq: bytes.readUIntLE(12, 6),
    baseSeq: bytes.readUIntLE(18, 6),
  };
}

function seal(record: Buffer, seed: number): Buffer {
  record[0] = RECORD_VERSION;
  record.writeUInt32LE(0, 4);
  record.writeUInt32LE(crc32c(record, seed), 4);
  return record;
}

/** `record` is the caller's own copy. */
function unseal(record: Buffer, seed: number, what: string, atLeastBytes = 8): Buffer {
  if (record.length < atLeastBytes) throw new StoreError('ERR_STORE_RECORD', `${what}: ${record.length} bytes`);
  if (record[0] !== RECORD_VERSION) throw new StoreError('ERR_STORE_RECORD', `${what}: version ${record[0]}`);
  const stored = record.readUInt32LE(4);
  record.writeUInt32LE(0, 4);
  if (crc32c(record, seed) !== stored) throw new StoreError('ERR_STORE_RECORD', `${what}: checksum differs`);
  return record;
}
