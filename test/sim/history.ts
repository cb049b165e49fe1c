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
  readonly #reads = new Map<number, readonly Piece[]>();
  readonly #writes = new Map<number, readonly Piece[]>();
  /** By the terms of those who are gone. */
  readonly #losses = new Map<number, BlockEvent>();
  #at = 0;

  /** `isVolatile`: what is answered is durable only when it is flushed. */
  constructor(readonly isVolatile = false) {}

  write(op: number, pieces: readonly Piece[], isZero: boolean): void {
    this.#writes.set(op, pieces);
    const at = this.#at++;
    for (const { block, mask } of pieces) this.#events(block).push({ kind: 'write', op, mask, value: isZero ? 0 : op, at });
  }

  /** `term`: of the process that has said so. Its answer may still be on its way when it is gone. */
  wrote(op: number, isDurable = true, term = 0): void {
    this.#end(op, { kind: 'wrote', op, isDurable, at: this.#at++ }, term);
  }

  /** Whether it took effect is not known; from now on it cannot. */
  settled(op: number): void {
    this.#end(op, { kind: 'settled', op, at: this.#at++ }, 0);
  }

  /** A FLUSH is asked for; answered; or it has told the client that changes may be lost. */
  flush(op: number): void {
    this.#everywhere({ kind: 'flush', op, at: this.#at++ });
  }

  flushed(op: number, client: number, term: number): void {
    this.#everywhere({ kind: 'flushed', op, client, at: this.#at++ }, term);
  }

  notFlushed(op: number, client: number, term: number): void {
    this.#everywhere({ kind: 'notFlushed', op, client, at: this.#at++ }, term);
  }

  /** The process of that term is gone. What was not flushed may be lost from now on, and these clients are to hear of it then. */
  lost(clients: readonly number[], term: number): void {
    if (!this.isVolatile) return;
    const loss: BlockEvent = { kind: 'lost', op: 0, clients, at: this.#at++ };
    this.#everywhere(loss);
    this.#losses.set(term, loss);
  }

  #everywhere(event: BlockEvent, term = 0): void {
    if (this.isVolatile) for (const events of this.blocks.values()) this.#add(events, event, term);
  }

  /** What a process has said, it has said before it was gone. */
  #add(events: BlockEvent[], event: BlockEvent, term: number): void {
    const loss = this.#losses.get(term);
    if (loss === undefined) events.push(event);
    else if (events.includes(loss)) events.splice(events.indexOf(loss), 0, event);
  }

  read(op: number, pieces: readonly Piece[]): void {
    const at = this.#at++;
    this.#reads.set(op, pieces);
    // A place is kept for the event: what a read that never ends would have seen is of no interest.
    for (const { block, mask } of pieces) this.#events(block).push({ kind: 'read', op, mask, values: [], at });
  }

  /** `values[i]`: of piece i, one for each unit of a block. */
  hasRead(op: number, values: readonly (readonly number[])[], term = 0): void {
    const at = this.#at++;
    this.#reads.get(op)!.forEach(({ block }, i) => {
      const events = this.#events(block);
      const index = events.findLastIndex(event => event.kind === 'read' && event.op === op);
      const begun = events[index] as Extract<BlockEvent, { kind: 'read' }>;
      events[index] = { ...begun, values: values[i]! };
      this.#add(events, { kind: 'hasRead', op, at }, term);
    });
    this.#reads.delete(op);
  }

  #end(op: number, event: BlockEvent, term: number): void {
    for (const { block } of this.#writes.get(op)!) this.#add(this.#events(block), event, term);
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
