import {
  WRITE_DSYNC,
  type Arena,
  type ClientId,
  type Engine,
  type EngineClient,
  type FileSystem,
  type OpenOptions,
  type Slot,
  type TimerId,
} from 'uring-engine';
import { seededRandom } from '../store/seeded-random.js';

/**
 * A disk and an engine over it on a virtual clock, by seed: operations complete in any order; a power cut keeps, sector by sector, the old or the new
 * of everything that no completed sync covers, of names a part of what was not synced, in order. A crash of the process keeps what was completed.
 */
const SECTOR = 512;

class Inode {
  bytes = new Uint8Array(0);
  stable = new Uint8Array(0);
  readonly dirty = new Set<number>();

  grow(size: number): void {
    if (size <= this.bytes.length) return;
    const grow = (old: Uint8Array) => {
      const next = new Uint8Array(size);
      next.set(old);
      return next;
    };
    this.bytes = grow(this.bytes);
    this.stable = grow(this.stable);
  }

  write(at: number, data: Uint8Array): void {
    this.grow(at + data.length);
    this.bytes.set(data, at);
    for (let s = Math.floor(at / SECTOR); s * SECTOR < at + data.length; s++) this.dirty.add(s);
  }

  settle(sector: number, keep: boolean): void {
    const from = sector * SECTOR;
    const to = Math.min(from + SECTOR, this.bytes.length);
    if (keep) this.stable.set(this.bytes.subarray(from, to), from);
    else this.bytes.set(this.stable.subarray(from, to), from);
  }

  sync(sectors: Iterable<number>): void {
    for (const sector of sectors) {
      this.settle(sector, true);
      this.dirty.delete(sector);
    }
  }
}

/** The power goes in the middle of a synchronous call. */
export class PowerLoss extends Error {}

type Names = Map<string, Inode>;
type NameChange = (names: Names) => void;

export class SimulatedDisk {
  ignoreDsync = false;
  ignoreDirectorySync = false;
  readonly random: () => number;
  names: Names = new Map();
  #stableNames: Names = new Map();
  #changes: { readonly directory: string; readonly change: NameChange }[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  change(path: string, change: NameChange): void {
    change(this.names);
    this.#changes.push({ directory: path.slice(0, path.lastIndexOf('/')), change });
  }

  syncDirectory(directory: string): void {
    if (this.ignoreDirectorySync) return;
    for (const one of this.#changes) if (one.directory === directory) one.change(this.#stableNames);
    this.#changes = this.#changes.filter(one => one.directory !== directory);
  }

  powerCut(): void {
    const kept = this.random() < 0.5 ? 0 : Math.floor(this.random() * (this.#changes.length + 1));
    for (let i = 0; i < kept; i++) this.#changes[i]!.change(this.#stableNames);
    this.#changes = [];
    this.names = new Map(this.#stableNames);
    for (const inode of new Set(this.names.values())) {
      const chance = [0, 1, 0.5, 0.95, 0.05][Math.floor(this.random() * 5)]!;
      for (const sector of inode.dirty) inode.settle(sector, this.random() < chance);
      inode.dirty.clear();
    }
  }
}

interface Operation {
  readonly dueNs: number;
  readonly client: ClientId;
  readonly tag: number;
  /** Carried out at completion; gives the result. */
  readonly run: () => number;
  /** What a power cut may leave of it, where it is a write. */
  readonly write: { readonly inode: Inode; readonly at: number; readonly data: () => Uint8Array } | null;
  readonly timer: boolean;
}

export class SimulatedEngine {
  readonly kind = 'simulated';
  readonly files: FileSystem;
  nowNs = 1;
  outstanding = 0;
  /** Synchronous calls that change something, until the power goes in the middle of a start. */
  callsLeft = Infinity;
  /** Errno for writes from now on. */
  failWrites = 0;
  /** Total bytes the disk takes; fallocate beyond fails. */
  spaceBytes = Infinity;
  readonly #clients: EngineClient[] = [];
  readonly #hooks: { order: number; hook: () => void }[] = [];
  readonly #slots: (Inode | null)[] = [];
  #operations: Operation[] = [];
  #nextTimer = 1;
  readonly #timers = new Map<TimerId, Operation>();

  constructor(
    readonly disk: SimulatedDisk,
    readonly arena: Arena,
  ) {
    this.files = simulatedFiles(disk, arena, this.#slots, this);
  }

  get engine(): Engine {
    return this as unknown as Engine;
  }

  register(client: EngineClient): ClientId {
    return this.#clients.push(client) - 1;
  }

  atTurnEnd(order: number, hook: () => void): void {
    this.#hooks.push({ order, hook });
    this.#hooks.sort((a, b) => a.order - b.order);
  }

  read(slot: Slot, offset: number, lengthBytes: number, at: number, client: ClientId, tag: number): void {
    const inode = this.inode(slot);
    this.#add(client, tag, () => {
      const data = inode.bytes.subarray(at, at + lengthBytes);
      this.arena.bytes.set(data, offset);
      return data.length;
    });
  }

  write(slot: Slot, offset: number, lengthBytes: number, at: number, flags: number, client: ClientId, tag: number): void {
    const inode = this.inode(slot);
    const data = () => this.arena.bytes.subarray(offset, offset + lengthBytes);
    const run = (): number => {
      if (this.failWrites !== 0) return this.failWrites;
      inode.write(at, data());
      if (flags & WRITE_DSYNC && !this.disk.ignoreDsync) {
        for (let s = Math.floor(at / SECTOR); s * SECTOR < at + lengthBytes; s++) inode.sync([s]);
      }
      return lengthBytes;
    };
    this.#add(client, tag, run, { inode, at, data });
  }

  sync(slot: Slot, client: ClientId, tag: number): void {
    const inode = this.inode(slot);
    const covered = [...inode.dirty];
    this.#add(client, tag, () => (inode.sync(covered), 0));
  }

  allocate(slot: Slot, _mode: number, at: number, lengthBytes: number, client: ClientId, tag: number): void {
    const inode = this.inode(slot);
    this.#add(client, tag, () => {
      if (at + lengthBytes > this.spaceBytes) return -28;
      inode.grow(at + lengthBytes);
      return 0;
    });
  }

  timer(delayNs: number, client: ClientId, tag: number): TimerId {
    const operation = { dueNs: this.nowNs + delayNs, client, tag, run: () => 0, write: null, timer: true };
    this.#operations.push(operation);
    this.#timers.set(this.#nextTimer, operation);
    return this.#nextTimer++;
  }

  cancelTimer(id: TimerId): void {
    const operation = this.#timers.get(id);
    this.#operations = this.#operations.filter(one => one !== operation);
  }

  inode(slot: Slot): Inode {
    const inode = this.#slots[slot];
    if (inode == null) throw new Error(`slot ${slot} is not open`);
    return inode;
  }

  /** A turn with one completion, the one that is due next. False: nothing is under way. */
  step(): boolean {
    if (this.#operations.length === 0) this.#endTurn();
    if (this.#operations.length === 0) return false;
    this.#operations.sort((a, b) => a.dueNs - b.dueNs);
    const operation = this.#operations.shift()!;
    this.nowNs = Math.max(this.nowNs, operation.dueNs);
    if (!operation.timer) this.outstanding--;
    this.#clients[operation.client]!.onCompletion(operation.tag, operation.run());
    this.#endTurn();
    return true;
  }

  #endTurn(): void {
    for (const { hook } of this.#hooks) hook();
  }

  until(done: () => boolean, maxSteps = 1_000_000): void {
    for (let i = 0; i < maxSteps; i++) {
      if (done()) return;
      if (!this.step()) throw new Error('nothing happens any more');
    }
    throw new Error('it did not come about');
  }

  /** The engine is gone. Of writes under way any sectors may have got to the disk; with `power` what was not synced is at risk too. */
  crash(power: boolean): void {
    const { random } = this.disk;
    for (const { write } of this.#operations) {
      if (write === null) continue;
      const chance = [0, 1, 0.5][Math.floor(random() * 3)]!;
      const data = write.data().slice();
      for (let at = 0; at < data.length; at += SECTOR) {
        if (random() < chance) write.inode.write(write.at + at, data.subarray(at, at + SECTOR));
      }
    }
    this.#operations = [];
    if (power) this.disk.powerCut();
  }

  #add(client: ClientId, tag: number, run: () => number, write: Operation['write'] = null): void {
    this.outstanding++;
    const dueNs = this.nowNs + 1_000 + Math.floor(this.disk.random() * 200_000);
    this.#operations.push({ dueNs, client, tag, run, write, timer: false });
  }
}

function simulatedFiles(disk: SimulatedDisk, arena: Arena, slots: (Inode | null)[], engine: SimulatedEngine): FileSystem {
  const fail = (code: string, errno: number): never => {
    throw Object.assign(new Error(code), { code, errno });
  };
  const call = (): void => {
    if (engine.callsLeft-- <= 0) throw new PowerLoss('the power went');
  };
  const view = (offset: number, length: number) => arena.bytes.subarray(offset, offset + length);
  return {
    open(path: string, options: OpenOptions): Slot {
      if (!disk.names.has(path)) {
        if (options.create !== true) fail('ENOENT', 2);
        const inode = new Inode();
        disk.change(path, names => names.set(path, inode));
      }
      return slots.push(disk.names.get(path)!) - 1;
    },
    close: slot => void (slots[slot] = null),
    sizeBytes: slot => slots[slot]!.bytes.length,
    read(slot, offset, length, at) {
      const data = slots[slot]!.bytes.subarray(at, at + length);
      arena.bytes.set(data, offset);
      return data.length;
    },
    write(slot, offset, length, at) {
      call();
      slots[slot]!.write(at, view(offset, length).slice());
    },
    sync(slot) {
      call();
      slots[slot]!.sync([...slots[slot]!.dirty]);
    },
    truncate: () => fail('ENOSYS', 38),
    allocate(slot, _mode, at, length) {
      if (at + length > engine.spaceBytes) fail('ENOSPC', 28);
      slots[slot]!.grow(at + length);
    },
    list: directory =>
      [...disk.names.keys()]
        .filter(path => path.startsWith(`${directory}/`))
        .map(path => path.slice(directory.length + 1))
        .sort(),
    exists: path => disk.names.has(path),
    makeDirectory: () => undefined,
    rename(from, to) {
      call();
      const inode = disk.names.get(from) ?? fail('ENOENT', 2);
      disk.change(to, names => {
        names.delete(from);
        names.set(to, inode);
      });
    },
    remove(path) {
      call();
      disk.change(path, names => void names.delete(path));
    },
    syncDirectory(directory) {
      call();
      disk.syncDirectory(directory);
    },
    space: () => ({ freeBytes: 1e12, totalBytes: 1e12 }),
  };
}

export function simulatedArena(byteLength: number): Arena {
  const shared = new SharedArrayBuffer(byteLength);
  return {
    byteLength,
    bytes: new Uint8Array(shared),
    words: new Int32Array(shared),
    view: new DataView(shared),
    handle: { byteLength, id: -1, shared },
  };
}
