import { DAMAGED, type BlockEvent } from '../../src/drill/checker.js';
import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';

/** What the checker tells apart within a block: the smallest piece of a write. */
export const UNIT_BYTES = 512;
export const UNITS = BLOCK_BYTES / UNIT_BYTES;
export { DAMAGED, type BlockEvent };

/** The part of an operation that lies in one block. */
export interface Piece {
  readonly block: number;
  /** Bit n: unit n. */
  readonly mask: number;
}

/** Everything that was asked of one vdisk and answered, by block, in the order in which it happened. */
export class History {
  readonly blocks = new Map<number, BlockEvent[]>();
  /** Reads that were asked for: their values come with the answer, and with them their beginning. */
  readonly #reads = new Map<number, { readonly block: number; readonly index: number }[]>();
  readonly #writes = new Map<number, readonly Piece[]>();
  #at = 0;

  write(op: number, pieces: readonly Piece[], isZero: boolean): void {
    this.#writes.set(op, pieces);
    const at = this.#at++;
    for (const { block, mask } of pieces) this.#events(block).push({ kind: 'write', op, mask, value: isZero ? 0 : op, at });
  }

  wrote(op: number): void {
    this.#end(op, 'wrote');
  }

  /** Whether it took effect is not known; from now on it cannot. */
  settled(op: number): void {
    this.#end(op, 'settled');
  }

  read(op: number, pieces: readonly Piece[]): void {
    const at = this.#at++;
    this.#reads.set(
      op,
      // A place is kept for the event: what a read that never ends would have seen is of no interest.
      pieces.map(({ block, mask }) => ({ block, index: this.#events(block).push({ kind: 'read', op, mask, values: [], at }) - 1 })),
    );
  }

  /** `values[i]`: of piece i, one for each unit of a block. */
  hasRead(op: number, values: readonly (readonly number[])[]): void {
    const at = this.#at++;
    this.#reads.get(op)!.forEach(({ block, index }, i) => {
      const events = this.#events(block);
      const begun = events[index] as Extract<BlockEvent, { kind: 'read' }>;
      events[index] = { ...begun, values: values[i]! };
      events.push({ kind: 'hasRead', op, at });
    });
    this.#reads.delete(op);
  }

  #end(op: number, kind: 'wrote' | 'settled'): void {
    const at = this.#at++;
    for (const { block } of this.#writes.get(op)!) this.#events(block).push({ kind, op, at });
    this.#writes.delete(op);
  }

  #events(block: number): BlockEvent[] {
    let events = this.blocks.get(block);
    if (events === undefined) {
      events = [];
      this.blocks.set(block, events);
    }
    return events;
  }
}
