import type { Engine, EngineClient, FileSystem } from 'uring-engine';
import { seededRandom } from '../store/seeded-random.js';

/**
 * A disk that loses at a power cut, by seed, every sector not covered by a completed sync and every name not covered by a directory
 * sync, or keeps it: each for itself. With as much of an engine as the extents and the simulated store use, on a virtual clock.
 */
const SECTOR_BYTES = 512;
const ARENA_BYTES = 4 << 20;
const MAX_DELAY_NS = 100_000;

class Inode {
  data = Buffer.alloc(0);
  durable = Buffer.alloc(0);
  readonly unsynced = new Set<number>();

  write(bytes: Buffer, atBytes: number): void {
    if (this.data.length < atBytes + bytes.length) this.data = Buffer.concat([this.data], atBytes + bytes.length);
    bytes.copy(this.data, atBytes);
    for (let sector = atBytes / SECTOR_BYTES; sector < (atBytes + bytes.length) / SECTOR_BYTES; sector++) this.unsynced.add(sector);
  }

  sync(): void {
    this.durable = Buffer.from(this.data);
    this.unsynced.clear();
  }

  truncate(sizeBytes: number): void {
    this.data = Buffer.from(this.data.subarray(0, sizeBytes));
  }

  powerCut(random: () => number): void {
    const size = random() < 0.5 ? this.data.length : this.durable.length;
    const left = Buffer.alloc(size);
    this.data.copy(left);
    for (const sector of this.unsynced) {
      if (random() < 0.5 || sector * SECTOR_BYTES >= size) continue;
      const from = sector * SECTOR_BYTES;
      left.fill(0, from, from + SECTOR_BYTES);
      if (from < this.durable.length) this.durable.copy(left, from, from, from + SECTOR_BYTES);
    }
    this.data = left;
    this.sync();
  }
}

const parentOf = (path: string) => path.slice(0, path.lastIndexOf('/')) || '/';

function notFound(path: string): Error {
  return Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
}

export class FaultyRig {
  engine: SimulatedEngine;
  readonly #random: () => number;
  #names = new Map<string, Inode | 'directory'>([['/', 'directory']]);
  #durableNames = new Map(this.#names);

  constructor(seed: number) {
    this.#random = seededRandom(seed * 7 + 1);
    this.engine = this.#start();
  }

  until(done: () => boolean): void {
    for (let turns = 0; !done(); turns++) {
      if (turns > 100_000 || !this.engine.step()) throw new Error('nothing more happens');
    }
  }

  steps(count: number): void {
    while (count-- > 0 && this.engine.step());
  }

  /** What was under way is lost; `engine` is that of the next start. */
  powerCut(): void {
    const random = this.#random;
    const names = new Map(this.#durableNames);
    for (const [path, what] of this.#names) if (!names.has(path) && random() < 0.3) names.set(path, what);
    for (const path of [...names.keys()]) if (!this.#names.has(path) && random() < 0.3) names.delete(path);
    for (const path of [...names.keys()]) {
      for (let up = path; up !== '/'; up = parentOf(up)) if (!names.has(parentOf(up))) names.delete(path);
    }
    for (const what of new Set([...this.#names.values(), ...names.values()])) if (what !== 'directory') what.powerCut(random);
    this.#names = names;
    this.#durableNames = new Map(names);
    this.engine = this.#start();
  }

  #start(): SimulatedEngine {
    return new SimulatedEngine(this.#random, slots => this.#fileSystem(slots));
  }

  #fileSystem(slots: SimulatedSlots): FileSystem {
    const names = () => this.#names;
    return {
      open: (path, options) => {
        const found = names().get(path);
        if (found === 'directory' || (found === undefined && (options.create !== true || !names().has(parentOf(path)))))
          throw notFound(path);
        const inode = found ?? new Inode();
        names().set(path, inode);
        return slots.add(inode);
      },
      close: slot => slots.remove(slot),
      sizeBytes: slot => slots.get(slot).data.length,
      read: (slot, offset, lengthBytes, at) => slots.read(slot, offset, lengthBytes, at),
      write: (slot, offset, lengthBytes, at) => slots.get(slot).write(slots.copy(offset, lengthBytes), at),
      sync: slot => slots.get(slot).sync(),
      truncate: (slot, sizeBytes) => slots.get(slot).truncate(sizeBytes),
      allocate: () => undefined,
      list: directory => {
        if (!names().has(directory)) throw notFound(directory);
        return [...names().keys()]
          .filter(path => path !== '/' && parentOf(path) === directory)
          .map(path => path.slice(path.lastIndexOf('/') + 1))
          .sort();
      },
      exists: path => names().has(path),
      makeDirectory: path => {
        for (const match of path.matchAll(/\/[^/]+/g)) {
          const up = path.slice(0, match.index + match[0].length);
          if (!names().has(up)) names().set(up, 'directory');
        }
      },
      rename: () => {
        throw new Error('not used by the extents');
      },
      remove: path => {
        if (!names().delete(path)) throw notFound(path);
      },
      syncDirectory: directory => {
        for (const path of [...this.#durableNames.keys()]) {
          if (path !== '/' && parentOf(path) === directory && !names().has(path)) this.#durableNames.delete(path);
        }
        for (const [path, what] of names()) if (path !== '/' && parentOf(path) === directory) this.#durableNames.set(path, what);
      },
      space: () => ({ freeBytes: 1e12, totalBytes: 1e12 }),
    };
  }
}

/** Open files, and the arena they are read into. */
class SimulatedSlots {
  readonly #open = new Map<number, Inode>();
  #next = 1;

  constructor(readonly bytes: Uint8Array) {}

  add(inode: Inode): number {
    this.#open.set(this.#next, inode);
    return this.#next++;
  }

  get(slot: number): Inode {
    const inode = this.#open.get(slot);
    if (inode === undefined) throw new Error(`slot ${slot} is not open`);
    return inode;
  }

  remove(slot: number): void {
    this.get(slot);
    this.#open.delete(slot);
  }

  copy(offset: number, lengthBytes: number): Buffer {
    return Buffer.from(this.bytes.subarray(offset, offset + lengthBytes));
  }

  read(slot: number, offset: number, lengthBytes: number, at: number): number {
    const { data } = this.get(slot);
    const count = Math.max(0, Math.min(lengthBytes, data.length - at));
    this.bytes.set(data.subarray(at, at + count), offset);
    return count;
  }
}

type UsedOfEngine = Pick<Engine, 'arena' | 'files' | 'register' | 'timer' | 'read' | 'write' | 'sync' | 'allocate' | 'close'>;

class SimulatedEngineParts implements UsedOfEngine {
  readonly arena: Engine['arena'];
  readonly files: FileSystem;
  readonly #clients: EngineClient[] = [];
  readonly #slots: SimulatedSlots;
  #queue: { atNs: number; order: number; client: number; tag: number; carryOut: () => number }[] = [];
  #nowNs = 0;
  #order = 0;

  constructor(
    readonly random: () => number,
    files: (slots: SimulatedSlots) => FileSystem,
  ) {
    const shared = new SharedArrayBuffer(ARENA_BYTES);
    const handle = { byteLength: ARENA_BYTES, id: -1, shared };
    this.arena = {
      byteLength: ARENA_BYTES,
      bytes: new Uint8Array(shared),
      words: new Int32Array(shared),
      view: new DataView(shared),
      handle,
    };
    this.#slots = new SimulatedSlots(this.arena.bytes);
    this.files = files(this.#slots);
  }

  register(client: EngineClient): number {
    return this.#clients.push(client) - 1;
  }

  timer(delayNs: number, client: number, tag: number): number {
    this.#later(delayNs, client, tag, () => 0);
    return 0;
  }

  read(slot: number, offset: number, lengthBytes: number, at: number, client: number, tag: number): void {
    this.#later(this.random() * MAX_DELAY_NS, client, tag, () => this.#slots.read(slot, offset, lengthBytes, at));
  }

  write(slot: number, offset: number, lengthBytes: number, at: number, _flags: number, client: number, tag: number): void {
    const inode = this.#slots.get(slot);
    this.#later(this.random() * MAX_DELAY_NS, client, tag, () => {
      inode.write(this.#slots.copy(offset, lengthBytes), at);
      return lengthBytes;
    });
  }

  sync(slot: number, client: number, tag: number): void {
    const inode = this.#slots.get(slot);
    this.#later(this.random() * MAX_DELAY_NS, client, tag, () => {
      inode.sync();
      return 0;
    });
  }

  /** Punches a hole: no other mode is used. */
  allocate(slot: number, _mode: number, at: number, lengthBytes: number, client: number, tag: number): void {
    const inode = this.#slots.get(slot);
    this.#later(this.random() * MAX_DELAY_NS, client, tag, () => {
      const end = Math.min(at + lengthBytes, inode.data.length);
      if (end > at) inode.write(Buffer.alloc(end - at), at);
      return 0;
    });
  }

  close(slot: number, client: number, tag: number): void {
    this.#slots.remove(slot);
    this.#later(0, client, tag, () => 0);
  }

  /** Carries out the next operation and tells it. False: there is none. */
  step(): boolean {
    this.#queue.sort((a, b) => a.atNs - b.atNs || a.order - b.order);
    const next = this.#queue.shift();
    if (next === undefined) return false;
    this.#nowNs = next.atNs;
    this.#clients[next.client]!.onCompletion(next.tag, next.carryOut());
    return true;
  }

  #later(delayNs: number, client: number, tag: number, carryOut: () => number): void {
    this.#queue.push({ atNs: this.#nowNs + delayNs, order: this.#order++, client, tag, carryOut });
  }
}

/** The extents take a whole engine; what they do not use is not there. */
type SimulatedEngine = Engine & { step(): boolean };
const SimulatedEngine = SimulatedEngineParts as unknown as new (
  random: () => number,
  files: (slots: SimulatedSlots) => FileSystem,
) => SimulatedEngine;
