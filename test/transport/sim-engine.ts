import {
  RECV_ALL,
  type Arena,
  type ClientId,
  type Engine,
  type EngineClient,
  type FileSystem,
  type Gather,
  type Slot,
  type SlotKind,
  type SocketAddress,
  type TimerId,
  type WakeHandle,
} from 'uring-engine';

/**
 * Sockets of several engines in one thread, on a virtual clock, by seed: bytes move in pieces of any size, completions come in any order, a
 * socket can be cut at any byte. Memory is read when bytes move, not when the operation is enqueued, as in a kernel: who reuses
 * memory that an operation still names is found out.
 */
export class SimNetwork {
  nowNs = 1e9;
  readonly engines: SimEngine[] = [];
  readonly listeners = new Map<string, SimListener>();
  /** Descriptors on their way between engines. */
  readonly descriptors = new Map<number, SimSocket>();
  nextFd = 1_000;
  /** Most bytes that wait in one direction of a socket. */
  socketBytes = 100_000;
  #state: number;

  constructor(
    seed: number,
    readonly arena: Arena = simArena(64 << 20),
  ) {
    this.#state = seed | 0 || 1;
  }

  /** 0 ≤ result < below */
  random(below: number): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  engine(): SimEngine {
    const engine = new SimEngine(this);
    this.engines.push(engine);
    return engine;
  }

  /** Turns engines until the condition holds; throws when nothing can happen any more or after too many steps. */
  run(until: () => boolean, what = 'the condition', maxSteps = 2_000_000): void {
    for (let i = 0; i < maxSteps; i++) {
      if (until()) return;
      if (!this.step()) throw new Error(`nothing happens any more, waiting for ${what}`);
    }
    throw new Error(`${what} did not come about in ${maxSteps} steps`);
  }

  /** Lets virtual time pass. */
  pass(ms: number): void {
    const end = this.nowNs + ms * 1e6;
    while (this.nowNs < end && this.step(end));
    this.nowNs = Math.max(this.nowNs, end);
  }

  step(notAfterNs = Infinity): boolean {
    let moved = false;
    for (const engine of this.engines) moved = engine.progress() || moved;
    const ready = this.engines.filter(engine => engine.ready);
    if (ready.length > 0) {
      ready[this.random(ready.length)]!.turn();
      this.nowNs += 1_000 + this.random(50_000);
      return true;
    }
    if (moved) return true;
    const next = Math.min(...this.engines.map(engine => engine.nextTimerNs));
    if (next === Infinity || next > notAfterNs) return false;
    this.nowNs = Math.max(this.nowNs, next);
    return true;
  }
}

export function simArena(byteLength: number): Arena {
  const shared = new SharedArrayBuffer(byteLength);
  return {
    byteLength,
    bytes: new Uint8Array(shared),
    words: new Int32Array(shared),
    view: new DataView(shared),
    handle: { byteLength, id: -1, shared },
  };
}

interface SimListener {
  readonly backlog: SimSocket[];
}

/** One end of a connection. */
class SimSocket {
  peer: SimSocket | null = null;
  inbox: number[] = [];
  /** The other end has said that nothing more comes. */
  ended = false;
  shut = false;
}

interface SimOperation {
  readonly kind: 'accept' | 'connect' | 'recv' | 'send' | 'close';
  readonly slot: Slot;
  readonly client: ClientId;
  readonly tag: number;
  readonly ranges: { offset: number; length: number }[];
  readonly total: number;
  readonly all: boolean;
  readonly path: string;
  done: number;
}

interface SimTimer {
  readonly id: TimerId;
  readonly atNs: number;
  readonly client: ClientId;
  readonly tag: number;
}

export class SimEngine implements Engine {
  readonly kind = 'simulated';
  readonly arena: Arena;
  readonly wakeHandle: WakeHandle = { signal: new SharedArrayBuffer(8), eventFd: -1 };
  readonly #clients: EngineClient[] = [];
  readonly #hooks: { order: number; hook: () => void }[] = [];
  readonly #wakes: (() => void)[] = [];
  readonly #slots = new Map<Slot, SimSocket | SimListener>();
  readonly #paths = new Map<Slot, string>();
  #operations: SimOperation[] = [];
  #completions: { client: ClientId; tag: number; result: number }[] = [];
  #timers: SimTimer[] = [];
  #nextSlot = 0;
  #nextTimer = 0;
  #woken = false;
  dead = false;
  /** The process is stopped: its kernel goes on taking connections, and bytes as long as there is room. */
  hung = false;

  constructor(readonly network: SimNetwork) {
    this.arena = network.arena;
  }

  get files(): FileSystem {
    throw new Error('no files here');
  }
  get nowNs(): number {
    return this.network.nowNs;
  }
  get outstanding(): number {
    return this.#operations.length;
  }
  get ready(): boolean {
    const signal = new Int32Array(this.wakeHandle.signal);
    if (signal.some(cell => cell !== 0)) {
      signal.fill(0);
      this.#woken = true;
    }
    return !this.dead && !this.hung && (this.#woken || this.#completions.length > 0 || this.nextTimerNs <= this.nowNs);
  }
  get nextTimerNs(): number {
    return this.dead || this.hung ? Infinity : Math.min(Infinity, ...this.#timers.map(timer => timer.atNs));
  }

  /** A turn comes soon: for tests that do things from outside. */
  poke(): void {
    this.#woken = true;
  }

  /** The process is killed: its sockets close, nothing more of it happens. */
  kill(): void {
    this.dead = true;
    for (const [slot, path] of this.#paths)
      if (this.network.listeners.get(path) === this.#slots.get(slot)) this.network.listeners.delete(path);
    for (const entry of this.#slots.values()) {
      if (entry instanceof SimSocket) disconnect(entry);
      else entry.backlog.forEach(disconnect);
    }
    this.#operations = [];
    this.#completions = [];
    this.#timers = [];
  }

  register(client: EngineClient): ClientId {
    return this.#clients.push(client) - 1;
  }
  atTurnEnd(order: number, hook: () => void): void {
    this.#hooks.push({ order, hook });
    this.#hooks.sort((a, b) => a.order - b.order);
  }
  onWake(listener: () => void): void {
    this.#wakes.push(listener);
  }

  adopt(fd: number, _kind: SlotKind): Slot {
    const socket = this.network.descriptors.get(fd)!;
    this.network.descriptors.delete(fd);
    return this.#add(socket);
  }
  release(slot: Slot): number {
    if (this.#operations.some(operation => operation.slot === slot)) throw new Error('something is outstanding on the slot');
    const fd = this.network.nextFd++;
    this.network.descriptors.set(fd, this.#socket(slot));
    this.#slots.delete(slot);
    return fd;
  }
  listen(address: SocketAddress): Slot {
    const { path } = address as { path: string };
    const listener: SimListener = { backlog: [] };
    this.network.listeners.set(path, listener);
    const slot = this.#add(listener);
    this.#paths.set(slot, path);
    return slot;
  }
  localAddress(slot: Slot): SocketAddress {
    return { family: 'unix', path: this.#paths.get(slot)! };
  }

  accept(listener: Slot, client: ClientId, tag: number): void {
    this.#operate('accept', listener, client, tag);
  }
  connect(address: SocketAddress, client: ClientId, tag: number): void {
    this.#operate('connect', -1, client, tag, [], false, (address as { path: string }).path);
  }
  recv(slot: Slot, offset: number, lengthBytes: number, flags: number, client: ClientId, tag: number): void {
    if (this.#operations.some(operation => operation.kind === 'recv' && operation.slot === slot))
      throw new Error('two receives on one slot');
    this.#operate('recv', slot, client, tag, [{ offset, length: lengthBytes }], (flags & RECV_ALL) !== 0);
  }
  send(slot: Slot, gather: Gather, _flags: number, client: ClientId, tag: number): void {
    if (this.#operations.some(operation => operation.kind === 'send' && operation.slot === slot)) throw new Error('two sends on one slot');
    const ranges = Array.from({ length: gather.count }, (_, i) => ({ offset: gather.offsets[i]!, length: gather.lengths[i]! }));
    this.#operate('send', slot, client, tag, ranges);
  }
  close(slot: Slot, client: ClientId, tag: number): void {
    this.#operate('close', slot, client, tag);
  }
  interrupt(): void {
    throw new Error('the simulated network interrupts nothing');
  }
  shutdown(slot: Slot): void {
    const socket = this.#socket(slot);
    socket.shut = true;
    if (socket.peer !== null) socket.peer.ended = true;
  }
  timer(delayNs: number, client: ClientId, tag: number): TimerId {
    const id = ++this.#nextTimer;
    this.#timers.push({ id, atNs: this.nowNs + delayNs, client, tag });
    return id;
  }
  cancelTimer(id: TimerId): void {
    this.#timers = this.#timers.filter(timer => timer.id !== id);
  }

  read(): void {
    throw new Error('no files here');
  }
  write(): void {
    throw new Error('no files here');
  }
  sync(): void {
    throw new Error('no files here');
  }
  allocate(): void {
    throw new Error('no files here');
  }
  run(): Promise<void> {
    throw new Error('the network runs');
  }
  stop(): void {
    this.dead = true;
  }
  destroy(): void {
    this.kill();
  }

  /** Cuts the connection that was made or accepted last and still lives; for tests. */
  cutLast(): boolean {
    const sockets = [...this.#slots.values()].filter(entry => entry instanceof SimSocket && !entry.shut);
    const socket = sockets.at(-1) as SimSocket | undefined;
    if (socket === undefined) return false;
    disconnect(socket);
    return true;
  }

  turn(): void {
    const due = this.#timers.filter(timer => timer.atNs <= this.nowNs);
    this.#timers = this.#timers.filter(timer => timer.atNs > this.nowNs);
    const count = this.#completions.length === 0 ? 0 : 1 + this.network.random(this.#completions.length);
    for (const { client, tag, result } of this.#completions.splice(0, count)) this.#clients[client]!.onCompletion(tag, result);
    for (const { client, tag } of due) this.#clients[client]!.onCompletion(tag, 0);
    if (this.#woken) {
      this.#woken = false;
      for (const listener of this.#wakes) listener();
    }
    for (const { hook } of this.#hooks) hook();
  }

  /** Moves bytes; whether any did. */
  progress(): boolean {
    if (this.dead || this.hung) return false;
    let moved = false;
    for (const operation of [...this.#operations]) {
      if (!this.#operations.includes(operation) || this.network.random(3) === 0) {
        moved = true;
        continue;
      }
      moved = this.#progress(operation) || moved;
    }
    return moved && this.#operations.length > 0;
  }

  #progress(operation: SimOperation): boolean {
    if (operation.kind === 'connect') return this.#progressConnect(operation);
    if (operation.kind === 'close') return this.#progressClose(operation);
    if (operation.kind === 'accept') {
      const next = (this.#slots.get(operation.slot) as SimListener).backlog.shift();
      if (next !== undefined) this.#complete(operation, this.#add(next));
      return next !== undefined;
    }
    const socket = this.#socket(operation.slot);
    return operation.kind === 'recv' ? this.#progressRecv(operation, socket) : this.#progressSend(operation, socket);
  }

  #progressConnect(operation: SimOperation): boolean {
    const listener = this.network.listeners.get(operation.path);
    if (listener === undefined) {
      this.#complete(operation, -111);
      return true;
    }
    const [near, far] = [new SimSocket(), new SimSocket()];
    near.peer = far;
    far.peer = near;
    listener.backlog.push(far);
    this.#complete(operation, this.#add(near));
    return true;
  }

  #progressClose(operation: SimOperation): boolean {
    const { slot } = operation;
    for (const other of this.#operations.filter(one => one.slot === slot && one !== operation)) this.#complete(other, -125);
    const entry = this.#slots.get(slot)!;
    if (entry instanceof SimSocket) disconnect(entry);
    else {
      entry.backlog.forEach(disconnect);
      this.network.listeners.delete(this.#paths.get(slot)!);
    }
    this.#slots.delete(slot);
    this.#complete(operation, 0);
    return true;
  }

  #progressRecv(operation: SimOperation, socket: SimSocket): boolean {
    const { offset, length } = operation.ranges[0]!;
    if (socket.inbox.length > 0 && !socket.shut) {
      const most = Math.min(length - operation.done, socket.inbox.length);
      const count = this.network.random(3) === 0 ? 1 + this.network.random(most) : most;
      this.arena.bytes.set(socket.inbox.splice(0, count), offset + operation.done);
      operation.done += count;
      if (!operation.all || operation.done === length) this.#complete(operation, operation.done);
      return true;
    }
    if (!socket.ended && !socket.shut) return false;
    this.#complete(operation, operation.done);
    return true;
  }

  #progressSend(operation: SimOperation, socket: SimSocket): boolean {
    const { peer } = socket;
    if (socket.shut || peer === null || peer.shut) {
      this.#complete(operation, -32);
      return true;
    }
    const room = this.network.socketBytes - peer.inbox.length;
    if (room <= 0) return false;
    const count = Math.min(room, operation.total - operation.done, 1 + this.network.random(64_000));
    let skip = operation.done;
    let left = count;
    for (const { offset, length } of operation.ranges) {
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const piece = Math.min(left, length - skip);
      for (let i = 0; i < piece; i++) peer.inbox.push(this.arena.bytes[offset + skip + i]!);
      left -= piece;
      skip = 0;
      if (left === 0) break;
    }
    operation.done += count;
    if (operation.done === operation.total) this.#complete(operation, operation.total);
    return true;
  }

  #complete(operation: SimOperation, result: number): void {
    this.#operations.splice(this.#operations.indexOf(operation), 1);
    this.#completions.push({ client: operation.client, tag: operation.tag, result });
  }

  #operate(
    kind: SimOperation['kind'],
    slot: Slot,
    client: ClientId,
    tag: number,
    ranges: SimOperation['ranges'] = [],
    all = false,
    path = '',
  ): void {
    if (slot >= 0 && !this.#slots.has(slot)) throw new Error(`slot ${slot} is not open`);
    for (const { offset, length } of ranges) {
      if (!(offset >= 0 && length > 0 && offset + length <= this.arena.byteLength))
        throw new Error(`range ${offset}+${length} outside the arena`);
    }
    const total = ranges.reduce((sum, range) => sum + range.length, 0);
    this.#operations.push({ kind, slot, client, tag, ranges, total, all, path, done: 0 });
  }

  #add(entry: SimSocket | SimListener): Slot {
    this.#slots.set(++this.#nextSlot, entry);
    return this.#nextSlot;
  }

  #socket(slot: Slot): SimSocket {
    const entry = this.#slots.get(slot);
    if (!(entry instanceof SimSocket)) throw new Error(`slot ${slot} is no open socket`);
    return entry;
  }
}

function disconnect(socket: SimSocket): void {
  socket.shut = true;
  if (socket.peer !== null) socket.peer.ended = true;
}
