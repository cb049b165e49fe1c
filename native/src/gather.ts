import { MAX_GATHER } from './engine.js';

/** A list of arena ranges, reused from one use to the next. Neighbours that touch are merged. */
export class Gather {
  readonly offsets: Float64Array;
  readonly lengths: Int32Array;
  count = 0;
  totalBytes = 0;

  /** `capacity`: most ranges, {@link MAX_GATHER} at most. Pooled requests have short lists: a full one takes 12 KiB. */
  constructor(readonly capacity: number = MAX_GATHER) {
    if (!(capacity >= 1 && capacity <= MAX_GATHER)) throw new RangeError(`a gather list holds 1 to ${MAX_GATHER} ranges, not ${capacity}`);
    this.offsets = new Float64Array(capacity);
    this.lengths = new Int32Array(capacity);
  }

  clear(): void {
    this.count = 0;
    this.totalBytes = 0;
  }

  /** Whether `pieces` more ranges fit for certain. */
  hasRoom(pieces: number): boolean {
    return this.count + pieces <= this.capacity;
  }

  add(offset: number, lengthBytes: number): void {
    const last = this.count - 1;
    this.totalBytes += lengthBytes;
    if (last >= 0 && this.offsets[last]! + this.lengths[last]! === offset) {
      this.lengths[last]! += lengthBytes;
      return;
    }
    if (this.count === this.capacity) throw new RangeError(`more than ${this.capacity} ranges in one gather list`);
    this.offsets[this.count] = offset;
    this.lengths[this.count++] = lengthBytes;
  }
}
