import fs from 'node:fs';
import net from 'node:net';
import { loadAddon } from '../addon.js';
import type { Arena } from '../arena.js';
import { EngineBase, settleTransfer } from '../engine-base.js';
import { RECV_ALL, WRITE_DSYNC, type ListenOptions, type Slot, type SocketAddress, type WakeHandle } from '../engine.js';
import { errno, errnoName, errnoOf } from '../errno.js';
import { EngineError } from '../errors.js';
import type { FileSystem } from '../file-system.js';
import type { Gather } from '../gather.js';
import { listenNow, MAX_UNIX_PATH_BYTES } from '../listen.js';
import { allocateNow, MAX_CALL_BYTES, NodeFileSystem } from '../node-file-system.js';
import { Op } from '../op-table.js';
import { SlotState } from '../slot-table.js';
import { Listener } from './listener.js';
import { watchSignal, type SignalWatch } from './signal.js';
import { StreamSocket } from './stream-socket.js';

/**
 * The portable engine: the same contract on node:net and node:fs. Results come in callbacks of Node's loop and are told together
 * in one turn per iteration of it. Slower than io_uring, complete outside: no O_DIRECT (memory has no known alignment), WRITE_DSYNC is a write
 * and an fdatasync.
 */
export class LibuvEngine extends EngineBase {
  readonly kind = 'libuv' as const;
  readonly files: FileSystem;
  readonly wakeHandle: WakeHandle = { signal: new SharedArrayBuffer(4), eventFd: -1 };
  readonly #sockets = new Map<Slot, StreamSocket>();
  readonly #listeners = new Map<Slot, Listener>();
  readonly #done: { op: number; result: number }[] = [];
  readonly #signal: SignalWatch;
  #scheduled = false;
  #woken = false;
  #running: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | null = null;
  #destroyed = false;
  #timer: NodeJS.Timeout | null = null;
  #keepAlive: NodeJS.Timeout | null = null;
  /** Sockets that Node has made itself have no descriptor of ours: they wait here between accept or connect and their slot. */
  readonly #fresh = new Map<number, StreamSocket>();
  readonly #connecting = new Set<net.Socket>();
  #nextFresh = FIRST_FRESH;

  readonly #addon = loadAddon();

  constructor(arena: Arena) {
    super(arena);
    this.nowNs = now();
    this.files = new NodeFileSystem(
      arena,
      { adopt: (fd, kind) => this.adopt(fd, kind), release: slot => this.release(slot), descriptor: slot => this.fileDescriptor(slot) },
      false,
    );
    this.#signal = watchSignal(this.wakeHandle.signal, () => {
      this.#woken = true;
      this.#schedule();
    });
  }

  listen(address: SocketAddress, options: ListenOptions = {}): Slot {
    if (this.#addon !== null) {
      const fd = listenNow(this.#addon, address, options);
      return this.#addListener(Listener.fromDescriptor(this.#addon, fd, options.backlog));
    }
    return this.#addListener(Listener.bind(address, options));
  }

  #addListener(listener: Listener): Slot {
    try {
      const slot = this.slots.add(listener.fd, 'listener');
      this.#listeners.set(slot, listener);
      return slot;
    } catch (error) {
      listener.close();
      throw error;
    }
  }

  localAddress(slot: Slot): SocketAddress {
    this.slots.check(slot, SlotState.listener);
    return this.#listeners.get(slot)!.localAddress();
  }

  shutdown(slot: Slot): void {
    this.slots.check(slot, SlotState.socket);
    this.#sockets.get(slot)!.shutdown();
  }

  run(): Promise<void> {
    if (this.#running !== null) return Promise.reject(new EngineError('ERR_UNSUPPORTED', 'the engine is running already'));
    this.stopping = false;
    // Timers and wakes alone would not keep Node's loop alive.
    this.#keepAlive = setInterval(() => undefined, LONGEST_MS);
    return new Promise((resolve, reject) => {
      this.#running = { resolve, reject };
      this.#schedule();
    });
  }

  destroy(): void {
    this.#destroyed = true;
    this.#signal.close();
    for (const socket of this.#connecting) socket.destroy();
    for (const socket of this.#fresh.values()) socket.destroy();
    this.#fresh.clear();
    for (const slot of this.slots.openSlots()) {
      // A descriptor that a thread of libuv's pool is using must not go to anybody else: it is closed after that (see #complete).
      if (this.slots.state[slot] === SlotState.file && this.slots.outstanding[slot]! > 0) continue;
      if (this.slots.fd[slot]! >= 0 || this.slots.closing[slot] === -1) this.closeDescriptor(slot);
      this.slots.remove(slot);
    }
    this.timers.clear();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  override stop(): void {
    super.stop();
    this.#schedule();
  }

  override timer(delayNs: number, client: number, tag: number): number {
    const id = super.timer(delayNs, client, tag);
    this.#armTimer();
    return id;
  }

  protected override answer(op: number, result: number): void {
    super.answer(op, result);
    this.#schedule();
  }

  // ---------------------------------------------------------------- operations

  protected start(op: number, gather: Gather | null): void {
    const { ops } = this;
    const slot = ops.slot[op]!;
    switch (ops.kind[op]!) {
      case Op.read:
      case Op.write:
        return this.#transfer(op);
      case Op.sync:
        return fs.fdatasync(this.slots.fd[slot]!, error => this.#complete(op, error === null ? 0 : errnoOf(error)));
      case Op.allocate:
        // Synchronous: Node has no fallocate, the addon's call is short.
        return this.answer(op, allocate(this.slots.fd[slot]!, ops.flags[op]!, ops.fileOffset[op]!, ops.lengthBytes[op]!));
      case Op.recv:
        return this.#sockets
          .get(slot)!
          .receive(ops.offset[op]!, ops.lengthBytes[op]!, (ops.flags[op]! & RECV_ALL) !== 0, result => this.#complete(op, result));
      case Op.send:
        return this.#sockets.get(slot)!.send(gather!, result => this.#complete(op, result));
      case Op.accept:
        return this.#listeners.get(slot)!.accept((socket, error) => this.#complete(op, socket === null ? error : this.#keep(socket)));
    }
  }

  protected startConnect(op: number, address: SocketAddress): void {
    if (address.family === 'tcp' && net.isIP(address.host) === 0) return this.answer(op, -errno.EINVAL);
    if (address.family === 'unix' && Buffer.byteLength(address.path) > MAX_UNIX_PATH_BYTES) return this.answer(op, -errno.ENAMETOOLONG);
    const target = address.family === 'unix' ? { path: address.path } : { host: address.host, port: address.port, noDelay: true };
    const socket = new net.Socket({ allowHalfOpen: true });
    this.#connecting.add(socket);
    const onError = (error: Error): void => {
      this.#connecting.delete(socket);
      this.#complete(op, errnoOf(error));
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      this.#connecting.delete(socket);
      this.#complete(op, this.#keep(socket));
    });
    socket.connect(target);
  }

  protected cancel(slot: Slot): void {
    this.#sockets.get(slot)?.cancel();
    this.#listeners.get(slot)?.cancel();
  }

  protected interruptNow(slot: Slot): void {
    this.#sockets.get(slot)?.interrupt();
    this.#listeners.get(slot)?.cancel();
  }

  protected closeDescriptor(slot: Slot): void {
    const socket = this.#sockets.get(slot);
    const listener = this.#listeners.get(slot);
    this.#sockets.delete(slot);
    this.#listeners.delete(slot);
    if (socket !== undefined) socket.destroy();
    else if (listener !== undefined) listener.close();
    else fs.closeSync(this.slots.fd[slot]!);
  }

  protected slotAdded(slot: Slot): void {
    const fd = this.slots.fd[slot]!;
    if (this.slots.state[slot] === SlotState.listener) this.#listeners.set(slot, Listener.fromDescriptor(this.#addon, fd));
    if (this.slots.state[slot] !== SlotState.socket) return;
    const socket = this.#fresh.get(fd) ?? new StreamSocket(this.arena, openSocket(fd));
    this.#fresh.delete(fd);
    this.#sockets.set(slot, socket);
  }

  protected override discard(token: number): void {
    this.#fresh.get(token)?.destroy();
    this.#fresh.delete(token);
  }

  override release(slot: Slot): number {
    this.slots.checkOpen(slot);
    const unread = this.#sockets.get(slot)?.unreadBytes ?? 0;
    if (unread > 0) throw new EngineError('ERR_SLOT', `slot ${slot} has ${unread} bytes read ahead that would be lost`);
    const accepted = this.#listeners.get(slot)?.accepted ?? 0;
    if (accepted > 0) throw new EngineError('ERR_SLOT', `slot ${slot} has ${accepted} connections accepted ahead that would be lost`);
    return super.release(slot);
  }

  protected slotReleased(slot: Slot): void {
    const socket = this.#sockets.get(slot);
    const listener = this.#listeners.get(slot);
    if (socket === undefined && listener === undefined) return;
    // Node cannot give a socket's descriptor away; a duplicate of it can go.
    if (this.#addon === null) throw new EngineError('ERR_UNSUPPORTED', 'a socket cannot leave the libuv engine without the addon');
    const fd = this.#addon.duplicate(socket?.descriptor() ?? listener!.fd);
    if (fd < 0) throw new EngineError(errnoName(fd), `slot ${slot} cannot be released: ${errnoName(fd)}`);
    this.slots.fd[slot] = fd;
    this.#sockets.delete(slot);
    this.#listeners.delete(slot);
    socket?.letGo();
    listener?.close();
  }

  #transfer(op: number): void {
    const { ops, arena } = this;
    const fd = this.slots.fd[ops.slot[op]!]!;
    const done = ops.doneBytes[op]!;
    const callback = (error: NodeJS.ErrnoException | null, bytes: number): void => {
      const result = settleTransfer(ops, op, error === null ? bytes : errnoOf(error));
      if (Number.isNaN(result)) this.#transfer(op);
      else if (result >= 0 && ops.kind[op] === Op.write && (ops.flags[op]! & WRITE_DSYNC) !== 0) {
        fs.fdatasync(fd, failed => this.#complete(op, failed === null ? result : errnoOf(failed)));
      } else this.#complete(op, result);
    };
    const at = ops.offset[op]! + done;
    const length = Math.min(ops.lengthBytes[op]! - done, MAX_CALL_BYTES);
    const position = ops.fileOffset[op]! + done;
    if (ops.kind[op] === Op.read) fs.read(fd, arena.bytes, at, length, position, callback);
    else fs.write(fd, arena.bytes, at, length, position, callback);
  }

  // ---------------------------------------------------------------- the turn

  #keep(socket: net.Socket): number {
    socket.pause();
    const token = this.#nextFresh++;
    if (this.#nextFresh === LAST_FRESH) this.#nextFresh = FIRST_FRESH;
    this.#fresh.set(token, new StreamSocket(this.arena, socket));
    return token;
  }

  #complete(op: number, result: number): void {
    if (this.#destroyed) return this.#completeLate(op);
    this.#done.push({ op, result });
    this.#schedule();
  }

  /** After destroy: tells nobody, and closes the file that was in use. */
  #completeLate(op: number): void {
    const slot = this.ops.slot[op]!;
    if (slot < 0 || this.slots.state[slot] !== SlotState.file || --this.slots.outstanding[slot]! > 0) return;
    this.closeDescriptor(slot);
    this.slots.remove(slot);
  }

  #schedule(): void {
    if (this.#scheduled || this.#running === null) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    const running = this.#running;
    if (running === null) return;
    try {
      this.#tellAll();
    } catch (error) {
      this.#ended();
      running.reject(error);
      return;
    }
    this.#armTimer();
    if (this.hasAnswered) this.#schedule();
    if (!this.stopping) return;
    this.#ended();
    running.resolve();
  }

  #tellAll(): void {
    this.nowNs = now();
    for (const { op, result } of this.#done.splice(0)) this.finish(op, result);
    this.tellAnswered();
    this.tellTimers();
    if (this.#woken) {
      this.#woken = false;
      this.tellWake();
    }
    this.endTurn();
  }

  #ended(): void {
    clearInterval(this.#keepAlive!);
    this.#running = null;
  }

  #armTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const next = this.timers.nextNs();
    if (next === Infinity) return;
    this.#timer = setTimeout(() => this.#schedule(), Math.min(LONGEST_MS, Math.max(0, Math.ceil((next - now()) / 1e6))));
  }
}

/** Tokens in place of descriptors for sockets that Node made: above any descriptor. */
const FIRST_FRESH = 1 << 28;
const LAST_FRESH = 1 << 30;
/** The longest time that Node's timers take. */
const LONGEST_MS = 0x7fff_ffff;

function openSocket(fd: number): net.Socket {
  try {
    return new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  } catch (error) {
    throw new EngineError('ERR_ARGUMENT', `descriptor ${fd} is not a stream socket`, { cause: error });
  }
}

function allocate(fd: number, mode: number, fileOffsetBytes: number, lengthBytes: number): number {
  try {
    return allocateNow(fd, mode, fileOffsetBytes, lengthBytes);
  } catch (error) {
    return errnoOf(error);
  }
}

function now(): number {
  return Number(process.hrtime.bigint());
}
