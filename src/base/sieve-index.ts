import assert from 'node:assert/strict';

/** Words per bucket: owner, low and high word of the number, slot + 1 (0: empty bucket). */
const BUCKET_WORDS = 4;
/** Words per slot, each in an array of its own. */
const SLOT_WORDS = 6;
const NONE = -1;

/** Bits of a slot's word of use. */
const VISITED = 1;
const ORPHAN = 2;
const ONE_PIN = 4;

/**
 * An index from (owner, number) to one of a fixed count of slots, with SIEVE replacement (Zhang et al., NSDI 2024): a first-in-first-out
 * queue whose hand spares what was used since it last passed, so that a scan does not wash out what is in use. Open addressing in
 * typed arrays; nothing is allocated after construction. `owner` is an int32, `number` an exact integer from 0 to 2^53.
 *
 * A pinned slot is never given to another key. If its key is removed or inserted anew, the slot is *orphaned*: it is found no more
 * and becomes free with its last unpin.
 */
export class SieveIndex {
  hits = 0;
  misses = 0;
  evictions = 0;
  readonly #mask: number;
  readonly #buckets: Int32Array;
  /** The key of each slot, for removal by slot. */
  readonly #owner: Int32Array;
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  /** What a hit looks at and changes, in one word of each slot: a visit, the mark of an orphan, and above them the pins. */
  readonly #use: Int32Array;
  /** Neighbours in the queue, towards the newest and towards the oldest. `#newer` also links the free list. */
  readonly #newer: Int32Array;
  readonly #older: Int32Array;
  #newest = NONE;
  #oldest = NONE;
  #hand = NONE;
  #free = NONE;
  #used = 0;
  #pinnedInQueue = 0;

  /**
   * `memory`, zeroed, takes {@link SieveIndex.bytesFor}(slots) from `offset` on. A large index belongs in huge pages: each of its hits
   * is two looks at places that no cache of the processor holds.
   */
  constructor(
    readonly slots: number,
    memory: ArrayBufferLike = new ArrayBuffer(SieveIndex.bytesFor(slots)),
    offset = 0,
  ) {
    const buckets = bucketsFor(slots);
    this.#mask = buckets - 1;
    const take = (words: number): Int32Array => {
      const array = new Int32Array(memory, offset, words);
      offset += words * Int32Array.BYTES_PER_ELEMENT;
      return array;
    };
    this.#buckets = take(buckets * BUCKET_WORDS);
    this.#use = take(slots);
    this.#owner = take(slots);
    this.#low = take(slots);
    this.#high = take(slots);
    this.#newer = take(slots);
    this.#older = take(slots);
    for (let slot = slots - 1; slot >= 0; slot--) {
      this.#newer[slot] = this.#free;
      this.#free = slot;
    }
  }

  static bytesFor(slots: number): number {
    assert(Number.isInteger(slots) && slots > 0 && slots <= 1 << 26, `a sieve index has 1 to 2^26 slots, not ${slots}`);
    return (bucketsFor(slots) * BUCKET_WORDS + slots * SLOT_WORDS) * Int32Array.BYTES_PER_ELEMENT;
  }

  /** Slots that a key leads to. */
  get used(): number {
    return this.#used;
  }

  /** The slot of the key, or -1. Marks it as used. */
  find(owner: number, number: number): number {
    const slot = this.peek(owner, number);
    if (slot === NONE) {
      this.misses++;
      return NONE;
    }
    this.hits++;
    this.#use[slot]! |= VISITED;
    return slot;
  }

  /** As `find`, without a trace. */
  peek(owner: number, number: number): number {
    const bucket = this.#bucketOf(owner, number | 0, (number / 0x1_0000_0000) | 0);
    return this.#buckets[bucket + 3]! - 1;
  }

  /**
   * A slot for the key, which the caller fills: the slot the key has (unless that is pinned), else a free one, else that of a key
   * which is given up. -1 when every slot is pinned; a key that had a pinned slot has none then.
   */
  insert(owner: number, number: number): number {
    const low = number | 0;
    const high = (number / 0x1_0000_0000) | 0;
    let bucket = this.#bucketOf(owner, low, high);
    const present = this.#buckets[bucket + 3]! - 1;
    if (present !== NONE) {
      if (this.#use[present]! < ONE_PIN) {
        this.#use[present]! |= VISITED;
        return present;
      }
      this.#forget(present, bucket);
    }
    if (this.#free === NONE && !this.#evict()) return NONE;
    const slot = this.#free;
    this.#free = this.#newer[slot]!;
    this.#owner[slot] = owner;
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#use[slot] = 0;
    // Looked up again: a removal may have moved buckets.
    bucket = this.#bucketOf(owner, low, high);
    this.#buckets[bucket] = owner;
    this.#buckets[bucket + 1] = low;
    this.#buckets[bucket + 2] = high;
    this.#buckets[bucket + 3] = slot + 1;
    this.#older[slot] = this.#newest;
    this.#newer[slot] = NONE;
    if (this.#newest === NONE) this.#oldest = slot;
    else this.#newer[this.#newest] = slot;
    this.#newest = slot;
    this.#used++;
    return slot;
  }

  pin(slot: number): void {
    const use = this.#use[slot]!;
    if (use < ORPHAN) this.#pinnedInQueue++;
    this.#use[slot] = use + ONE_PIN;
  }

  unpin(slot: number): void {
    const use = this.#use[slot]! - ONE_PIN;
    assert(use >= 0, 'a slot was unpinned more often than pinned');
    this.#use[slot] = use;
    if (use >= ONE_PIN) return;
    if (use < ORPHAN) {
      this.#pinnedInQueue--;
      return;
    }
    this.#use[slot] = 0;
    this.#newer[slot] = this.#free;
    this.#free = slot;
  }

  remove(owner: number, number: number): boolean {
    const bucket = this.#bucketOf(owner, number | 0, (number / 0x1_0000_0000) | 0);
    const slot = this.#buckets[bucket + 3]! - 1;
    if (slot === NONE) return false;
    this.#forget(slot, bucket);
    return true;
  }

  /** Removes the keys of `owner` from `first` on, `count` of them: costs the smaller of `count` and the slots in use. */
  removeRange(owner: number, first: number, count: number): void {
    if (count <= this.#used) {
      for (let i = 0; i < count; i++) this.remove(owner, first + i);
      return;
    }
    for (let slot = this.#oldest; slot !== NONE;) {
      const next = this.#newer[slot]!;
      if (this.#owner[slot] === owner) {
        const number = this.numberOf(slot);
        if (number >= first && number < first + count) this.remove(owner, number);
      }
      slot = next;
    }
  }

  removeOwner(owner: number): void {
    this.removeRange(owner, 0, Number.MAX_SAFE_INTEGER);
  }

  /** The number in the slot's key; of a slot that `find`, `peek` or `insert` gave. */
  numberOf(slot: number): number {
    return this.#high[slot]! * 0x1_0000_0000 + (this.#low[slot]! >>> 0);
  }

  /** Offset of the key's bucket, or of the empty one where it belongs. */
  #bucketOf(owner: number, low: number, high: number): number {
    const buckets = this.#buckets;
    let index = hash(owner, low, high) & this.#mask;
    for (;;) {
      const at = index * BUCKET_WORDS;
      if (buckets[at + 3] === 0) return at;
      if (buckets[at + 1] === low && buckets[at] === owner && buckets[at + 2] === high) return at;
      index = (index + 1) & this.#mask;
    }
  }

  /** Takes the slot out of the queue and its bucket out of the table; the slot becomes free, or an orphan while it is pinned. */
  #forget(slot: number, bucket: number): void {
    const newer = this.#newer[slot]!;
    const older = this.#older[slot]!;
    if (this.#hand === slot) this.#hand = newer;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    this.#used--;
    this.#clearBucket(bucket);
    if (this.#use[slot]! >= ONE_PIN) {
      this.#use[slot]! |= ORPHAN;
      this.#pinnedInQueue--;
      return;
    }
    this.#newer[slot] = this.#free;
    this.#free = slot;
  }

  /** Deletion without tombstones: later entries of the probe run move up into the gap. */
  #clearBucket(bucket: number): void {
    const buckets = this.#buckets;
    let gap = bucket / BUCKET_WORDS;
    let index = gap;
    for (;;) {
      index = (index + 1) & this.#mask;
      const at = index * BUCKET_WORDS;
      if (buckets[at + 3] === 0) break;
      const home = hash(buckets[at]!, buckets[at + 1]!, buckets[at + 2]!) & this.#mask;
      // It may move only if the gap lies on the way from its home to where it is.
      if (((index - home) & this.#mask) < ((index - gap) & this.#mask)) continue;
      const to = gap * BUCKET_WORDS;
      buckets[to] = buckets[at]!;
      buckets[to + 1] = buckets[at + 1]!;
      buckets[to + 2] = buckets[at + 2]!;
      buckets[to + 3] = buckets[at + 3]!;
      gap = index;
    }
    buckets[gap * BUCKET_WORDS + 3] = 0;
  }

  /** Moves the hand from old to new until it meets a slot neither used nor pinned. False when all are pinned. */
  #evict(): boolean {
    if (this.#pinnedInQueue === this.#used) return false;
    let slot = this.#hand === NONE ? this.#oldest : this.#hand;
    while (this.#use[slot] !== 0) {
      this.#use[slot]! &= ~VISITED;
      slot = this.#newer[slot]!;
      if (slot === NONE) slot = this.#oldest;
    }
    this.#hand = slot;
    this.#forget(slot, this.#bucketOf(this.#owner[slot]!, this.#low[slot]!, this.#high[slot]!));
    this.evictions++;
    return true;
  }
}

function bucketsFor(slots: number): number {
  let buckets = 4;
  while (buckets < slots * 2) buckets *= 2;
  return buckets;
}

/** Neighbouring numbers get neighbouring buckets within a group of four: sequential access stays in few cache lines. */
function hash(owner: number, low: number, high: number): number {
  let h = Math.imul((low >>> 2) ^ Math.imul(high, 0x27d4eb2f) ^ Math.imul(owner, 0x9e3779b1), 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 13;
  return (h << 2) | (low & 3);
}
