const EMPTY = 0;
const INITIAL_CAPACITY = 16;
/** With fewer than one place in so many taken the table shrinks. */
const SPARSE = 16;

/**
 * Blocks of one segment that the log holds and the extents do not yet: block → (seq, lsn, crc). Open addressing in typed arrays,
 * 28 bytes a place, doubled when two thirds full. `lsn` −1: the block was zeroed.
 */
export class BlockTable {
  #keys = new Int32Array(INITIAL_CAPACITY);
  #seqs = new Float64Array(INITIAL_CAPACITY);
  #lsns = new Float64Array(INITIAL_CAPACITY);
  #crcs = new Uint32Array(INITIAL_CAPACITY);
  size = 0;
  /** Of them, those that were not zeroed. */
  written = 0;

  /** The block's place for the readers below, or -1. Valid until the next change. */
  find(block: number): number {
    const mask = this.#keys.length - 1;
    for (let i = hash(block) & mask; ; i = (i + 1) & mask) {
      const key = this.#keys[i]!;
      if (key === block + 1) return i;
      if (key === EMPTY) return -1;
    }
  }

  seqAt(place: number): number {
    return this.#seqs[place]!;
  }
  lsnAt(place: number): number {
    return this.#lsns[place]!;
  }
  crcAt(place: number): number {
    return this.#crcs[place]!;
  }

  set(block: number, seq: number, lsn: number, crc: number): void {
    let place = this.find(block);
    if (place < 0) {
      if (++this.size * 3 > this.#keys.length * 2) this.#resize(this.#keys.length * 2);
      place = this.#freePlace(block);
      this.#keys[place] = block + 1;
    } else if (this.#lsns[place]! >= 0) this.written--;
    if (lsn >= 0) this.written++;
    this.#seqs[place] = seq;
    this.#lsns[place] = lsn;
    this.#crcs[place] = crc;
  }

  forEach(visit: (block: number, seq: number, lsn: number, crc: number) => void): void {
    for (let i = 0; i < this.#keys.length; i++) {
      if (this.#keys[i] !== EMPTY) visit(this.#keys[i]! - 1, this.#seqs[i]!, this.#lsns[i]!, this.#crcs[i]!);
    }
  }

  /** Forgets the block at a place that `find` gave. */
  remove(place: number): void {
    const mask = this.#keys.length - 1;
    this.size--;
    if (this.#lsns[place]! >= 0) this.written--;
    // Whoever follows without a gap may stand here because its own place was taken.
    let hole = place;
    for (let i = (place + 1) & mask; this.#keys[i] !== EMPTY; i = (i + 1) & mask) {
      const home = hash(this.#keys[i]! - 1) & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      this.#move(i, hole);
      hole = i;
    }
    this.#keys[hole] = EMPTY;
    if (this.size * SPARSE < this.#keys.length && this.#keys.length >= INITIAL_CAPACITY * 4) this.#resize(this.#keys.length / 4);
  }

  #move(from: number, to: number): void {
    this.#keys[to] = this.#keys[from]!;
    this.#seqs[to] = this.#seqs[from]!;
    this.#lsns[to] = this.#lsns[from]!;
    this.#crcs[to] = this.#crcs[from]!;
  }

  #resize(capacity: number): void {
    const keys = this.#keys;
    const seqs = this.#seqs;
    const lsns = this.#lsns;
    const crcs = this.#crcs;
    this.#keys = new Int32Array(capacity);
    this.#seqs = new Float64Array(capacity);
    this.#lsns = new Float64Array(capacity);
    this.#crcs = new Uint32Array(capacity);
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] === EMPTY) continue;
      const place = this.#freePlace(keys[i]! - 1);
      this.#keys[place] = keys[i]!;
      this.#seqs[place] = seqs[i]!;
      this.#lsns[place] = lsns[i]!;
      this.#crcs[place] = crcs[i]!;
    }
  }

  #freePlace(block: number): number {
    const mask = this.#keys.length - 1;
    let i = hash(block) & mask;
    while (this.#keys[i] !== EMPTY) i = (i + 1) & mask;
    return i;
  }
}

function hash(block: number): number {
  let h = Math.imul(block, 0x9e3779b1);
  h ^= h >>> 15;
  return h;
}
