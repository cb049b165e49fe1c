import { errno, WRITE_DSYNC, type ClientId, type Engine } from 'uring-engine';
import { encodeSegmentHeader } from './codec.js';
import { PAGE_BYTES } from './limits.js';
import type { Segment } from './segment.js';

/**
 * Writes the header of the segment in which the log goes on. It says where the segment before ended, and that all of it is durable: it goes out when that is
 * true. Crash order: (1) all batches of the old segment durable; (2) header durable: the log goes on here; (3) batches.
 */
export class SegmentHeaders {
  /** Whose header is on its way. */
  #writing: Segment | null = null;

  /** `headerOffset`, a page of the arena, is this object's alone; `headed` is the segment whose header is on stable storage. Completions come by `onWritten`. */
  constructor(
    readonly engine: Engine,
    readonly headerOffset: number,
    readonly client: ClientId,
    readonly tag: number,
    public headed: Segment,
  ) {}

  get busy(): boolean {
    return this.#writing !== null;
  }

  /** No batch is on its way. */
  write(segment: Segment): void {
    if (this.#writing !== null) return;
    this.#writing = segment;
    const { engine, headerOffset } = this;
    encodeSegmentHeader(engine.arena.bytes, engine.arena.view, headerOffset, segment.header);
    engine.write(segment.slot, headerOffset, PAGE_BYTES, 0, WRITE_DSYNC, this.client, this.tag);
  }

  /** Returns 0, or a negative errno: then `headed` stays what it was. */
  onWritten(result: number): number {
    const segment = this.#writing!;
    this.#writing = null;
    if (result !== PAGE_BYTES) return result < 0 ? result : -errno.EIO;
    this.headed = segment;
    return 0;
  }
}
