import type { Engine, Gather } from 'uring-engine';
import { CHUNK_BYTES, MAX_PEER_QUEUE_CHUNKS } from './limits.js';
import type { MemoryShare, TransportMemory } from './memory.js';

/**
 * What waits to be sent on a connection between Stargates: a stream of bytes in chunks of transport memory, first in first out. A frame is written between
 * `begin` and `commit`; where memory runs out on the way, `rollback` leaves the stream as it was, so that a frame is sent whole or not at all.
 */
export class PeerQueue {
  /** Chunks from `#first` on, in a ring: where each begins, and from where to where it has bytes to be sent. */
  readonly #chunk = new Float64Array(MAX_PEER_QUEUE_CHUNKS);
  readonly #start = new Float64Array(MAX_PEER_QUEUE_CHUNKS);
  readonly #end = new Float64Array(MAX_PEER_QUEUE_CHUNKS);
  #first = 0;
  #count = 0;
  /** What the send that is on its way takes: so many chunks, the last one up to `#sentEnd`. */
  #sending = 0;
  #sentEnd = 0;
  #savedCount = 0;
  #savedEnd = 0;

  constructor(
    private readonly engine: Engine,
    private readonly memory: TransportMemory,
    private readonly share: MemoryShare,
  ) {}

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isSending(): boolean {
    return this.#sending > 0;
  }

  begin(): void {
    this.#savedCount = this.#count;
    this.#savedEnd = this.#count === 0 ? 0 : this.#end[this.#at(this.#count - 1)]!;
  }

  rollback(): void {
    while (this.#count > this.#savedCount) this.memory.drop(this.#chunk[this.#at(--this.#count)]!);
    if (this.#count > 0) this.#end[this.#at(this.#count - 1)] = this.#savedEnd;
  }

  /** Arena offset of `bytes` bytes in one piece, to be filled at once; -1: no room. At most a chunk. */
  reserve(bytes: number): number {
    let last = this.#at(this.#count - 1);
    if (this.#count === 0 || this.#end[last]! + bytes > this.#chunk[last]! + CHUNK_BYTES) {
      if (!this.#grow()) return -1;
      last = this.#at(this.#count - 1);
    }
    const at = this.#end[last]!;
    this.#end[last] = at + bytes;
    return at;
  }

  /** Copies arena bytes; false: no room. */
  copy(from: number, bytes: number): boolean {
    const { bytes: arena } = this.engine.arena;
    for (let done = 0; done < bytes;) {
      const last = this.#at(this.#count - 1);
      const room = this.#count === 0 ? 0 : this.#chunk[last]! + CHUNK_BYTES - this.#end[last]!;
      if (room === 0) {
        if (!this.#grow()) return false;
        continue;
      }
      const piece = Math.min(room, bytes - done);
      arena.copyWithin(this.#end[last]!, from + done, from + done + piece);
      this.#end[last]! += piece;
      done += piece;
    }
    return true;
  }

  /** Adds all that waits to the list; `sent` follows, or `destroy`. */
  gather(list: Gather): void {
    this.#sending = this.#count;
    for (let i = 0; i < this.#count; i++) {
      const at = this.#at(i);
      list.add(this.#start[at]!, this.#end[at]! - this.#start[at]!);
      this.#sentEnd = this.#end[at]!;
    }
  }

  /** What was gathered has been sent: its chunks go back, but one to which bytes have been added since. */
  sent(): void {
    for (; this.#sending > 0; this.#sending--) {
      const isLast = this.#sending === 1;
      if (isLast && this.#end[this.#first]! > this.#sentEnd) {
        this.#start[this.#first] = this.#sentEnd;
        this.#sending = 0;
        return;
      }
      this.memory.drop(this.#chunk[this.#first]!);
      this.#first = (this.#first + 1) % MAX_PEER_QUEUE_CHUNKS;
      this.#count--;
    }
  }

  /** The socket has let go of the memory: all goes back. */
  destroy(): void {
    for (let i = 0; i < this.#count; i++) this.memory.drop(this.#chunk[this.#at(i)]!);
    this.#count = this.#sending = 0;
  }

  #at(index: number): number {
    return (this.#first + index) % MAX_PEER_QUEUE_CHUNKS;
  }

  #grow(): boolean {
    if (this.#count === MAX_PEER_QUEUE_CHUNKS) return false;
    const chunk = this.memory.take(CHUNK_BYTES, this.share);
    if (chunk < 0) return false;
    const at = this.#at(this.#count++);
    this.#chunk[at] = this.#start[at] = this.#end[at] = chunk;
    return true;
  }
}
