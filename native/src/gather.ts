import { MAX_GATHER } from './engine.js';

/** A list of arena ranges, reused from one use to the next. Neighbours that touch are merged. */
export class Gather {
  readonly offsets = new Float64Array(MAX_GATHER);
  readonly lengths = new Int32Array(MAX_GATHER);
  count = 0;
  totalBytes = 0;

  clear(): void {
    this.count = 0;
    this.totalBytes = 0;
  }

  /** Whether `pieces` more ranges fit for certain. */
  hasRoom(pieces: number): boolean {
    return this.count + pieces <= MAX_GATHER;
  }

  add(offset: number, lengthBytes: number): void {
    const last = this.count - 1;
    this.totalBytes += lengthBytes;
    if (last >= 0 && this.offsets[last]! + this.lengths[last]! === offset) {
      this.lengths[last]! += lengthBytes;
      return;
    }
    if (this.count === MAX_GATHER) throw new RangeError(`more than ${MAX_GATHER} ranges in one gather list`);
    this.offsets[this.count] = offset;
    this.lengths[this.count++] = lengthBytes;
  }
}
