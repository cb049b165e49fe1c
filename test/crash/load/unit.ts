import { crc32 } from 'node:zlib';

/**
 * One unit of the verified load: a block of 4096 bytes, or of 512 where writes smaller than the product's block are wanted.
 * A unit says which one it is, which write put it there, and carries a checksum, so that a lost, stale, misplaced or torn one is told apart.
 *
 *   0  u64  "GPVLOAD1"
 *   8  f64  unit number
 *  16  f64  sequence number of the write
 *  24  u32  salt of the run
 *  28  u32  CRC-32 of the unit with this field zero
 *  32       words derived from all of that
 */
const MAGIC = Buffer.from('GPVLOAD1').readBigUInt64LE();
const HEADER_BYTES = 32;

export type UnitContent =
  | { readonly kind: 'zero' }
  | { readonly kind: 'written'; readonly unit: number; readonly seq: number }
  | { readonly kind: 'garbage'; readonly why: string };

export function fillUnit(target: Buffer, unit: number, seq: number, salt: number): void {
  target.writeBigUInt64LE(MAGIC, 0);
  target.writeDoubleLE(unit, 8);
  target.writeDoubleLE(seq, 16);
  target.writeUInt32LE(salt, 24);
  target.writeUInt32LE(0, 28);
  let word = (Math.imul(unit + 1, 0x9e3779b1) ^ Math.imul(seq, 0x85ebca6b) ^ salt) | 1;
  for (let at = HEADER_BYTES; at < target.length; at += 4) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    target.writeInt32LE(word, at);
  }
  target.writeUInt32LE(crc32(target), 28);
}

export function readUnit(source: Buffer, salt: number): UnitContent {
  if (source.readBigUInt64LE(0) !== MAGIC) {
    return isZero(source) ? { kind: 'zero' } : { kind: 'garbage', why: `no magic: ${source.subarray(0, HEADER_BYTES).toString('hex')}` };
  }
  const unit = source.readDoubleLE(8);
  const seq = source.readDoubleLE(16);
  const copy = Buffer.from(source);
  const stored = copy.readUInt32LE(28);
  copy.writeUInt32LE(0, 28);
  if (crc32(copy) !== stored) return { kind: 'garbage', why: `torn: header of unit ${unit}, write ${seq}, checksum differs` };
  if (source.readUInt32LE(24) !== salt) return { kind: 'garbage', why: `of another run: unit ${unit}, write ${seq}` };
  return { kind: 'written', unit, seq };
}

function isZero(source: Buffer): boolean {
  for (let at = 0; at < source.length; at++) if (source[at] !== 0) return false;
  return true;
}
