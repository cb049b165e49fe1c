import { constants, rmSync, statSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_SEGMENT_BYTES } from '../stargate/oplog/limits.js';
import { spaceOf } from './space.js';

/** For deletions, which write some pages of the databases. */
export const DELETION_RESERVE_BYTES = 16 << 20;
/** For starts: small files; and a start after a kill may need a segment more for each stream of a full log. */
export const startReserveBytes = (streams: number): number => (16 << 20) + streams * DEFAULT_SEGMENT_BYTES;
const CHUNK_BYTES = 1 << 20;
const { O_WRONLY, O_CREAT, O_TRUNC, O_DSYNC } = constants;
/** How often a reserve that has been given up is looked after. */
const LOOK_MS = 5_000;

/**
 * A file that is nothing but space: given up where a start or a deletion would find a full file system, and made again when there is plenty. What is written meanwhile may take the room, so it
 * is there for those that come first.
 */
export class SpaceReserve {
  readonly #path: string;
  #timer: NodeJS.Timeout | null = null;
  #isMaking = false;
  #isThere = false;

  constructor(
    readonly directory: string,
    name: 'reserve-deletion' | 'reserve-start',
    readonly bytes: number,
  ) {
    this.#path = join(directory, name);
  }

  /** The file system is full: the reserve is given up. Otherwise nothing happens. */
  makeRoom(): void {
    if (spaceOf(this.directory).freeBytes >= this.bytes / 2) return;
    this.#isThere = false;
    rmSync(this.#path, { force: true });
  }

  /** From here on it is made where it is missing. */
  keep(): void {
    void this.#look();
    this.#timer = setInterval(() => void this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  async #look(): Promise<void> {
    if (this.#isThere || this.#isMaking) return;
    // Of an earlier start: whole since it has its name.
    this.#isThere = statSync(this.#path, { throwIfNoEntry: false })?.size === this.bytes;
    if (this.#isThere || spaceOf(this.directory).freeBytes < 2 * this.bytes) return;
    this.#isMaking = true;
    const made = `${this.#path}.new`;
    try {
      // Each piece on the disk before the next: all at once would hold up for 100 ms and more whoever else writes to that disk.
      const file = await open(made, O_WRONLY | O_CREAT | O_TRUNC | O_DSYNC, 0o600);
      try {
        const zeroes = Buffer.alloc(CHUNK_BYTES);
        for (let at = 0; at < this.bytes; at += CHUNK_BYTES) await file.write(zeroes, 0, CHUNK_BYTES, at);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(made, this.#path);
      this.#isThere = true;
    } catch {
      // No room for it after all: later.
      rmSync(made, { force: true });
    }
    this.#isMaking = false;
  }
}
