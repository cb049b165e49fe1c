import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { LmdbImage, type LmdbDamage } from '../../base/lmdb-image.js';
import type { RecordReader } from './records.js';

/**
 * The database of a block store as it lies on the disk, for the offline verifier: opened by the library it would be changed, and a damaged page would end the
 * process.
 */
export class StoreImage implements RecordReader {
  readonly #fd: number;
  readonly #image: LmdbImage;

  /** Throws what `open` throws. */
  constructor(readonly path: string) {
    const fd = openSync(path, 'r');
    this.#fd = fd;
    this.#image = new LmdbImage((atBytes, lengthBytes) => {
      const bytes = Buffer.allocUnsafe(lengthBytes);
      return bytes.subarray(0, readSync(fd, bytes, 0, lengthBytes, atBytes));
    }, fstatSync(fd).size);
  }

  /** Reads all of it. Damage of the database itself: what its pages hold is checked record by record, elsewhere. */
  check(): readonly LmdbDamage[] {
    for (const entry of this.#image.check()) void entry;
    return this.#image.damage;
  }

  get usedBytes(): number {
    return this.#image.usedBytes;
  }

  /** Damage of the pages that have the records up to and without `end`. */
  checkUpTo(end: Buffer): readonly LmdbDamage[] {
    for (const { entries } of this.#image.pages(Buffer.alloc(0), { next: null })) {
      const last = entries.at(-1);
      if (last !== undefined && Buffer.compare(last[0], end) >= 0) break;
    }
    return this.#image.damage;
  }

  get(key: Buffer): Uint8Array | undefined {
    const next = Buffer.concat([key, Buffer.of(0)]);
    for (const [, record] of this.#image.range(key, next)) return record;
    return undefined;
  }

  range(start: Buffer, end: Buffer): Iterable<readonly [Uint8Array, Uint8Array]> {
    return this.#image.range(start, end);
  }

  release(): void {
    // Nobody writes.
  }

  close(): void {
    closeSync(this.#fd);
  }
}
