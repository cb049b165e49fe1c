import assert from 'node:assert/strict';
import type { ClientId, Engine } from 'uring-engine';
import type { ReadOwner } from '../core/ports.js';
import { MAX_PAYLOAD_READS } from './limits.js';
import type { Segment } from './segment.js';

class PayloadRead {
  segment: Segment | null = null;
  owner: ReadOwner | null = null;
  tag = 0;

  constructor(readonly index: number) {}
}

/** Reads of payloads under way; each pins its segment. */
export class PayloadReads {
  outstanding = 0;
  readonly #reads: PayloadRead[] = [];
  readonly #free: PayloadRead[] = [];

  /** The operations' tags are `tagBase` + an index below MAX_PAYLOAD_READS. */
  constructor(
    readonly engine: Engine,
    readonly client: ClientId,
    readonly tagBase: number,
  ) {}

  start(segment: Segment, lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    const read = this.#free.pop() ?? this.#grow();
    read.segment = segment;
    read.owner = owner;
    read.tag = tag;
    segment.pins++;
    this.outstanding++;
    this.engine.read(segment.slot, arenaOffset, lengthBytes, segment.fileOffset(lsn), this.client, this.tagBase + read.index);
  }

  /** Tells the reader. True: the segment is not pinned any more. */
  onCompletion(index: number, result: number): boolean {
    const read = this.#reads[index]!;
    const { segment, owner, tag } = read;
    read.segment = null;
    read.owner = null;
    this.#free.push(read);
    this.outstanding--;
    const free = --segment!.pins === 0;
    owner!.onRead(tag, result);
    return free;
  }

  #grow(): PayloadRead {
    assert(this.#reads.length < MAX_PAYLOAD_READS, `more than ${MAX_PAYLOAD_READS} reads of the log`);
    const read = new PayloadRead(this.#reads.length);
    this.#reads.push(read);
    return read;
  }
}
