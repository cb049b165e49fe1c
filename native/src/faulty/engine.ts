import type { Arena } from '../arena.js';
import { EngineBase } from '../engine-base.js';
import { WRITE_DSYNC, type Slot, type SocketAddress, type WakeHandle } from '../engine.js';
import { errno } from '../errno.js';
import { EngineError } from '../errors.js';
import type { FileSystem } from '../file-system.js';
import type { Gather } from '../gather.js';
import { watchSignal } from '../libuv/signal.js';
import { Op } from '../op-table.js';
import type { ClockEvent, VirtualClock } from './clock.js';
import { PowerLoss, type FaultyDisk, type Handle, type Mounted } from './disk.js';
import type { Fault, FaultOperation } from './faults.js';
import { allocateIn, isAligned, SimulatedFileSystem } from './file-system.js';
import { EVENTS_PER_LOOP, MAX_COMPLETIONS_PER_TURN, MAX_TURN_DELAY_NS, ONE_IN_TWO_STEPS, SECTOR_BYTES } from './limits.js';

/** An operation that the disk has not carried out. */
interface UnderWay {
  readonly handle: Handle;
  readonly fault: Fault | null;
  /** Of a sync: the changes it covers. */
  readonly sequence: number;
}

const OPERATIONS: Readonly<Record<number, FaultOperation>> = {
  [Op.read]: 'read',
  [Op.write]: 'write',
  [Op.sync]: 'sync',
  [Op.allocate]: 'allocate',
};

/**
 * The simulated engine: files on a {@link FaultyDisk}, timers on a {@link VirtualClock}, no sockets. Operations end in an order and
 * after a time that the seed decides; a write's memory is read when it is carried out, not when it is enqueued, as in a kernel. What it does is
 * decided by the seed alone: to step through it, step the clock.
 */
export class FaultyEngine extends EngineBase implements Mounted {
  readonly kind = 'simulated' as const;
  readonly files: FileSystem;
  readonly wakeHandle: WakeHandle = { signal: new SharedArrayBuffer(4), eventFd: -1 };
  /** Killed or destroyed: nothing of it happens any more. */
  isDead = false;
  readonly #signal = new Int32Array(this.wakeHandle.signal);
  #signalSeen = 0;
  readonly #underWay = new Map<number, UnderWay>();
  #done: { op: number; result: number }[] = [];
  #turnEvent: ClockEvent | null = null;
  #inTurn = false;
  /** A turn has ended since {@link stop}. */
  #hasStopped = true;
  #running: (() => void) | null = null;
  readonly #watch = (): void => this.#lookForWake();

  constructor(
    arena: Arena,
    readonly clock: VirtualClock,
    readonly disk: FaultyDisk,
    /** Smaller tables, for those who make many engines. */
    capacity: { readonly operations?: number; readonly slots?: number } = {},
  ) {
    super(arena, capacity.operations, capacity.slots);
    this.nowNs = clock.nowNs;
    disk.mounted.add(this);
    clock.watchers.push(this.#watch);
    this.files = new SimulatedFileSystem(disk, arena, {
      add: handle => this.adopt(disk.openHandle(handle), 'file'),
      handle: slot => this.#handle(slot),
      close: slot => void disk.handles.delete(this.release(slot)),
    });
  }

  // ---------------------------------------------------------------- life

  /** Steps the clock, with Node's loop going round in between, until {@link stop}. */
  async run(): Promise<void> {
    if (this.#running !== null) throw new EngineError('ERR_UNSUPPORTED', 'the engine is running already');
    this.stopping = this.#hasStopped = false;
    // The promise alone would not keep Node's loop alive.
    const keepAlive = setInterval(() => undefined, 1 << 30);
    let resume: () => void = () => undefined;
    this.clock.onAdded = () => resume();
    const signal = watchSignal(this.wakeHandle.signal, () => resume());
    this.#running = () => resume();
    // The first turn does not wait.
    this.#wantTurn(this.clock.nowNs);
    try {
      while (!this.#hasStopped) {
        let idle = false;
        for (let i = 0; i < EVENTS_PER_LOOP && !this.#hasStopped && !idle; i++) idle = !this.clock.step();
        if (this.#hasStopped) break;
        if (idle) await new Promise<void>(resolve => (resume = resolve));
        else await new Promise<void>(resolve => setImmediate(resolve));
      }
    } finally {
      this.#running = null;
      this.clock.onAdded = null;
      signal.close();
      clearInterval(keepAlive);
    }
  }

  override stop(): void {
    super.stop();
    this.#wantTurn(this.clock.nowNs);
    this.#running?.();
  }

  destroy(): void {
    for (const slot of this.slots.openSlots()) this.disk.handles.delete(this.slots.fd[slot]!);
    this.#end();
  }

  /** The process ends without a word. Of writes under way any sectors may have got to the disk. */
  kill(): void {
    if (this.isDead) return;
    const { random } = this.disk;
    const order = [...this.#underWay].map(([op, one]) => ({ op, one, at: random() })).sort((a, b) => a.at - b.at);
    for (const { op, one } of order) {
      if (this.ops.kind[op] === Op.write) this.#writeSome(op, one.handle, [0, 1, 0.5][Math.floor(random() * 3)]!);
      else if (this.ops.kind[op] === Op.allocate && random() < 0.5) this.#allocate(op, one.handle);
    }
    this.destroy();
  }

  #end(): void {
    this.isDead = this.#hasStopped = true;
    this.#underWay.clear();
    this.#done = [];
    this.timers.clear();
    if (this.#turnEvent !== null) this.clock.cancel(this.#turnEvent);
    this.#turnEvent = null;
    this.disk.mounted.delete(this);
    const { watchers } = this.clock;
    const at = watchers.indexOf(this.#watch);
    if (at >= 0) watchers.splice(at, 1);
    this.#running?.();
  }

  /** Steps the clock until no operation of this engine is outstanding; timers may be armed. */
  runUntilIdle(): void {
    this.clock.until(() => this.isDead || (this.outstanding === 0 && !this.hasAnswered), 'an idle engine');
  }

  // ---------------------------------------------------------------- the turn

  /** A turn, now: tells what has been completed and is due. `call` runs in it, as a client that was told something would. */
  turn(call?: () => void): void {
    if (this.isDead || this.#inTurn) throw new EngineError('ERR_UNSUPPORTED', 'no turn of a dead engine, and none within another');
    if (this.#turnEvent !== null) this.clock.cancel(this.#turnEvent);
    this.#turnEvent = null;
    this.#inTurn = true;
    this.nowNs = this.clock.nowNs;
    try {
      for (const { op, result } of this.#done.splice(0, MAX_COMPLETIONS_PER_TURN)) if (!this.isDead) this.finish(op, result);
      this.tellAnswered();
      this.tellTimers();
      if (this.#takeWake()) this.tellWake();
      call?.();
      this.endTurn();
    } catch (error) {
      if (!(error instanceof PowerLoss)) throw error;
    } finally {
      this.#inTurn = false;
      if (this.stopping) this.#hasStopped = true;
    }
    // The disk without power keeps what it has; whoever lost it will find out.
    if (this.disk.isOff || this.isDead) return;
    if (this.#done.length > 0 || this.hasAnswered) this.#wantTurn(this.nowNs + this.#turnDelay());
    else this.#wantTurn(this.timers.nextNs());
  }

  /** A turn comes soon: for whoever did something outside of one. */
  poke(): void {
    this.#wantTurn(this.clock.nowNs);
  }

  override timer(delayNs: number, client: number, tag: number): number {
    if (!this.#inTurn) this.nowNs = this.clock.nowNs;
    const id = super.timer(delayNs, client, tag);
    this.#wantTurn(this.timers.nextNs());
    return id;
  }

  protected override answer(op: number, result: number): void {
    super.answer(op, result);
    this.#wantTurn(this.clock.nowNs);
  }

  #turnDelay(): number {
    return this.clock.below(MAX_TURN_DELAY_NS);
  }

  #wantTurn(atNs: number): void {
    if (this.isDead || this.#inTurn || atNs === Infinity) return;
    if (this.#turnEvent !== null) {
      if (this.#turnEvent.dueNs <= atNs) return;
      this.clock.cancel(this.#turnEvent);
    }
    this.#turnEvent = this.clock.at(atNs, () => {
      this.#turnEvent = null;
      if (!this.disk.isOff) this.turn();
    });
  }

  #lookForWake(): void {
    if (this.#signal[0] !== this.#signalSeen) this.#wantTurn(this.clock.nowNs);
  }

  #takeWake(): boolean {
    const woken = this.#signal[0] !== this.#signalSeen;
    this.#signalSeen = this.#signal[0]!;
    return woken;
  }

  // ---------------------------------------------------------------- operations

  protected start(op: number, _gather: Gather | null): void {
    const operation = OPERATIONS[this.ops.kind[op]!];
    const handle = this.#handle(this.ops.slot[op]!);
    if (operation === undefined) throw new EngineError('ERR_UNSUPPORTED', 'the simulated engine has no sockets');
    if (this.disk.isOff) return;
    const fault = this.disk.faults.strike(operation, handle.inode.path);
    const sequence = operation === 'sync' ? handle.inode.beginSync() : 0;
    const one: UnderWay = { handle, fault, sequence };
    this.#underWay.set(op, one);
    if (fault?.error === 'hang') this.disk.faults.hang(() => this.#carryOutLater(op, { ...one, fault: null }));
    else this.#carryOutLater(op, one);
  }

  #carryOutLater(op: number, one: UnderWay): void {
    if (this.isDead) return;
    this.#underWay.set(op, one);
    const { minLatencyNs, maxLatencyNs } = this.disk;
    const latency = minLatencyNs + Math.floor(this.clock.random() * (maxLatencyNs - minLatencyNs));
    this.clock.after(latency, () => this.#carryOut(op, one));
    const isLong = this.ops.kind[op] === Op.write && this.ops.lengthBytes[op]! > SECTOR_BYTES;
    if (!isLong || one.fault !== null || this.clock.below(ONE_IN_TWO_STEPS) > 0) return;
    this.clock.after(this.clock.below(latency), () => {
      if (this.#isUnderWay(op, one)) this.#writeSome(op, one.handle, 0.5);
    });
  }

  /** Not if the process has ended, or the power has gone. */
  #isUnderWay(op: number, one: UnderWay): boolean {
    return !this.isDead && !this.disk.isOff && this.#underWay.get(op) === one;
  }

  #carryOut(op: number, one: UnderWay): void {
    if (!this.#isUnderWay(op, one)) return;
    this.#underWay.delete(op);
    const { ops, disk } = this;
    const kind = ops.kind[op]!;
    const { fault } = one;
    let result: number;
    if (fault === null) result = this.#do(op, one);
    else {
      if (fault.stage === 'after' && kind !== Op.sync) this.#do(op, one);
      else if (fault.stage === 'partly' && kind === Op.write) this.#writeSome(op, one.handle, 0.5);
      if (kind === Op.sync) one.handle.inode.syncFailed(one.sequence);
      result = -(fault.error as number);
    }
    disk.observer?.(OPERATIONS[kind]!, one.handle.inode.path, ops.fileOffset[op]!, ops.lengthBytes[op]!, result);
    this.#done.push({ op, result });
    this.#wantTurn(this.clock.nowNs + this.#turnDelay());
  }

  #do(op: number, { handle, sequence }: UnderWay): number {
    const { ops } = this;
    const { inode } = handle;
    const at = ops.fileOffset[op]!;
    const length = ops.lengthBytes[op]!;
    switch (ops.kind[op]) {
      case Op.sync:
        inode.syncTo(sequence);
        return 0;
      case Op.allocate:
        return this.#allocate(op, handle);
      case Op.read:
        if (!isAligned(handle, ops.offset[op]!, length, at)) return -errno.EINVAL;
        return inode.read(this.#memory(op), at);
      default:
        if (this.#refusal(op, handle) !== 0) return this.#refusal(op, handle);
        if ((ops.flags[op]! & WRITE_DSYNC) !== 0) inode.writeDurable(this.#memory(op), at);
        else inode.write(this.#memory(op), at);
        return length;
    }
  }

  #allocate(op: number, handle: Handle): number {
    return allocateIn(this.disk, handle, this.ops.flags[op]!, this.ops.fileOffset[op]!, this.ops.lengthBytes[op]!);
  }

  /** Why a write cannot be carried out: a negative errno; 0: it can. */
  #refusal(op: number, handle: Handle): number {
    const at = this.ops.fileOffset[op]!;
    const length = this.ops.lengthBytes[op]!;
    if (!handle.write) return -errno.EBADF;
    if (!isAligned(handle, this.ops.offset[op]!, length, at)) return -errno.EINVAL;
    return this.disk.hasSpace(handle.inode, at, length) ? 0 : -errno.ENOSPC;
  }

  /** Each sector with this chance. */
  #writeSome(op: number, handle: Handle, chance: number): void {
    const { inode } = handle;
    const at = this.ops.fileOffset[op]!;
    const memory = this.#memory(op);
    if (this.#refusal(op, handle) !== 0) return;
    for (let done = 0; done < memory.length; done += SECTOR_BYTES) {
      if (this.disk.random() < chance) inode.write(memory.subarray(done, done + SECTOR_BYTES), at + done);
    }
  }

  #memory(op: number): Uint8Array {
    const offset = this.ops.offset[op]!;
    return this.arena.bytes.subarray(offset, offset + this.ops.lengthBytes[op]!);
  }

  // ---------------------------------------------------------------- slots

  #handle(slot: Slot): Handle {
    this.slots.checkOpen(slot);
    const handle = this.disk.handles.get(this.slots.fd[slot]!);
    if (handle === undefined) throw new EngineError('ERR_SLOT', `slot ${slot} holds no file of this disk`);
    return handle;
  }

  /** A disk's operations cannot be cancelled: they come to their ends. */
  protected cancel(): void {
    return undefined;
  }

  protected interruptNow(): void {
    noSockets();
  }

  protected closeDescriptor(slot: Slot): void {
    this.disk.handles.delete(this.slots.fd[slot]!);
  }

  protected slotAdded(slot: Slot): void {
    if (!this.disk.handles.has(this.slots.fd[slot]!)) {
      this.slots.remove(slot);
      throw new EngineError('ERR_UNSUPPORTED', 'the simulated engine takes over descriptors of its own disk only');
    }
  }

  protected slotReleased(): void {
    return undefined;
  }

  // ---------------------------------------------------------------- sockets

  listen(): Slot {
    return noSockets();
  }

  localAddress(): SocketAddress {
    return noSockets();
  }

  shutdown(): void {
    noSockets();
  }

  override accept(): void {
    noSockets();
  }

  override connect(): void {
    noSockets();
  }

  protected startConnect(): void {
    noSockets();
  }
}

function noSockets(): never {
  throw new EngineError('ERR_UNSUPPORTED', 'the simulated engine has no sockets');
}
