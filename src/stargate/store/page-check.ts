import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { EventDraft } from '../../base/events.js';
import { LmdbImage, type LmdbDamage } from '../../base/lmdb-image.js';
import { CHECK_PAGES, CHECK_REREADS, CHECK_REST_MS, CHECK_START_MS, MAX_CHECK_TOLD } from './limits.js';
import { openDatabase, type StoreDatabase } from './lmdb.js';
import { recordProblem } from './verify.js';

export interface PageCheckOptions {
  /** Of the database: the store thread has opened it before. */
  readonly directory: string;
  /** 0: nothing is read, until {@link PageCheck.setRate}. */
  readonly bytesPerSecond: number;
  /** Once for each page and record. */
  readonly onDamage: (damage: LmdbDamage) => void;
  readonly startMs?: number;
  readonly restMs?: number;
}

export interface PageCheckProgress {
  /** Times that all has been read since the start. */
  readonly passes: number;
  /** Of the pass that is under way. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Pages and records that were found damaged since the start. */
  readonly damaged: number;
}

/** What is read at once: pages of the tree from one key on. */
interface Piece {
  readonly damage: readonly LmdbDamage[];
  readonly pages: number;
  /** Where the next one begins; null: this was the last one. */
  readonly next: Uint8Array | null;
}

/**
 * Reads the pages of the block store's database, again and again, slowly, while shards read it and the store thread writes: so a damaged page is known before somebody steps on
 * it. The library itself checks nothing. A piece at a time, each in a snapshot of its own, which keeps its pages from being used again: one for the whole pass would make the file
 * grow. What only the whole shows (counts, pages used twice, the free list) is for `gatepath verify`. Records of chunks are the scrubber's: it knows whose they are.
 */
export class PageCheck {
  readonly #database: StoreDatabase;
  readonly #path: string;
  readonly #told = new Set<string>();
  /** Null: it is off. */
  #timer: NodeJS.Timeout | null = null;
  #bytesPerSecond: number;
  #pageBytes = 0;
  #from: Uint8Array = Buffer.alloc(0);
  #passes = 0;
  #doneBytes = 0;
  #totalBytes = 0;
  #damaged = 0;

  constructor(readonly options: PageCheckOptions) {
    this.#database = openDatabase(options.directory);
    this.#path = join(options.directory, 'data.mdb');
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#after(options.startMs ?? CHECK_START_MS);
  }

  /** Null: it is off. */
  get progress(): PageCheckProgress | null {
    if (this.#bytesPerSecond === 0) return null;
    return { passes: this.#passes, doneBytes: this.#doneBytes, totalBytes: this.#totalBytes, damaged: this.#damaged };
  }

  /** From the next piece on. Off, and on again, it goes on where it was. */
  setRate(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
    if (this.#timer === null) this.#after(0);
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#database.close();
  }

  #after(ms: number): void {
    this.#timer = this.#bytesPerSecond === 0 ? null : setTimeout(() => this.#step(), ms).unref();
  }

  #step(): void {
    const { damage, pages, next } = this.#settledPiece();
    for (const one of damage) this.#tell(one);
    const bytes = pages * this.#pageBytes;
    this.#doneBytes = Math.min(this.#totalBytes, this.#doneBytes + bytes);
    this.#from = next ?? Buffer.alloc(0);
    if (next !== null) return this.#after(Math.ceil((bytes * 1_000) / this.#bytesPerSecond));
    this.#passes++;
    this.#doneBytes = 0;
    this.#after(this.options.restMs ?? CHECK_REST_MS);
  }

  /** Damaged it is only if it reads so each time: others write to the file, and its two beginnings change under whoever reads them. */
  #settledPiece(): Piece {
    for (let reads = 1; ; reads++) {
      const piece = this.#piece();
      if (piece.damage.length === 0 || reads > CHECK_REREADS) return piece;
    }
  }

  #piece(): Piece {
    this.#database.resetReadTxn();
    // What was read before this is newer, or the same: nobody writes over its pages as long as this is held.
    const snapshot = this.#database.useReadTransaction();
    const fd = openSync(this.#path, 'r');
    try {
      const { size } = fstatSync(fd);
      const image = new LmdbImage((atBytes, lengthBytes) => {
        const bytes = Buffer.allocUnsafe(lengthBytes);
        return bytes.subarray(0, readSync(fd, bytes, 0, lengthBytes, atBytes));
      }, size);
      this.#pageBytes = image.pageBytes;
      if (this.#from.length === 0) this.#totalBytes = image.usedBytes;
      return readPiece(image, this.#from);
    } finally {
      closeSync(fd);
      snapshot.done();
      this.#database.resetReadTxn();
    }
  }

  #tell(damage: LmdbDamage): void {
    const name = `${damage.page} ${damage.message}`;
    if (this.#told.has(name) || this.#told.size >= MAX_CHECK_TOLD) return;
    this.#told.add(name);
    this.#damaged++;
    this.options.onDamage(damage);
  }
}

export function storeDamaged({ page, message }: LmdbDamage): EventDraft {
  return {
    kind: 'rot-found',
    severity: 'error',
    vdiskId: null,
    cause: `the database of the block store is damaged${page < 0 ? '' : `, page ${page}`}: ${message}`,
    action:
      'what is running may go on, or end where it needs the page: see to backups or other copies, stop the node, and run "gatepath verify"',
    details: { page },
  };
}

function readPiece(image: LmdbImage, from: Uint8Array): Piece {
  const records: LmdbDamage[] = [];
  const position: { next: Uint8Array | null } = { next: null };
  let pages = 0;
  for (const { page, entries } of image.pages(from, position)) {
    for (const [key, record] of entries) {
      const message = recordProblem(key, record);
      if (message !== null) records.push({ page, message });
    }
    if (++pages >= CHECK_PAGES) break;
  }
  return { damage: [...image.damage, ...records], pages, next: position.next };
}
