import { BLOCK_BYTES, MAX_SECTOR_VERSIONS, SECTOR_BYTES } from './limits.js';
import type { Random } from './random.js';

const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES;
/** All zero; never written. */
const ZEROES = new Uint8Array(SECTOR_BYTES);

/** A state that an unsynced sector had. */
interface Version {
  sequence: number;
  content: Uint8Array;
}

interface Unsynced {
  /** What is on the medium for certain; overtaken only by a sync. */
  stable: Uint8Array;
  readonly versions: Version[];
}

/**
 * Content of one simulated file: what the running process sees, and for each sector that no sync covers the states that a power cut may
 * leave. Changes are counted; a sync covers those up to the count at its call.
 */
export class Inode {
  sizeBytes = 0;
  sequence = 0;
  /** Blocks that have space: with content, or null where it is all zero. */
  readonly #blocks = new Map<number, Uint8Array | null>();
  readonly #unsynced = new Map<number, Unsynced>();
  #stableSize = 0;
  /** Changes of the size since the last sync, ascending. */
  #sizes: { sequence: number; sizeBytes: number }[] = [];
  #syncCalledAt = 0;

  get allocatedBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  /** Sectors that a power cut may take back. */
  get unsyncedSectors(): number {
    return this.#unsynced.size;
  }

  /** Bytes read: short at the end of the file. */
  read(target: Uint8Array, atBytes: number): number {
    const count = Math.max(0, Math.min(target.length, this.sizeBytes - atBytes));
    for (let done = 0; done < count;) {
      const within = (atBytes + done) % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - within, count - done);
      const block = this.#blocks.get((atBytes + done - within) / BLOCK_BYTES);
      if (block == null) target.fill(0, done, done + length);
      else target.set(block.subarray(within, within + length), done);
      done += length;
    }
    return count;
  }

  /** Blocks that writing the range would newly take. */
  missingBlocks(atBytes: number, lengthBytes: number): number {
    let missing = 0;
    const last = Math.floor((atBytes + lengthBytes - 1) / BLOCK_BYTES);
    for (let index = Math.floor(atBytes / BLOCK_BYTES); index <= last; index++) if (!this.#blocks.has(index)) missing++;
    return missing;
  }

  write(data: Uint8Array, atBytes: number): void {
    this.sequence++;
    this.#keepSectors(atBytes, data.length, true);
    for (let done = 0; done < data.length;) {
      const within = (atBytes + done) % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - within, data.length - done);
      this.#blockForWrite((atBytes + done - within) / BLOCK_BYTES).set(data.subarray(done, done + length), within);
      done += length;
    }
    this.#addVersions(atBytes, data.length);
    if (atBytes + data.length > this.sizeBytes) this.#setSize(atBytes + data.length);
  }

  truncate(sizeBytes: number): void {
    this.sequence++;
    if (sizeBytes < this.sizeBytes) this.#clear(sizeBytes, this.sizeBytes - sizeBytes, true);
    this.#setSize(sizeBytes);
  }

  /** Space for the range, zero where it had none; longer with `extend`. */
  preallocate(atBytes: number, lengthBytes: number, extend: boolean): void {
    this.sequence++;
    const last = Math.floor((atBytes + lengthBytes - 1) / BLOCK_BYTES);
    for (let index = Math.floor(atBytes / BLOCK_BYTES); index <= last; index++) {
      if (!this.#blocks.has(index)) this.#blocks.set(index, null);
    }
    if (extend && atBytes + lengthBytes > this.sizeBytes) this.#setSize(atBytes + lengthBytes);
  }

  /** The range becomes zero, and whole blocks give their space back. The size stays. */
  punch(atBytes: number, lengthBytes: number): void {
    this.sequence++;
    this.#clear(atBytes, lengthBytes, true);
  }

  zero(atBytes: number, lengthBytes: number): void {
    this.sequence++;
    this.#clear(atBytes, lengthBytes, false);
    this.preallocate(atBytes, lengthBytes, true);
  }

  /** Call of a sync; its completion calls {@link syncTo} with what this returns. */
  beginSync(): number {
    this.#syncCalledAt = this.sequence;
    return this.sequence;
  }

  /** All changes up to `sequence` are on the medium. */
  syncTo(sequence: number): void {
    for (const [sector, unsynced] of this.#unsynced) {
      const { versions } = unsynced;
      let covered = 0;
      while (covered < versions.length && versions[covered]!.sequence <= sequence) covered++;
      if (covered === 0) continue;
      unsynced.stable = versions[covered - 1]!.content;
      if (covered === versions.length) this.#unsynced.delete(sector);
      else versions.splice(0, covered);
    }
    while (this.#sizes.length > 0 && this.#sizes[0]!.sequence <= sequence) this.#stableSize = this.#sizes.shift()!.sizeBytes;
  }

  /** The range as it is now is on the medium, and as much of the size as it takes to find it. */
  syncRange(atBytes: number, lengthBytes: number): void {
    for (let sector = Math.floor(atBytes / SECTOR_BYTES); sector * SECTOR_BYTES < atBytes + lengthBytes; sector++) {
      this.#unsynced.delete(sector);
    }
    this.#stableSize = Math.max(this.#stableSize, atBytes + lengthBytes);
    // An older change of the size must not shorten what was just promised.
    for (const change of this.#sizes) change.sizeBytes = Math.max(change.sizeBytes, Math.min(this.sizeBytes, this.#stableSize));
  }

  /** What the power cut leaves becomes the content, and stable. */
  powerCut(random: Random): void {
    this.sequence++;
    const sizes = [this.#stableSize, ...this.#sizes.map(one => one.sizeBytes)];
    const chance = [0, 1, 0.5, 0.95, 0.05][Math.floor(random() * 5)]!;
    for (const [sector, { stable, versions }] of this.#unsynced) {
      // The newest, the old one, or one between: writes that were given up, carried out, or overtaken.
      if (random() < chance) continue;
      const older = random() < 0.7 ? stable : versions[Math.floor(random() * versions.length)]!.content;
      this.#putSector(sector, older);
    }
    this.#unsynced.clear();
    this.#sizes = [];
    const size = sizes[random() < 0.5 ? 0 : Math.floor(random() * sizes.length)]!;
    // Sectors beyond the end come back as zeroes should the file grow again.
    if (size < this.sizeBytes) this.#clear(size, this.sizeBytes - size, true);
    this.#unsynced.clear();
    this.sizeBytes = this.#stableSize = size;
  }

  /** Changes bits on the medium behind everybody's back. */
  flip(atBytes: number, mask: number): void {
    const index = Math.floor(atBytes / BLOCK_BYTES);
    this.#blockForWrite(index)[atBytes % BLOCK_BYTES]! ^= mask;
    const unsynced = this.#unsynced.get(Math.floor(atBytes / SECTOR_BYTES));
    if (unsynced === undefined) return;
    for (const state of [unsynced.stable, ...unsynced.versions.map(one => one.content)]) {
      if (state !== ZEROES) state[atBytes % SECTOR_BYTES]! ^= mask;
    }
  }

  // ---------------------------------------------------------------- sectors

  #setSize(sizeBytes: number): void {
    this.sizeBytes = sizeBytes;
    const last = this.#sizes.at(-1);
    // Merged as sectors are: no sync tells the two apart.
    if (last !== undefined && this.#sizes.length >= MAX_SECTOR_VERSIONS && last.sequence > this.#syncCalledAt) this.#sizes.pop();
    this.#sizes.push({ sequence: this.sequence, sizeBytes });
  }

  #clear(atBytes: number, lengthBytes: number, giveBack: boolean): void {
    const end = Math.min(atBytes + lengthBytes, Math.max(this.sizeBytes, atBytes));
    if (end > atBytes) this.#keepSectors(atBytes, end - atBytes, false);
    for (let at = atBytes; at < atBytes + lengthBytes;) {
      const within = at % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - within, atBytes + lengthBytes - at);
      const index = (at - within) / BLOCK_BYTES;
      const block = this.#blocks.get(index);
      if (giveBack && length === BLOCK_BYTES) this.#blocks.delete(index);
      else if (block != null) block.fill(0, within, within + length);
      at += length;
    }
    if (end > atBytes) this.#addVersions(atBytes, end - atBytes);
  }

  /** Before a change: sectors that were stable remember what they were. `all`: those that are zero, too. */
  #keepSectors(atBytes: number, lengthBytes: number, all: boolean): void {
    for (let sector = Math.floor(atBytes / SECTOR_BYTES); sector * SECTOR_BYTES < atBytes + lengthBytes; sector++) {
      if (this.#unsynced.has(sector)) continue;
      const stable = this.#sector(sector);
      if (all || stable !== ZEROES) this.#unsynced.set(sector, { stable, versions: [] });
    }
  }

  #addVersions(atBytes: number, lengthBytes: number): void {
    for (let sector = Math.floor(atBytes / SECTOR_BYTES); sector * SECTOR_BYTES < atBytes + lengthBytes; sector++) {
      const unsynced = this.#unsynced.get(sector);
      if (unsynced === undefined) continue;
      const { versions } = unsynced;
      const last = versions.at(-1);
      // One that no sync under way can mean may be forgotten.
      if (last !== undefined && versions.length >= MAX_SECTOR_VERSIONS && last.sequence > this.#syncCalledAt) versions.pop();
      versions.push({ sequence: this.sequence, content: this.#sector(sector) });
    }
  }

  /** A copy, or ZEROES itself where there is no content. */
  #sector(sector: number): Uint8Array {
    const block = this.#blocks.get(Math.floor(sector / SECTORS_PER_BLOCK));
    if (block == null) return ZEROES;
    const from = (sector % SECTORS_PER_BLOCK) * SECTOR_BYTES;
    return block.slice(from, from + SECTOR_BYTES);
  }

  #putSector(sector: number, content: Uint8Array): void {
    const index = Math.floor(sector / SECTORS_PER_BLOCK);
    if (content === ZEROES && this.#blocks.get(index) == null) return;
    this.#blockForWrite(index).set(content, (sector % SECTORS_PER_BLOCK) * SECTOR_BYTES);
  }

  #blockForWrite(index: number): Uint8Array {
    let block = this.#blocks.get(index);
    if (block == null) {
      block = new Uint8Array(BLOCK_BYTES);
      this.#blocks.set(index, block);
    }
    return block;
  }
}
