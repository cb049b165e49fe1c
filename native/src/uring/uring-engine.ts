import fs from 'node:fs';
import { loadAddon, type Addon, type NativeRing } from '../addon.js';
import type { Arena } from '../arena.js';
import { EngineBase, settleTransfer } from '../engine-base.js';
import { MAX_SLOTS, type ListenOptions, type Slot, type SocketAddress, type WakeHandle } from '../engine.js';
import { errno } from '../errno.js';
import { EngineError } from '../errors.js';
import type { FileSystem } from '../file-system.js';
import type { Gather } from '../gather.js';
import { addressOf, listenNow } from '../listen.js';
import { NodeFileSystem } from '../node-file-system.js';
import { Op } from '../op-table.js';
import { SlotState } from '../slot-table.js';

/** Words of one descriptor (addon/ring.cc, enum Word). */
const WORDS = 10;
const MAX_DESCRIPTORS = 4096;
const MAX_GATHER_PAIRS = 32_768;
/** Control words (addon/ring.cc, enum Control). */
const Control = { count: 0, waitLow: 1, waitHigh: 2, completed: 3, spinNs: 4, submitOnly: 5 } as const;
const FOREVER_LOW = -1;
const FOREVER_HIGH = 0x7fff_ffff;
const WAKE_OPERATION = -1;
const TWO_32 = 2 ** 32;

export interface UringOptions {
  /** How long to look for completions before the thread sleeps. 0 where clients share the CPU. */
  readonly spinNs?: number;
}

/** The engine on io_uring: descriptors are collected during a turn and given to the kernel by one call, which also waits. */
export class UringEngine extends EngineBase {
  readonly kind = 'io_uring' as const;
  readonly files: FileSystem;
  readonly wakeHandle: WakeHandle;
  readonly #addon: Addon;
  readonly #ring: NativeRing;
  readonly #descriptors: Int32Array;
  readonly #gather: Uint32Array;
  readonly #completions: Int32Array;
  readonly #control: Int32Array;
  readonly #clock: Float64Array;
  /** A connecting socket sits in its slot from the start; its descriptor until then. */
  readonly #connecting = new Map<number, Slot>();
  /** Slots closed in this turn with something outstanding. */
  readonly #cancelling: Slot[] = [];
  /** Slots whose receives and accepts are to end in this turn; they stay open. */
  readonly #interrupting: Slot[] = [];
  #count = 0;
  #pairs = 0;
  #woken = false;
  #armed = false;
  #running = false;

  /** Throws with the errno's name where io_uring is not to be had (ENOSYS, EPERM by seccomp or kernel.io_uring_disabled). */
  constructor(arena: Arena, options: UringOptions = {}) {
    super(arena);
    const addon = loadAddon();
    if (addon === null || arena.handle.id < 0) throw new EngineError('ERR_UNSUPPORTED', 'the addon is not built');
    this.#addon = addon;
    this.#ring = addon.ringCreate(arena.handle.id, MAX_SLOTS);
    this.#descriptors = new Int32Array(this.#ring.descriptors);
    this.#gather = new Uint32Array(this.#ring.gather);
    this.#completions = new Int32Array(this.#ring.completions);
    this.#control = new Int32Array(this.#ring.control);
    this.#clock = new Float64Array(this.#ring.clock);
    this.#control[Control.spinNs] = options.spinNs ?? 0;
    this.nowNs = this.#clock[0]!;
    this.wakeHandle = { signal: new SharedArrayBuffer(4), eventFd: this.#ring.eventFd };
    this.files = new NodeFileSystem(
      arena,
      { adopt: (fd, kind) => this.adopt(fd, kind), release: slot => this.release(slot), descriptor: slot => this.fileDescriptor(slot) },
      true,
    );
  }

  listen(address: SocketAddress, options: ListenOptions = {}): Slot {
    const fd = listenNow(this.#addon, address, options);
    try {
      return this.adopt(fd, 'listener');
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  localAddress(slot: Slot): SocketAddress {
    this.slots.check(slot, SlotState.listener);
    return addressOf(this.#addon, this.slots.fd[slot]!);
  }

  shutdown(slot: Slot): void {
    this.slots.check(slot, SlotState.socket);
    this.#addon.shutdown(this.slots.fd[slot]!);
  }

  // io_uring blocks this thread: Node's event loop does not run until the engine is stopped.
  async run(): Promise<void> {
    if (this.#running) throw new EngineError('ERR_UNSUPPORTED', 'the engine is running already');
    this.#running = true;
    this.stopping = false;
    if (!this.#armed) {
      this.#armWake();
      this.#armed = true;
    }
    try {
      this.#turn(false);
      while (!this.stopping) this.#turn(true);
      // What the last turn enqueued (final replies, closes) still goes out.
      this.#submitOnly();
    } finally {
      this.#running = false;
    }
  }

  destroy(): void {
    // The ring first: what is outstanding holds files, and may be writing to the arena.
    this.#ring.destroy();
    for (const slot of this.slots.openSlots()) {
      const fd = this.slots.fd[slot]!;
      this.slots.remove(slot);
      if (fd >= 0) fs.closeSync(fd);
    }
    this.timers.clear();
  }

  // ---------------------------------------------------------------- what the base wants

  protected start(op: number, gather: Gather | null): void {
    const { ops } = this;
    const kind = ops.kind[op]!;
    if (gather !== null && this.#pairs + gather.count > MAX_GATHER_PAIRS) this.#submitOnly();
    const at = this.#nextDescriptor();
    const words = this.#descriptors;
    words[at] = kind;
    words[at + 1] = ops.slot[op]!;
    words[at + 6] = ops.flags[op]!;
    words[at + 7] = op;
    if (gather !== null) {
      words[at + 8] = this.#pairs;
      words[at + 9] = gather.count;
      this.#addPairs(gather);
      return;
    }
    if (kind === Op.allocate) {
      const length = ops.lengthBytes[op]!;
      words[at + 2] = length | 0;
      words[at + 3] = (length / TWO_32) | 0;
    } else {
      const done = ops.doneBytes[op]!;
      words[at + 2] = (ops.offset[op]! + done) | 0;
      words[at + 3] = (ops.lengthBytes[op]! - done) | 0;
    }
    const fileOffset = ops.fileOffset[op]! + (kind === Op.allocate ? 0 : ops.doneBytes[op]!);
    words[at + 4] = fileOffset | 0;
    words[at + 5] = (fileOffset / TWO_32) | 0;
  }

  protected startConnect(op: number, address: SocketAddress): void {
    const path = address.family === 'unix' ? address.path : '';
    const host = address.family === 'tcp' ? address.host : '';
    const port = address.family === 'tcp' ? address.port : 0;
    if (this.slots.isFull) {
      this.answer(op, -errno.EMFILE);
      return;
    }
    // The slot is taken first: the kernel reads the address from the slot's place in the addon.
    const slot = this.slots.add(-1, 'socket');
    const fd = this.#ring.prepareConnect(slot, path, host, port);
    if (fd < 0) {
      this.slots.remove(slot);
      this.answer(op, fd);
      return;
    }
    this.slots.fd[slot] = fd;
    this.#ring.setSlot(slot, fd);
    this.#connecting.set(op, slot);
    const at = this.#nextDescriptor();
    this.#descriptors[at] = Op.connect;
    this.#descriptors[at + 1] = slot;
    this.#descriptors[at + 7] = op;
  }

  protected cancel(slot: Slot): void {
    // A send to a peer that does not read ends only so. A listener may be shared with other threads: cancelling is enough.
    if (this.slots.state[slot] === SlotState.socket) this.#addon.shutdown(this.slots.fd[slot]!);
    this.#cancelling.push(slot);
  }

  protected interruptNow(slot: Slot): void {
    this.#interrupting.push(slot);
  }

  /** Late, because the completions of this turn may have ended what was to be cancelled: then the descriptor is closed, though its close is not told yet. */
  #cancelNow(): void {
    for (const slot of this.#cancelling) {
      if (this.slots.outstanding[slot]! > 0 && this.slots.closing[slot] !== -1) this.#addCancel(slot);
    }
    this.#cancelling.length = 0;
    for (const slot of this.#interrupting) {
      if (this.slots.outstanding[slot]! > 0 && this.slots.closing[slot] === -1) this.#addCancel(slot);
    }
    this.#interrupting.length = 0;
  }

  #addCancel(slot: Slot): void {
    const at = this.#nextDescriptor();
    this.#descriptors[at] = Op.cancel;
    this.#descriptors[at + 1] = slot;
  }

  protected closeDescriptor(slot: Slot): void {
    // Descriptors of this turn that name the slot have completed (nothing is outstanding), so it may go at once.
    this.#ring.clearSlot(slot);
    fs.closeSync(this.slots.fd[slot]!);
  }

  protected slotAdded(slot: Slot): void {
    this.#ring.setSlot(slot, this.slots.fd[slot]!);
  }

  protected slotReleased(slot: Slot): void {
    // Its number may be somebody else's before the turn is over.
    for (let at = this.#interrupting.indexOf(slot); at >= 0; at = this.#interrupting.indexOf(slot)) this.#interrupting.splice(at, 1);
    this.#ring.clearSlot(slot);
  }

  protected override discard(fd: number): void {
    this.#ring.forgetAccepted(fd);
    fs.closeSync(fd);
  }

  // ---------------------------------------------------------------- the turn

  #turn(mayWait: boolean): void {
    if (this.#cancelling.length + this.#interrupting.length > 0) this.#cancelNow();
    const wait = mayWait && !this.hasAnswered;
    this.#enter(wait ? this.timers.nextNs() - this.nowNs : 0);
    const completed = this.#control[Control.completed]!;
    // The ring looks up by itself now and then; that is no turn.
    if (wait && completed === 0 && this.timers.nextNs() > this.nowNs) return;
    const completions = this.#completions;
    for (let i = 0; i < completed; i++) this.#completed(completions[i * 2]!, completions[i * 2 + 1]!);
    this.tellAnswered();
    this.tellTimers();
    if (this.#woken) {
      this.#woken = false;
      this.tellWake();
    }
    this.endTurn();
  }

  #completed(op: number, result: number): void {
    if (op === WAKE_OPERATION) {
      this.#woken = true;
      this.#armWake();
      return;
    }
    const { ops } = this;
    switch (ops.kind[op]!) {
      case Op.read:
      case Op.write:
        if (result === -errno.EINTR || result === -errno.EAGAIN) {
          if (this.slots.closing[ops.slot[op]!] === -1) return this.start(op, null);
          result = -errno.ECANCELED;
        }
        result = settleTransfer(ops, op, result);
        if (Number.isNaN(result)) return this.start(op, null);
        break;
      case Op.send:
        if (result >= 0 && result !== ops.lengthBytes[op]) result = -errno.EPIPE;
        break;
      case Op.connect:
        return this.#connected(op, result);
    }
    this.finish(op, result);
  }

  /** The base makes slots of descriptors; a connected socket has its slot already, so it leaves it and comes back. */
  #connected(op: number, result: number): void {
    const slot = this.#connecting.get(op)!;
    this.#connecting.delete(op);
    const fd = this.slots.fd[slot]!;
    this.#ring.clearSlot(slot);
    this.slots.remove(slot);
    if (result < 0) fs.closeSync(fd);
    this.finish(op, result < 0 ? result : fd);
  }

  /** `waitNs`: how long to wait for a completion; 0 not at all, Infinity for ever. */
  #enter(waitNs: number): void {
    const control = this.#control;
    control[Control.count] = this.#count;
    this.#count = 0;
    this.#pairs = 0;
    if (waitNs === Infinity) {
      control[Control.waitLow] = FOREVER_LOW;
      control[Control.waitHigh] = FOREVER_HIGH;
    } else {
      const wait = Math.max(0, Math.ceil(waitNs));
      control[Control.waitLow] = wait | 0;
      control[Control.waitHigh] = (wait / TWO_32) | 0;
    }
    this.#ring.enter();
    this.nowNs = this.#clock[0]!;
  }

  #nextDescriptor(): number {
    // Submitting early loses no completions: they stay in the kernel's ring for the turn.
    if (this.#count === MAX_DESCRIPTORS) this.#submitOnly();
    return this.#count++ * WORDS;
  }

  /** Submits without taking completions: those of the turn that is being told are still in their place. */
  #submitOnly(): void {
    this.#control[Control.submitOnly] = 1;
    this.#enter(0);
    this.#control[Control.submitOnly] = 0;
  }

  #addPairs(gather: Gather): void {
    const pairs = this.#gather;
    let at = this.#pairs * 2;
    for (let i = 0; i < gather.count; i++) {
      pairs[at++] = gather.offsets[i]!;
      pairs[at++] = gather.lengths[i]!;
    }
    this.#pairs += gather.count;
  }

  #armWake(): void {
    const at = this.#nextDescriptor();
    this.#descriptors[at] = Op.wake;
  }
}
