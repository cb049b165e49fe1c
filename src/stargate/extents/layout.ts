import { crc32c } from '@node-rs/crc32';
import { BLOCK_BYTES } from '../core/ports.js';

/**
 * Where extents lie: `ROOT/LAYER/SEGMENT.ext`, decimal numbers, block b of the segment at byte b × 4096, nothing else in the file. What a
 * block is (absent, data, zero) and its checksum are in the block store. `ROOT/format` is one block: 'GPEXTENT', u32 version at 8, u32
 * CRC32C of bytes 0 to 11 at 12, zeroes.
 */
export const EXTENT_FORMAT_VERSION = 1;
const MAGIC = 'GPEXTENT';

export const formatPath = (root: string) => `${root}/format`;
export const layerPath = (root: string, layer: number) => `${root}/${layer}`;
export const extentPath = (root: string, layer: number, segment: number) => `${root}/${layer}/${segment}.ext`;

/** The segment's number, or -1 for a name that is none of ours. */
export function parseExtentName(name: string): number {
  const match = /^(0|[1-9]\d{0,7})\.ext$/.exec(name);
  return match === null ? -1 : Number(match[1]);
}

/** The layer's number, or -1. */
export function parseLayerName(name: string): number {
  return /^[1-9]\d{0,9}$/.test(name) ? Number(name) : -1;
}

export function encodeExtentFormat(): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(MAGIC, 0, 'latin1');
  block.writeUInt32LE(EXTENT_FORMAT_VERSION, 8);
  block.writeUInt32LE(crc32c(block.subarray(0, 12)), 12);
  return block;
}

/** Codes of the extents' errors. */
export type ExtentErrorCode = 'ERR_EXTENT_FORMAT';

export class ExtentError extends Error {
  constructor(
    readonly code: ExtentErrorCode,
    message: string,
  ) {
    super(message);
    this.name = 'ExtentError';
  }
}

/** Whether the block is a format mark at all, of whatever version. */
export function isExtentFormat(block: Uint8Array): boolean {
  return Buffer.from(block).toString('latin1', 0, 8) === MAGIC;
}

/** Throws `ERR_EXTENT_FORMAT` unless the block is a format that this version reads. */
export function checkExtentFormat(block: Uint8Array, root: string): void {
  const bytes = Buffer.from(block);
  if (!isExtentFormat(bytes) || crc32c(bytes.subarray(0, 12)) !== bytes.readUInt32LE(12)) {
    throw new ExtentError(
      'ERR_EXTENT_FORMAT',
      `${formatPath(root)} is damaged or not of Gatepath; name an empty directory or one of Gatepath`,
    );
  }
  const version = bytes.readUInt32LE(8);
  if (version !== EXTENT_FORMAT_VERSION) {
    throw new ExtentError(
      'ERR_EXTENT_FORMAT',
      `${root} has extent format version ${version}, this program reads ${EXTENT_FORMAT_VERSION}; use the program that wrote it, or a newer one`,
    );
  }
}
