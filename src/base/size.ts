import { GatepathError } from './errors.js';

/** What Gatepath keeps books on: sizes of vdisks are multiples of it. */
export const BLOCK_BYTES = 4096;
/** Largest vdisk: offsets stay exact numbers. */
export const MAX_SIZE_BYTES = 2 ** 53 - 4096;
/** Rounded up to whole blocks. */
export const wholeBlocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40, P: 2 ** 50 };

/** Reads `4096`, `512M`, `10G`: powers of 1024. Throws GatepathError ERR_SIZE. */
export function parseSize(text: string): number {
  const match = /^(\d+)([KMGTP]?)(?:i?B)?$/i.exec(text.trim());
  const action = 'give a number with K, M, G, T or P, like 10G';
  if (match === null) throw new GatepathError('invalid', 'ERR_SIZE', `"${text}" is no size`, action);
  const bytes = Number(match[1]) * UNITS[match[2]!.toUpperCase()]!;
  if (bytes === 0) throw new GatepathError('invalid', 'ERR_SIZE', 'a size of 0 is too small', action);
  if (bytes > MAX_SIZE_BYTES)
    throw new GatepathError(
      'invalid',
      'ERR_SIZE',
      `${text} is more than a vdisk can have (8 PiB less 4 KiB)`,
      'choose a smaller one, like 10G',
    );
  return bytes;
}

/** `10 GiB`, `1.5 MiB`, `512 B`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]!}`;
}
