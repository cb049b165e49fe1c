import type { Slot, SlotKind } from './engine.js';
import { EngineError } from './errors.js';

export const SlotState = { free: 0, file: 1, socket: 2, listener: 3 } as const;
const stateOf: Readonly<Record<SlotKind, number>> = { file: SlotState.file, socket: SlotState.socket, listener: SlotState.listener };

/** Open files and sockets by small number, with what is outstanding on each. */
export class SlotTable {
  readonly state: Uint8Array;
  readonly fd: Int32Array;
  readonly outstanding: Int32Array;
  readonly receiving: Uint8Array;
  readonly sending: Uint8Array;
  /** Operation of the close that waits for the others, or -1. */
  readonly closing: Int32Array;
  readonly #free: number[] = [];
  #next = 0;

  constructor(readonly capacity: number) {
    this.state = new Uint8Array(capacity);
    this.fd = new Int32Array(capacity).fill(-1);
    this.outstanding = new Int32Array(capacity);
    this.receiving = new Uint8Array(capacity);
    this.sending = new Uint8Array(capacity);
    this.closing = new Int32Array(capacity).fill(-1);
  }

  add(fd: number, kind: SlotKind): Slot {
    const slot = this.#free.pop() ?? this.#next++;
    if (slot >= this.capacity) {
      this.#next = this.capacity;
      throw new EngineError('ERR_LIMIT', `more than ${this.capacity} files and sockets open in one engine`);
    }
    this.state[slot] = stateOf[kind];
    this.fd[slot] = fd;
    this.outstanding[slot] = 0;
    this.receiving[slot] = this.sending[slot] = 0;
    this.closing[slot] = -1;
    return slot;
  }

  get isFull(): boolean {
    return this.#free.length === 0 && this.#next >= this.capacity;
  }

  remove(slot: Slot): void {
    if (this.state[slot] === SlotState.free) return;
    this.state[slot] = SlotState.free;
    this.closing[slot] = -1;
    this.fd[slot] = -1;
    this.#free.push(slot);
  }

  /** Throws ERR_SLOT unless the slot is open, not closing, and of the state. */
  check(slot: Slot, state: number): void {
    if (!(slot >= 0 && slot < this.capacity) || this.state[slot] !== state || this.closing[slot] !== -1) {
      throw new EngineError('ERR_SLOT', `slot ${slot} is not an open ${Object.keys(SlotState)[state]}`);
    }
  }

  checkOpen(slot: Slot): void {
    if (!(slot >= 0 && slot < this.capacity) || this.state[slot] === SlotState.free || this.closing[slot] !== -1) {
      throw new EngineError('ERR_SLOT', `slot ${slot} is not open`);
    }
  }

  openSlots(): Slot[] {
    const open: Slot[] = [];
    for (let slot = 0; slot < this.#next && slot < this.capacity; slot++) if (this.state[slot] !== SlotState.free) open.push(slot);
    return open;
  }
}
