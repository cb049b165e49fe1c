import { BLOCK_BYTES, MAX_BLOCK_VERSIONS, SECTOR_BYTES } from './limits.js';
import type { Random } from './random.js';

/** A block's bytes, never changed once they are here; null: zeroes. */
type Content = Uint8Array | null;

/** A state that an unsynced block had. */
interface Version {
  sequence: number;
  content: Content;
}

interface Unsynced {
  /** What is on the medium for certain. */
  stable: Content;
  /** Ascending; the last one is what the running process sees. */
  readonly versions: Version[];
}

interface SizeChange {
  sequence: number;
  sizeBytes: number;
}

const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES;
const ZEROES = new Uint8Array(BLOCK_BYTES);
/** Contents are cut from pieces of so many blocks: memory of their own for each would cost more than all that is done with them. */
const SLAB_BLOCKS = 32;
/** Of a change that a failed sync was to cover: no later sync writes it, as no kernel does. */
const FORSAKEN = Infinity;

/**
 * Content of one simulated file: what the running process sees, and for each block that no sync covers the states from which a power
 * cut chooses, sector by sector. Changes are counted; a sync covers those up to the count at its call.
 */
export class Inode {
  /** Where it is, or was last: what faults and observers call it. */
  path = '';
  sizeBytes = 0;
  #sequence = 0;
  /** Blocks that have space. */
  readonly #blocks = new Map<number, Content>();
  readonly #unsynced = new Map<number, Unsynced>();
  #stableSize = 0;
  /** Changes of the size that no sync covers, ascending. */
  #sizes: SizeChange[] = [];
  #syncCalledAt = 0;

  get allocatedBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  /** Blocks that a power cut may change. */
  get unsyncedBlocks(): number {
    return this.#unsynced.size;
  }

  /** Bytes read: short at the end of the file. */
  read(target: Uint8Array, atBytes: number): number {
    const count = Math.max(0, Math.min(target.length, this.sizeBytes - atBytes));
    forBlocks(atBytes, count, (index, within, length, done) => {
      const content = this.#blocks.get(index);
      if (content == null) target.fill(0, done, done + length);
      else target.set(content.subarray(within, within + length), done);
    });
    return count;
  }

  /** Where space (or a hole) begins, from there on; the size where nothing does. */
  next(fromBytes: number, withSpace: boolean): number {
    let at = fromBytes;
    while (at < this.sizeBytes && this.#blocks.has(Math.floor(at / BLOCK_BYTES)) !== withSpace)
      at = (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES;
    return Math.min(at, this.sizeBytes);
  }

  /** Blocks that writing the range would newly take. */
  missingBlocks(atBytes: number, lengthBytes: number): number {
    let missing = 0;
    forBlocks(atBytes, lengthBytes, index => (missing += this.#blocks.has(index) ? 0 : 1));
    return missing;
  }

  write(data: Uint8Array, atBytes: number): void {
    this.#sequence++;
    this.#put(data, atBytes, (index, next) => this.#change(index, next));
    if (atBytes + data.length > this.sizeBytes) this.#setSize(atBytes + data.length);
  }

  /** As {@link write}, and on the medium at once, with as much of the size as it takes to find it. */
  writeDurable(data: Uint8Array, atBytes: number): void {
    this.#sequence++;
    const end = atBytes + data.length;
    this.#put(data, atBytes, (index, next, within, length) => {
      this.#blocks.set(index, next);
      this.#settle(index, next, within, length);
    });
    if (end > this.sizeBytes) this.sizeBytes = end;
    this.#stableSize = Math.max(this.#stableSize, end);
    // An older change of the size must not shorten what was just promised.
    for (const change of this.#sizes) change.sizeBytes = Math.max(change.sizeBytes, end);
  }

  truncate(sizeBytes: number): void {
    this.#sequence++;
    if (sizeBytes < this.sizeBytes) this.#clear(sizeBytes, this.sizeBytes - sizeBytes, true);
    this.#setSize(sizeBytes);
  }

  /** Space for the range, zero where it had none; the file grows with `extend`. */
  preallocate(atBytes: number, lengthBytes: number, extend: boolean): void {
    this.#sequence++;
    forBlocks(atBytes, lengthBytes, index => {
      if (!this.#blocks.has(index)) this.#blocks.set(index, null);
    });
    if (extend && atBytes + lengthBytes > this.sizeBytes) this.#setSize(atBytes + lengthBytes);
  }

  /** The range becomes zero, and whole blocks give their space back. The size stays. */
  punch(atBytes: number, lengthBytes: number): void {
    this.#sequence++;
    this.#clear(atBytes, lengthBytes, true);
  }

  zero(atBytes: number, lengthBytes: number): void {
    this.#sequence++;
    this.#clear(atBytes, lengthBytes, false);
    this.preallocate(atBytes, lengthBytes, true);
  }

  /** At the call of a sync. Its end calls {@link syncTo} with what this returns, or {@link syncFailed}. */
  beginSync(): number {
    this.#syncCalledAt = this.#sequence;
    return this.#sequence;
  }

  /** All changes up to `sequence` are on the medium. */
  syncTo(sequence: number): void {
    for (const [index, unsynced] of this.#unsynced) {
      const covered = unsynced.versions.findLastIndex(version => version.sequence <= sequence);
      if (covered < 0) continue;
      unsynced.stable = unsynced.versions[covered]!.content;
      unsynced.versions.splice(0, covered + 1);
      if (unsynced.versions.length === 0) this.#unsynced.delete(index);
    }
    const covered = this.#sizes.findLastIndex(change => change.sequence <= sequence);
    if (covered < 0) return;
    this.#stableSize = this.#sizes[covered]!.sizeBytes;
    this.#sizes.splice(0, covered + 1);
  }

  /** The sync was reported as failed: what it was to cover is clean for the system from now on, and not on the medium. */
  syncFailed(sequence: number): void {
    for (const { versions } of this.#unsynced.values()) {
      for (const version of versions) if (version.sequence <= sequence) version.sequence = FORSAKEN;
    }
  }

  /** What the power cut leaves becomes the content, and stable. */
  powerCut(random: Random): void {
    const sizes = [this.#stableSize, ...this.#sizes.map(change => change.sizeBytes)];
    const newest = [0, 1, 0.5, 0.95, 0.05][Math.floor(random() * 5)]!;
    const between = random() < 0.5 ? 0 : 0.4;
    for (const [index, unsynced] of this.#unsynced) this.#blocks.set(index, afterCut(unsynced, newest, between, random));
    this.#unsynced.clear();
    this.#sizes = [];
    const size = sizes[random() < 0.5 ? 0 : Math.floor(random() * sizes.length)]!;
    // What lies beyond the end comes back as zeroes should the file grow again.
    if (size < this.sizeBytes) this.#clear(size, this.sizeBytes - size, true);
    this.#unsynced.clear();
    this.sizeBytes = this.#stableSize = size;
  }

  /** Changes bits on the medium behind everybody's back. */
  flip(atBytes: number, mask: number): void {
    const index = Math.floor(atBytes / BLOCK_BYTES);
    const rotten = (content: Content): Uint8Array => {
      const next = copyOf(content);
      next[atBytes % BLOCK_BYTES]! ^= mask;
      return next;
    };
    this.#blocks.set(index, rotten(this.#blocks.get(index) ?? null));
    const unsynced = this.#unsynced.get(index);
    if (unsynced === undefined) return;
    unsynced.stable = rotten(unsynced.stable);
    for (const version of unsynced.versions) version.content = rotten(version.content);
  }

  // ---------------------------------------------------------------- blocks

  #put(data: Uint8Array, atBytes: number, put: (index: number, next: Content, within: number, length: number) => void): void {
    forBlocks(atBytes, data.length, (index, within, length, done) => {
      const piece = length === data.length ? data : data.subarray(done, done + length);
      const isWhole = length === BLOCK_BYTES;
      const old = isWhole ? null : (this.#blocks.get(index) ?? null);
      if (old === null && isZero(piece)) return put(index, null, within, length);
      const next = isWhole ? newContent() : copyOf(old);
      next.set(piece, within);
      put(index, next, within, length);
    });
  }

  /** The block has new content that a power cut may take back. */
  #change(index: number, next: Content): void {
    let unsynced = this.#unsynced.get(index);
    if (unsynced === undefined) {
      unsynced = { stable: this.#blocks.get(index) ?? null, versions: [] };
      this.#unsynced.set(index, unsynced);
    }
    const { versions } = unsynced;
    const last = versions.at(-1);
    // One that no sync under way can mean may be forgotten.
    if (last !== undefined && versions.length >= MAX_BLOCK_VERSIONS && last.sequence > this.#syncCalledAt) versions.pop();
    versions.push({ sequence: this.#sequence, content: next });
    this.#blocks.set(index, next);
  }

  /** The range of the block is on the medium: in each state that a cut may leave. */
  #settle(index: number, next: Content, within: number, length: number): void {
    const unsynced = this.#unsynced.get(index);
    if (unsynced === undefined) return;
    if (length === BLOCK_BYTES) {
      this.#unsynced.delete(index);
      return;
    }
    const settled = (content: Content): Content => {
      const patched = copyOf(content);
      if (next === null) patched.fill(0, within, within + length);
      else patched.set(next.subarray(within, within + length), within);
      return patched;
    };
    unsynced.stable = settled(unsynced.stable);
    for (const version of unsynced.versions) version.content = settled(version.content);
  }

  #clear(atBytes: number, lengthBytes: number, giveBack: boolean): void {
    const end = atBytes + lengthBytes;
    // Ranges are long, files are sparse.
    const first = Math.floor(atBytes / BLOCK_BYTES);
    const last = Math.ceil(end / BLOCK_BYTES) - 1;
    const known = last - first < this.#blocks.size ? null : [...this.#blocks.keys()].filter(index => index >= first && index <= last);
    const clear = (index: number, within: number, length: number): void => {
      if (!this.#blocks.has(index)) return;
      const old = this.#blocks.get(index)!;
      if (length === BLOCK_BYTES) this.#change(index, null);
      else if (old !== null) this.#change(index, copyOf(old).fill(0, within, within + length));
      if (giveBack && length === BLOCK_BYTES) this.#blocks.delete(index);
    };
    if (known === null) return forBlocks(atBytes, lengthBytes, clear);
    for (const index of known) {
      const start = Math.max(atBytes, index * BLOCK_BYTES);
      clear(index, start % BLOCK_BYTES, Math.min(end, (index + 1) * BLOCK_BYTES) - start);
    }
  }

  #setSize(sizeBytes: number): void {
    this.sizeBytes = sizeBytes;
    const last = this.#sizes.at(-1);
    // Merged as blocks are: no sync tells the two apart.
    if (last !== undefined && this.#sizes.length >= MAX_BLOCK_VERSIONS && last.sequence > this.#syncCalledAt) this.#sizes.pop();
    this.#sizes.push({ sequence: this.#sequence, sizeBytes });
  }
}

/** Sector by sector the newest state, the stable one, or one `between`: writes that were carried out, given up, or overtaken. */
function afterCut({ stable, versions }: Unsynced, newest: number, between: number, random: Random): Content {
  const left = copyOf(versions.at(-1)!.content);
  for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
    if (random() < newest) continue;
    const older = random() < between ? versions[Math.floor(random() * versions.length)]!.content : stable;
    const from = sector * SECTOR_BYTES;
    left.set((older ?? ZEROES).subarray(from, from + SECTOR_BYTES), from);
  }
  return left;
}

function isZero(piece: Uint8Array): boolean {
  if (piece[0] !== 0 || piece[piece.length - 1] !== 0) return false;
  return Buffer.compare(piece, piece.length === BLOCK_BYTES ? ZEROES : ZEROES.subarray(0, piece.length)) === 0;
}

let slab = new ArrayBuffer(0);
let slabUsed = 0;

/** Zeroes. */
function newContent(): Uint8Array {
  if (slabUsed === slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BLOCKS * BLOCK_BYTES);
    slabUsed = 0;
  }
  slabUsed += BLOCK_BYTES;
  return new Uint8Array(slab, slabUsed - BLOCK_BYTES, BLOCK_BYTES);
}

function copyOf(content: Content): Uint8Array {
  const copy = newContent();
  if (content !== null) copy.set(content);
  return copy;
}

/** Calls `visit(block, offset in it, length, bytes before)` for each part of the range that lies in one block. */
function forBlocks(
  atBytes: number,
  lengthBytes: number,
  visit: (index: number, within: number, length: number, done: number) => void,
): void {
  for (let done = 0; done < lengthBytes;) {
    const within = (atBytes + done) % BLOCK_BYTES;
    const length = Math.min(BLOCK_BYTES - within, lengthBytes - done);
    visit((atBytes + done - within) / BLOCK_BYTES, within, length, done);
    done += length;
  }
}
