import { wake, type Engine, type WakeHandle } from 'uring-engine';
import { MAILBOX_MESSAGES, MAX_KEPT_MESSAGES, MESSAGE_CELLS } from './limits.js';

const HEAD = 0; // messages taken, by the receiver
const TAIL = 1; // messages put, by the sender
const RUNG = 2; // 1: the receiver has been woken and has not looked since
const KEPT = 3; // 1: the sender has messages that did not fit, and wants to be woken when there is room
const CONTROL_INTS = 16;

/**
 * Last of the turn: what the other hooks caused goes along. Order of the turn-end hooks over the rooms: oplog 10, transports 20, replies 30, mailbox 40.
 */
const TURN_END_ORDER = 40;

export interface MailboxReceiver {
  /** One message: `cells[at]` is its kind, the fields follow. Readable during the call only. */
  onMessage(from: number, cells: Float64Array, at: number): void;
}

/**
 * Fixed-size messages between the shards of a process: for each ordered pair of shards a ring of numbers in
 * shared memory with one writer and one reader. A message is 16 numbers, exact up to 2^53; payload stays in the arena and
 * is named by offset. Messages between two shards arrive in order. A wake (one system call) is sent once
 * per turn and only to a receiver that was not rung already.
 */
export class Mailbox {
  readonly #receivers: (MailboxReceiver | undefined)[] = [];
  readonly #inbound: (Ring | null)[];
  readonly #outbound: (Outbound | null)[];
  readonly #wakeHandles: readonly WakeHandle[];

  constructor(
    engine: Engine,
    readonly self: number,
    buffers: readonly (readonly (SharedArrayBuffer | null)[])[],
    wakeHandles: readonly WakeHandle[],
  ) {
    this.#wakeHandles = wakeHandles;
    this.#inbound = buffers.map(row => ringOf(row[self]));
    this.#outbound = buffers[self]!.map((buffer, to) => (buffer === null ? null : new Outbound(new Ring(buffer), wakeHandles[to]!)));
    engine.onWake(() => this.#receive());
    engine.atTurnEnd(TURN_END_ORDER, () => this.#flush());
  }

  /** One receiver per kind (1 to 63); kinds are listed in `message-kinds.ts`. */
  on(kind: number, receiver: MailboxReceiver): void {
    if (this.#receivers[kind] !== undefined) throw new Error(`mailbox kind ${kind} has a receiver already`);
    this.#receivers[kind] = receiver;
  }

  /**
   * The message to fill before the next call of any method here: fields go to `cells[at + 1]` and on, `cells` being the
   * array returned by {@link cellsFor}. It is sent at the end of the turn.
   */
  post(to: number, kind: number): number {
    const outbound = this.#outbound[to];
    if (outbound == null) throw new Error(`shard ${this.self} has no mailbox to shard ${to}`);
    return outbound.begin(kind);
  }

  cellsFor(to: number): Float64Array {
    return this.#outbound[to]!.cells;
  }

  #receive(): void {
    for (let from = 0; from < this.#inbound.length; from++) {
      const ring = this.#inbound[from];
      if (ring == null) continue;
      Atomics.store(ring.control, RUNG, 0);
      const tail = Atomics.load(ring.control, TAIL);
      let head = Atomics.load(ring.control, HEAD);
      while (head !== tail) {
        const at = (head & (MAILBOX_MESSAGES - 1)) * MESSAGE_CELLS;
        this.#receivers[ring.cells[at]!]!.onMessage(from, ring.cells, at);
        head = (head + 1) | 0;
        Atomics.store(ring.control, HEAD, head);
      }
      if (Atomics.exchange(ring.control, KEPT, 0) === 1) wake(this.#wakeHandles[from]!);
    }
  }

  #flush(): void {
    for (const outbound of this.#outbound) outbound?.flush();
  }
}

/** The shared memory of a process's mailboxes: `buffers[from][to]`. */
export function createMailboxBuffers(shards: number): (SharedArrayBuffer | null)[][] {
  const bytes = CONTROL_INTS * 4 + MAILBOX_MESSAGES * MESSAGE_CELLS * 8;
  return Array.from({ length: shards }, (_, from) =>
    Array.from({ length: shards }, (_, to) => (from === to ? null : new SharedArrayBuffer(bytes))),
  );
}

class Ring {
  readonly control: Int32Array;
  readonly cells: Float64Array;
  constructor(buffer: SharedArrayBuffer) {
    this.control = new Int32Array(buffer, 0, CONTROL_INTS);
    this.cells = new Float64Array(buffer, CONTROL_INTS * 4);
  }
}

/** The sending side: messages are written to a private row first and copied to the ring as it has room. */
class Outbound {
  cells = new Float64Array(64 * MESSAGE_CELLS);
  #first = 0;
  #count = 0;
  #tail = 0;

  constructor(
    readonly ring: Ring,
    readonly handle: WakeHandle,
  ) {}

  begin(kind: number): number {
    if ((this.#first + this.#count + 1) * MESSAGE_CELLS > this.cells.length) this.#makeRoom();
    const at = (this.#first + this.#count++) * MESSAGE_CELLS;
    this.cells[at] = kind;
    return at;
  }

  flush(): void {
    if (this.#count === 0) return;
    const { control, cells } = this.ring;
    const room = MAILBOX_MESSAGES - ((this.#tail - Atomics.load(control, HEAD)) | 0);
    const moved = Math.min(room, this.#count);
    for (let i = 0; i < moved; i++) {
      const source = (this.#first + i) * MESSAGE_CELLS;
      const target = (this.#tail & (MAILBOX_MESSAGES - 1)) * MESSAGE_CELLS;
      for (let c = 0; c < MESSAGE_CELLS; c++) cells[target + c] = this.cells[source + c]!;
      this.#tail = (this.#tail + 1) | 0;
    }
    Atomics.store(control, TAIL, this.#tail);
    this.#first = moved === this.#count ? 0 : this.#first + moved;
    this.#count -= moved;
    if (this.#count > 0) Atomics.store(control, KEPT, 1);
    if (Atomics.exchange(control, RUNG, 1) === 0) wake(this.handle);
  }

  #makeRoom(): void {
    if (this.#count > MAX_KEPT_MESSAGES) throw new Error('mailbox: the receiving shard does not take its messages');
    const grown = this.#count * 2 * MESSAGE_CELLS > this.cells.length ? new Float64Array(this.cells.length * 2) : this.cells;
    grown.set(this.cells.subarray(this.#first * MESSAGE_CELLS, (this.#first + this.#count) * MESSAGE_CELLS));
    this.cells = grown;
    this.#first = 0;
  }
}

function ringOf(buffer: SharedArrayBuffer | null | undefined): Ring | null {
  return buffer == null ? null : new Ring(buffer);
}
