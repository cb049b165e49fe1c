import fs from 'node:fs';
import net from 'node:net';
import { loadAddon } from '../addon.js';
import type { Arena } from '../arena.js';
import { EngineBase, settleTransfer } from '../engine-base.js';
import { RECV_ALL, WRITE_DSYNC, type ListenOptions, type Slot, type SocketAddress, type WakeHandle } from '../engine.js';
import { errno, errnoOf } from '../errno.js';
import { EngineError } from '../errors.js';
import type { FileSystem } from '../file-system.js';
import type { Gather } from '../gather.js';
import { checkUnixPath, isStale, listenNow } from '../listen.js';
import { allocateNow, NodeFileSystem } from '../node-file-system.js';
import { Op } from '../op-table.js';
import { watchSignal, type SignalWatch } from './signal.js';
import { StreamSocket } from './stream-socket.js';

/**
 * The portable engine: the same contract on node:net and node:fs. Results come in callbacks of Node's loop and are told together
 * in one turn per iteration of it. Slower than io_uring, complete outside: no O_DIRECT (memory has no known alignment), DSYNC by a second
 * descriptor opened with O_DSYNC.
 */
export class LibuvEngine extends EngineBase {
  readonly kind = 'libuv' as const;
  readonly files: FileSystem;
  readonly wakeHandle: WakeHandle = { signal: new SharedArrayBuffer(4), eventFd: -1 };
  readonly #sockets = new Map<Slot, StreamSocket>();
  readonly #listeners = new Map<Slot, Listener>();
  readonly #dsync = new Map<Slot, number>();
  readonly #done: { op: number; result: number }[] = [];
  readonly #signal: SignalWatch;
  #scheduled = false;
  #woken = false;
  #running: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;
  #keepAlive: NodeJS.Timeout | null = null;
  /** Sockets that Node has made itself have no descriptor of ours: they wait here between accept or connect and their slot. */
  readonly #fresh = new Map<number, net.Socket>();
  #nextFresh = FIRST_FRESH;

  constructor(arena: Arena) {
    super(arena);
    this.nowNs = now();
    this.files = new NodeFileSystem(
      arena,
      { adopt: (fd, kind) => this.adopt(fd, kind), release: slot => this.release(slot), descriptor: slot => this.#descriptorOf(slot) },
      false,
    );
    this.#signal = watchSignal(this.wakeHandle.signal, () => {
      this.#woken = true;
      this.#schedule();
    });
  }

  listen(address: SocketAddress, options: ListenOptions = {}): Slot {
    const addon = loadAddon();
    if (addon !== null) {
      const fd = listenNow(addon, address, options);
      const slot = this.slots.add(fd, 'listener');
      this.#listeners.set(slot, new Listener({ fd }, address, options));
      return slot;
    }
    if (address.family === 'unix') {
      checkUnixPath(address.path);
      if (fs.existsSync(address.path)) {
        if (!isStale(address.path)) throw new EngineError('ERR_ADDRESS_IN_USE', `${address.path} is in use by somebody who listens there`);
        fs.unlinkSync(address.path);
      }
    }
    const slot = this.slots.add(-1, 'listener');
    this.#listeners.set(slot, new Listener(address.family === 'unix' ? { path: address.path } : address, address, options));
    return slot;
  }

  localAddress(slot: Slot): SocketAddress {
    const listener = this.#listeners.get(slot);
    if (listener === undefined) throw new EngineError('ERR_SLOT', `slot ${slot} is not a listener`);
    return listener.localAddress();
  }

  shutdown(slot: Slot): void {
    this.slots.checkOpen(slot);
    this.#sockets.get(slot)?.cut();
  }

  run(): Promise<void> {
    this.stopping = false;
    // Timers and wakes alone would not keep Node's loop alive.
    this.#keepAlive = setInterval(() => undefined, 1 << 30);
    this.#schedule();
    return new Promise(resolve => {
      this.#running = resolve;
    });
  }

  destroy(): void {
    this.#signal.close();
    for (const slot of this.slots.openSlots()) {
      this.closeDescriptor(slot);
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
    const socket =
      address.family === 'unix'
        ? net.connect({ path: address.path })
        : net.connect({ host: address.host, port: address.port, noDelay: true });
    const onError = (error: Error): void => this.#complete(op, errnoOf(error));
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      this.#complete(op, this.#keep(socket));
    });
  }

  protected cancel(slot: Slot): void {
    this.#sockets.get(slot)?.cut();
    this.#listeners.get(slot)?.cancel();
  }

  protected closeDescriptor(slot: Slot): void {
    const dsync = this.#dsync.get(slot);
    if (dsync !== undefined) fs.closeSync(dsync);
    this.#dsync.delete(slot);
    const socket = this.#sockets.get(slot);
    const listener = this.#listeners.get(slot);
    this.#sockets.delete(slot);
    this.#listeners.delete(slot);
    if (socket !== undefined) socket.destroy();
    else if (listener !== undefined) listener.close();
    else fs.closeSync(this.slots.fd[slot]!);
  }

  protected slotAdded(slot: Slot): void {
    if (this.slots.state[slot] === 2) {
      const fd = this.slots.fd[slot]!;
      const fresh = this.#fresh.get(fd);
      this.#fresh.delete(fd);
      this.#sockets.set(
        slot,
        new StreamSocket(this.arena, fresh ?? new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true })),
      );
    } else if (this.slots.state[slot] === 3) {
      this.#listeners.set(slot, new Listener({ fd: this.slots.fd[slot]! }, { family: 'tcp', host: '127.0.0.1', port: 0 }, {}));
    }
  }

  protected slotReleased(slot: Slot): void {
    const dsync = this.#dsync.get(slot);
    if (dsync !== undefined) fs.closeSync(dsync);
    this.#dsync.delete(slot);
    const socket = this.#sockets.get(slot);
    if (socket === undefined) return;
    // Node cannot give a socket's descriptor away; a duplicate of it can.
    const addon = loadAddon();
    if (addon === null) throw new EngineError('ERR_UNSUPPORTED', 'a socket cannot leave the libuv engine without the addon');
    this.slots.fd[slot] = addon.duplicate(socket.descriptor());
    this.#sockets.delete(slot);
    socket.letGo();
  }

  override release(slot: Slot): number {
    this.slots.checkOpen(slot);
    const unread = this.#sockets.get(slot)?.unreadBytes ?? 0;
    if (unread > 0) throw new EngineError('ERR_SLOT', `slot ${slot} has ${unread} bytes read ahead that would be lost`);
    if (this.slots.outstanding[slot] !== 0) return super.release(slot);
    this.slotReleasedEarly(slot);
    return super.release(slot);
  }

  /** The base reads the descriptor before it calls slotReleased: for sockets it has to be the duplicate already. */
  private slotReleasedEarly(slot: Slot): void {
    if (this.#sockets.has(slot)) this.slotReleased(slot);
  }

  #transfer(op: number): void {
    const { ops, arena } = this;
    const slot = ops.slot[op]!;
    const done = ops.doneBytes[op]!;
    const callback = (error: NodeJS.ErrnoException | null, bytes: number): void => {
      const result = settleTransfer(ops, op, error === null ? bytes : errnoOf(error));
      if (Number.isNaN(result)) this.#transfer(op);
      else this.#complete(op, result);
    };
    const at = ops.offset[op]! + done;
    const length = ops.lengthBytes[op]! - done;
    const position = ops.fileOffset[op]! + done;
    if (ops.kind[op] === Op.read) fs.read(this.slots.fd[slot]!, arena.bytes, at, length, position, callback);
    else
      fs.write(
        ops.flags[op]! & WRITE_DSYNC ? this.#dsyncDescriptor(slot) : this.slots.fd[slot]!,
        arena.bytes,
        at,
        length,
        position,
        callback,
      );
  }

  #dsyncDescriptor(slot: Slot): number {
    let fd = this.#dsync.get(slot);
    if (fd === undefined) {
      fd = fs.openSync(`/proc/self/fd/${this.slots.fd[slot]!}`, fs.constants.O_RDWR | fs.constants.O_DSYNC);
      this.#dsync.set(slot, fd);
    }
    return fd;
  }

  // ---------------------------------------------------------------- the turn

  #keep(socket: net.Socket): number {
    socket.pause();
    const token = this.#nextFresh++;
    if (this.#nextFresh === LAST_FRESH) this.#nextFresh = FIRST_FRESH;
    this.#fresh.set(token, socket);
    return token;
  }

  #complete(op: number, result: number): void {
    this.#done.push({ op, result });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#running === null) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#running === null) return;
    this.nowNs = now();
    for (const { op, result } of this.#done.splice(0)) this.finish(op, result);
    this.tellAnswered();
    this.tellTimers();
    if (this.#woken) {
      this.#woken = false;
      this.tellWake();
    }
    this.endTurn();
    this.#armTimer();
    if (this.hasAnswered) this.#schedule();
    if (!this.stopping) return;
    clearInterval(this.#keepAlive!);
    const resolve = this.#running;
    this.#running = null;
    resolve();
  }

  #armTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const next = this.timers.nextNs();
    if (next === Infinity) return;
    this.#timer = setTimeout(() => this.#schedule(), Math.max(0, Math.ceil((next - now()) / 1e6)));
  }

  #descriptorOf(slot: Slot): number {
    this.slots.checkOpen(slot);
    return this.slots.fd[slot]!;
  }
}

/** Tokens in place of descriptors for sockets that Node made: above any descriptor. */
const FIRST_FRESH = 1 << 28;
const LAST_FRESH = 1 << 30;

/** Accepts connections ahead only as far as Node makes it; hands them out one per accept. */
class Listener {
  readonly #server: net.Server;
  readonly #waiting: ((socket: net.Socket | null, error: number) => void)[] = [];
  readonly #accepted: net.Socket[] = [];

  constructor(
    target: { fd: number } | { path: string } | { host: string; port: number },
    readonly address: SocketAddress,
    options: ListenOptions,
  ) {
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, socket => {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) this.#accepted.push(socket);
      else waiter(socket, 0);
    });
    this.#server.listen({ ...target, backlog: options.backlog ?? 128 });
    if (address.family === 'unix' && !('fd' in target))
      this.#server.once('listening', () => fs.chmodSync(address.path, options.mode ?? 0o600));
  }

  accept(callback: (socket: net.Socket | null, error: number) => void): void {
    const socket = this.#accepted.shift();
    if (socket === undefined) this.#waiting.push(callback);
    else callback(socket, 0);
  }

  cancel(): void {
    for (const waiter of this.#waiting.splice(0)) waiter(null, -errno.ECANCELED);
  }

  close(): void {
    for (const socket of this.#accepted.splice(0)) socket.destroy();
    this.#server.close();
  }

  localAddress(): SocketAddress {
    const bound = this.#server.address();
    return bound !== null && typeof bound === 'object' ? { family: 'tcp', host: bound.address, port: bound.port } : this.address;
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
