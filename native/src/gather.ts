import { MAX_GATHER, MAX_TRANSFER_BYTES } from './engine.js';
import { EngineError } from './errors.js';

/** A list of arena ranges, reused from one use to the next. Neighbours that touch are merged. */
export class Gather {
  readonly offsets: Float64Array;
  readonly lengths: Int32Array;
  count = 0;
  totalBytes = 0;

  /** `capacity`: most ranges, {@link MAX_GATHER} at most. Pooled requests have short lists: a full one takes 12 KiB. */
  constructor(readonly capacity: number = MAX_GATHER) {
    if (!(Number.isInteger(capacity) && capacity >= 1 && capacity <= MAX_GATHER))
      throw new EngineError('ERR_ARGUMENT', `a gather list holds 1 to ${MAX_GATHER} ranges, not ${capacity}`);
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

  /** Appends a range. Throws ERR_ARGUMENT where the list is full or its total is too much; whether the range is in the arena is checked by `send`. */
  add(offset: number, lengthBytes: number): void {
    if (!(lengthBytes > 0 && this.totalBytes + lengthBytes <= MAX_TRANSFER_BYTES)) {
      throw new EngineError('ERR_ARGUMENT', `a range of ${lengthBytes} bytes does not go into a gather list of ${this.totalBytes}`);
    }
    const last = this.count - 1;
    if (last >= 0 && this.offsets[last]! + this.lengths[last]! === offset) {
      this.lengths[last]! += lengthBytes;
    } else {
      if (this.count === this.capacity) throw new EngineError('ERR_ARGUMENT', `more than ${this.capacity} ranges in one gather list`);
      this.offsets[this.count] = offset;
      this.lengths[this.count++] = lengthBytes;
    }
    this.totalBytes += lengthBytes;
  }
}
