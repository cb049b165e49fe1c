import { AllocateMode, errno, WRITE_DSYNC, type ClientId, type Engine } from 'uring-engine';
import { encodeSegmentHeader } from './codec.js';
import { newName } from './layout.js';
import { PAGE_BYTES, PREPARE_CHUNK_BYTES, PREPARE_RETRY_DELAY_NS } from './limits.js';
import { freshHeader, publishSegment, Segment, type SegmentPlace } from './segment.js';

const ENOSPC = -28;
const EDQUOT = -122;

export interface PreparerOwner {
  onPrepared(segment: Segment): void;
  /** A write or sync failed: the disk is broken (rule 6). A full file system is not reported: it is tried again. */
  onPrepareFailed(errno: number): void;
}

/**
 * Makes further segment files beside the running log, one at a time, by the engine: allocate → zeroes, chunk by chunk → header → sync →
 * rename and sync of the name. The same crash order as `makeSegment`.
 */
export class SegmentPreparer {
  /** The last attempt found no space. */
  full = false;
  #segment: Segment | null = null;
  #step: 'allocate' | 'zeroes' | 'header' | 'sync' = 'allocate';
  #writtenBytes = 0;
  #notBeforeNs = 0;

  /** `place.headerOffset` is this preparer's alone. Completions come by `onCompletion` from the owner of `client`. */
  constructor(
    readonly engine: Engine,
    readonly place: SegmentPlace,
    readonly client: ClientId,
    readonly tag: number,
    readonly owner: PreparerOwner,
  ) {}

  get busy(): boolean {
    return this.#segment !== null;
  }

  /** False: not now, a moment after a failure for lack of space. */
  start(number: number): boolean {
    if (this.engine.nowNs < this.#notBeforeNs) return false;
    const { files, directory, segmentBytes, fillRandom } = this.place;
    try {
      const slot = files.open(`${directory}/${newName(number)}`, { write: true, create: true, direct: true });
      this.#segment = new Segment(number, slot, freshHeader(segmentBytes, fillRandom));
    } catch (error) {
      this.#noSpace();
      const result = errnoOf(error);
      if (result !== ENOSPC && result !== EDQUOT) this.owner.onPrepareFailed(result);
      return false;
    }
    this.#step = 'allocate';
    this.#writtenBytes = 0;
    this.engine.allocate(this.#segment.slot, AllocateMode.preallocate, 0, segmentBytes, this.client, this.tag);
    return true;
  }

  onCompletion(result: number): void {
    if (result < 0) return this.#failed(result);
    const segment = this.#segment!;
    const { engine, place, client, tag } = this;
    if (this.#step === 'zeroes') this.#writtenBytes += result;
    switch (this.#step) {
      case 'allocate':
      case 'zeroes':
        if (this.#writtenBytes < place.segmentBytes) {
          this.#step = 'zeroes';
          const chunk = Math.min(PREPARE_CHUNK_BYTES, place.segmentBytes - this.#writtenBytes);
          return engine.write(segment.slot, place.zeroesOffset, chunk, this.#writtenBytes, 0, client, tag);
        }
        this.#step = 'header';
        encodeSegmentHeader(place.arena.bytes, place.arena.view, place.headerOffset, segment.header);
        return engine.write(segment.slot, place.headerOffset, PAGE_BYTES, 0, WRITE_DSYNC, client, tag);
      case 'header':
        this.#step = 'sync';
        return engine.sync(segment.slot, client, tag);
      case 'sync':
        return this.#publish(segment);
    }
  }

  #publish(segment: Segment): void {
    try {
      publishSegment(this.place, segment.number);
    } catch (error) {
      this.#segment = null;
      this.place.files.close(segment.slot);
      this.owner.onPrepareFailed(errnoOf(error));
      return;
    }
    this.#segment = null;
    this.full = false;
    this.owner.onPrepared(segment);
  }

  #failed(result: number): void {
    const segment = this.#segment!;
    this.#segment = null;
    this.#noSpace();
    const { files, directory } = this.place;
    try {
      files.close(segment.slot);
      files.remove(`${directory}/${newName(segment.number)}`);
    } catch {
      // What stays is removed by the next start.
    }
    if (result !== ENOSPC && result !== EDQUOT) this.owner.onPrepareFailed(result);
  }

  #noSpace(): void {
    this.full = true;
    this.#notBeforeNs = this.engine.nowNs + PREPARE_RETRY_DELAY_NS;
  }
}

/** Negative errno of an error of the engine's file system, whose `code` is the errno's name; -EIO for any other. */
export function errnoOf(error: unknown): number {
  const { code } = error as { code?: string };
  return -((errno as Readonly<Record<string, number>>)[code ?? ''] ?? errno.EIO);
}
