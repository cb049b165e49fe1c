import type { Arena } from './arena.js';
import { checkAllocateMode, checkFileRange, checkRange } from './bounds.js';
import {
  MAX_CLIENTS,
  MAX_SLOTS,
  MAX_TAG,
  MAX_TRANSFER_BYTES,
  RECV_ALL,
  SEND_LAZY,
  WRITE_DSYNC,
  type ClientId,
  type Engine,
  type EngineClient,
  type ListenOptions,
  type Slot,
  type SlotKind,
  type SocketAddress,
  type TimerId,
  type WakeHandle,
} from './engine.js';
import { errno } from './errno.js';
import { EngineError } from './errors.js';
import type { FileSystem } from './file-system.js';
import type { Gather } from './gather.js';
import { MAX_OPERATIONS, Op, OpTable } from './op-table.js';
import { SlotState, SlotTable } from './slot-table.js';
import { TimerQueue } from './timer-queue.js';

/** Operations that were answered without the system (a close with nothing outstanding) and wait for the turn to tell them. */
interface Answered {
  readonly op: number;
  readonly result: number;
}

/**
 * What the engines share: checks, the tables of operations and slots, timers, the turn. An engine adds how an operation is
 * carried out ({@link EngineBase.start}) and how it waits; it reports results by {@link EngineBase.finish}.
 */
export abstract class EngineBase implements Engine {
  abstract readonly kind: Engine['kind'];
  abstract readonly files: FileSystem;
  abstract readonly wakeHandle: WakeHandle;
  nowNs = 0;

  protected readonly ops: OpTable;
  protected readonly slots: SlotTable;
  protected readonly timers = new TimerQueue();
  protected stopping = false;
  readonly #clients: EngineClient[] = [];
  #hooks: readonly { order: number; hook: () => void }[] = [];
  #wakeListeners: readonly (() => void)[] = [];
  #answered: Answered[] = [];

  constructor(
    readonly arena: Arena,
    operations = MAX_OPERATIONS,
    slots = MAX_SLOTS,
  ) {
    this.ops = new OpTable(operations + slots, slots);
    this.slots = new SlotTable(slots);
  }

  // ---------------------------------------------------------------- what an engine adds

  /** Carries the operation out; its fields lie in the table. For `send`, `gather` is its list. */
  protected abstract start(op: number, gather: Gather | null): void;
  /** Asks for an early end of what is outstanding on a slot that is being closed. */
  protected abstract cancel(slot: Slot): void;
  /** As `cancel`, of a slot that stays open. */
  protected abstract interruptNow(slot: Slot): void;
  /** Nothing is outstanding on the slot any more: close its descriptor. */
  protected abstract closeDescriptor(slot: Slot): void;
  /** A descriptor was put in a slot. */
  protected abstract slotAdded(slot: Slot): void;
  /** A descriptor is about to be given away. */
  protected abstract slotReleased(slot: Slot): void;
  /** A connection that has come finds no slot free: its descriptor is to be closed. */
  protected discard(_fd: number): void {
    return undefined;
  }
  abstract listen(address: SocketAddress, options?: ListenOptions): Slot;
  abstract localAddress(slot: Slot): SocketAddress;
  abstract shutdown(slot: Slot): void;
  abstract run(): Promise<void>;
  abstract destroy(): void;

  // ---------------------------------------------------------------- set-up

  register(client: EngineClient): ClientId {
    if (this.#clients.length >= MAX_CLIENTS) throw new EngineError('ERR_LIMIT', `more than ${MAX_CLIENTS} clients`);
    return this.#clients.push(client) - 1;
  }

  atTurnEnd(order: number, hook: () => void): void {
    // A new list: a hook may add hooks.
    this.#hooks = [...this.#hooks, { order, hook }].sort((a, b) => a.order - b.order);
  }

  onWake(listener: () => void): void {
    this.#wakeListeners = [...this.#wakeListeners, listener];
  }

  adopt(fd: number, kind: SlotKind): Slot {
    if (!Number.isInteger(fd) || fd < 0) throw new EngineError('ERR_ARGUMENT', `${fd} is not a file descriptor`);
    const slot = this.slots.add(fd, kind);
    try {
      this.slotAdded(slot);
    } catch (error) {
      this.slots.remove(slot);
      throw error;
    }
    return slot;
  }

  release(slot: Slot): number {
    this.slots.checkOpen(slot);
    if (this.slots.outstanding[slot] !== 0)
      throw new EngineError('ERR_SLOT', `slot ${slot} has operations outstanding and cannot be released`);
    this.slotReleased(slot);
    const fd = this.slots.fd[slot]!;
    this.slots.remove(slot);
    return fd;
  }

  stop(): void {
    this.stopping = true;
  }

  get outstanding(): number {
    return this.ops.outstanding;
  }

  // ---------------------------------------------------------------- operations

  accept(listener: Slot, client: ClientId, tag: number): void {
    this.slots.check(listener, SlotState.listener);
    this.start(this.#take(Op.accept, listener, client, tag), null);
  }

  connect(address: SocketAddress, client: ClientId, tag: number): void {
    const op = this.#take(Op.connect, -1, client, tag);
    this.startConnect(op, address);
  }

  protected abstract startConnect(op: number, address: SocketAddress): void;

  recv(slot: Slot, offset: number, lengthBytes: number, flags: number, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.socket);
    checkRange(this.arena, offset, lengthBytes);
    if (lengthBytes > MAX_TRANSFER_BYTES) throw new EngineError('ERR_ARGUMENT', `recv: ${lengthBytes} bytes are too many`);
    if ((flags & ~RECV_ALL) !== 0) throw new EngineError('ERR_ARGUMENT', `recv: unknown flags ${flags}`);
    if (this.slots.receiving[slot] === 1) throw new EngineError('ERR_ARGUMENT', `slot ${slot} is receiving already`);
    const op = this.#takeTransfer(Op.recv, slot, offset, lengthBytes, 0, flags, client, tag);
    this.slots.receiving[slot] = 1;
    this.start(op, null);
  }

  send(slot: Slot, gather: Gather, flags: number, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.socket);
    if (gather.count === 0) throw new EngineError('ERR_ARGUMENT', 'send: the gather list is empty');
    for (let i = 0; i < gather.count; i++) checkRange(this.arena, gather.offsets[i]!, gather.lengths[i]!);
    if ((flags & ~SEND_LAZY) !== 0) throw new EngineError('ERR_ARGUMENT', `send: unknown flags ${flags}`);
    if (this.slots.sending[slot] === 1) throw new EngineError('ERR_ARGUMENT', `slot ${slot} is sending already`);
    const op = this.#takeTransfer(Op.send, slot, 0, gather.totalBytes, 0, flags, client, tag);
    this.slots.sending[slot] = 1;
    this.start(op, gather);
  }

  read(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.file);
    checkRange(this.arena, offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    this.start(this.#takeTransfer(Op.read, slot, offset, lengthBytes, fileOffsetBytes, 0, client, tag), null);
  }

  write(slot: Slot, offset: number, lengthBytes: number, fileOffsetBytes: number, flags: number, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.file);
    checkRange(this.arena, offset, lengthBytes);
    checkFileRange(fileOffsetBytes, lengthBytes);
    if ((flags & ~WRITE_DSYNC) !== 0) throw new EngineError('ERR_ARGUMENT', `write: unknown flags ${flags}`);
    this.start(this.#takeTransfer(Op.write, slot, offset, lengthBytes, fileOffsetBytes, flags, client, tag), null);
  }

  sync(slot: Slot, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.file);
    this.start(this.#take(Op.sync, slot, client, tag), null);
  }

  allocate(slot: Slot, mode: number, fileOffsetBytes: number, lengthBytes: number, client: ClientId, tag: number): void {
    this.slots.check(slot, SlotState.file);
    checkAllocateMode(mode);
    checkFileRange(fileOffsetBytes, lengthBytes);
    this.start(this.#takeTransfer(Op.allocate, slot, 0, lengthBytes, fileOffsetBytes, mode, client, tag), null);
  }

  close(slot: Slot, client: ClientId, tag: number): void {
    this.slots.checkOpen(slot);
    this.#checkClient(client, tag);
    const op = this.ops.take(Op.close, slot, client, tag);
    this.slots.closing[slot] = op;
    if (this.slots.outstanding[slot] === 0) this.#closeNow(slot);
    else this.cancel(slot);
  }

  interrupt(slot: Slot): void {
    this.slots.checkOpen(slot);
    if (this.slots.state[slot] === SlotState.file) throw new EngineError('ERR_SLOT', `slot ${slot} is a file`);
    if (this.slots.sending[slot] === 1) throw new EngineError('ERR_SLOT', `slot ${slot} is sending`);
    if (this.slots.outstanding[slot]! > 0) this.interruptNow(slot);
  }

  timer(delayNs: number, client: ClientId, tag: number): TimerId {
    this.#checkClient(client, tag);
    if (!Number.isFinite(delayNs)) throw new EngineError('ERR_ARGUMENT', `timer: a delay of ${delayNs} ns`);
    return this.timers.add(this.nowNs + Math.max(0, delayNs), client, tag);
  }

  cancelTimer(id: TimerId): void {
    this.timers.cancel(id);
  }

  // ---------------------------------------------------------------- the turn

  /** An operation has ended. For accept and connect `result` is a descriptor, which gets its slot here. */
  protected finish(op: number, result: number): void {
    const { ops, slots } = this;
    const kind = ops.kind[op]!;
    const slot = ops.slot[op]!;
    const client = ops.client[op]!;
    const tag = ops.tag[op]!;
    ops.give(op);
    if ((kind === Op.accept || kind === Op.connect) && result >= 0) result = this.#connection(result);
    // Not before: until its client knows of the close, the number is not anybody else's.
    if (kind === Op.close) slots.remove(slot);
    else if (slot >= 0) {
      if (kind === Op.recv) slots.receiving[slot] = 0;
      else if (kind === Op.send) slots.sending[slot] = 0;
      slots.outstanding[slot]!--;
      if (slots.closing[slot] !== -1 && result < 0 && slots.state[slot] !== SlotState.file) result = -errno.ECANCELED;
      if (slots.outstanding[slot] === 0 && slots.closing[slot] !== -1) this.#closeNow(slot);
    }
    this.#clients[client]!.onCompletion(tag, result);
  }

  #connection(fd: number): number {
    if (!this.slots.isFull) return this.adopt(fd, 'socket');
    this.discard(fd);
    return -errno.EMFILE;
  }

  /** Whether something waits to be told in the next turn without the system. */
  protected get hasAnswered(): boolean {
    return this.#answered.length > 0;
  }

  /** Ends an operation in the next turn: never during the call that enqueued it. */
  protected answer(op: number, result: number): void {
    this.#answered.push({ op, result });
  }

  protected tellAnswered(): void {
    const answered = this.#answered;
    if (answered.length === 0) return;
    this.#answered = [];
    for (const { op, result } of answered) this.finish(op, result);
  }

  protected tellTimers(): void {
    if (this.timers.nextNs() > this.nowNs) return;
    // Those that are armed here have their turn in the next one: a timer that arms itself anew must not keep this one from ending.
    const { nextId } = this.timers;
    for (let timer = this.timers.takeDue(this.nowNs, nextId); timer !== null; timer = this.timers.takeDue(this.nowNs, nextId)) {
      this.#clients[timer.client]!.onCompletion(timer.tag, 0);
    }
  }

  protected tellWake(): void {
    for (const listener of this.#wakeListeners) listener();
  }

  protected endTurn(): void {
    const hooks = this.#hooks;
    for (let i = 0; i < hooks.length; i++) hooks[i]!.hook();
  }

  #closeNow(slot: Slot): void {
    const op = this.slots.closing[slot]!;
    this.closeDescriptor(slot);
    this.slots.fd[slot] = -1;
    this.answer(op, 0);
  }

  protected fileDescriptor(slot: Slot): number {
    this.slots.check(slot, SlotState.file);
    return this.slots.fd[slot]!;
  }

  // ---------------------------------------------------------------- checks

  #take(kind: number, slot: Slot, client: ClientId, tag: number): number {
    this.#checkClient(client, tag);
    const op = this.ops.take(kind, slot, client, tag);
    if (slot >= 0) this.slots.outstanding[slot]!++;
    return op;
  }

  #takeTransfer(
    kind: number,
    slot: Slot,
    offset: number,
    length: number,
    fileOffset: number,
    flags: number,
    client: number,
    tag: number,
  ): number {
    const op = this.#take(kind, slot, client, tag);
    const { ops } = this;
    ops.offset[op] = offset;
    ops.lengthBytes[op] = length;
    ops.fileOffset[op] = fileOffset;
    ops.flags[op] = flags;
    return op;
  }

  #checkClient(client: ClientId, tag: number): void {
    if (!(client >= 0 && client < this.#clients.length && tag >= 0 && tag <= MAX_TAG && (tag | 0) === tag && (client | 0) === client)) {
      throw new EngineError('ERR_ARGUMENT', `client ${client} or tag ${tag} is out of range`);
    }
  }
}

/** What a read or write becomes when the system did only a part of it. Returns the bytes that are done, or -errno; NaN: go on with the rest. */
export function settleTransfer(ops: OpTable, op: number, result: number): number {
  if (result < 0) return result;
  const done = ops.doneBytes[op]! + result;
  if (done === ops.lengthBytes[op]) return done;
  if (ops.kind[op] === Op.read) {
    // At the end of the file; a short direct read that is not whole sectors can be nothing else.
    if (result === 0 || done % 512 !== 0) return done;
  } else if (result === 0) return -errno.EIO;
  ops.doneBytes[op] = done;
  return NaN;
}
