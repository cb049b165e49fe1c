import { statfsSync } from 'node:fs';

/** Of the file system that a data directory is in. */
export function spaceOf(directory: string): { readonly freeBytes: number; readonly totalBytes: number } {
  const { bavail, blocks, bsize } = statfsSync(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}
