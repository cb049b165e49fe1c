import { createArena, WRITE_DSYNC, type Arena } from 'uring-engine';
import { FaultyDisk, FaultyEngine, VirtualClock, type FaultyDiskOptions } from 'uring-engine/faulty';

/** Tables of engines that tests make by the thousand. */
const CAPACITY = { operations: 2048, slots: 256 };

const arenas = new Map<number, Arena>();

/** One arena of each size for all rigs of a test file: they run one after the other, and memory is slow to come. */
export function sharedArena(byteLength: number): Arena {
  let arena = arenas.get(byteLength);
  if (arena === undefined) {
    arena = createArena(byteLength);
    arenas.set(byteLength, arena);
  }
  return arena;
}

/** A faulty disk, and the engine of the process that has it mounted now. */
export class DiskRig {
  readonly clock: VirtualClock;
  readonly disk: FaultyDisk;
  readonly arena: Arena;
  engine!: FaultyEngine;

  constructor(
    seed: number,
    options: {
      readonly arenaBytes?: number;
      readonly disk?: Partial<FaultyDiskOptions>;
      readonly bug?: (engine: FaultyEngine) => void;
    } = {},
  ) {
    this.clock = new VirtualClock(seed);
    this.disk = new FaultyDisk({ random: this.clock.random, ...options.disk });
    this.arena = sharedArena(options.arenaBytes ?? 4 << 20);
    this.#bug = options.bug;
    this.mount();
  }

  readonly #bug: ((engine: FaultyEngine) => void) | undefined;

  get random(): () => number {
    return this.clock.random;
  }

  /** The next process. */
  mount(): FaultyEngine {
    this.engine = new FaultyEngine(this.arena, this.clock, this.disk, CAPACITY);
    this.#bug?.(this.engine);
    return this.engine;
  }

  /** What was under way, and what was not synced, may be lost; `engine` is that of the next start. */
  powerCut(): void {
    this.disk.powerCut();
    this.mount();
  }

  /** What was under way may be lost. */
  kill(): void {
    this.disk.killAll();
    this.mount();
  }

  /** A directory that was there, durable with its parents, before the program came. */
  givenDirectory(path: string): void {
    const { files } = this.engine;
    files.makeDirectory(path);
    for (let up = path; up !== ''; up = up.slice(0, up.lastIndexOf('/'))) files.syncDirectory(up.slice(0, up.lastIndexOf('/')));
  }

  until(done: () => boolean): void {
    this.engine.poke();
    this.clock.until(done);
  }

  steps(count: number): void {
    while (count-- > 0 && this.clock.step());
  }

  /** Until nothing happens any more. */
  settle(): void {
    while (this.clock.step());
  }
}

/** Planted bug: a completed write is on stable storage, says who never asked for that. */
export function withoutDsync(engine: FaultyEngine): void {
  const write = engine.write.bind(engine);
  engine.write = (slot, offset, lengthBytes, at, flags, client, tag) =>
    write(slot, offset, lengthBytes, at, flags & ~WRITE_DSYNC, client, tag);
}

/** Planted bug: names are never synced. */
export function withoutDirectorySync(engine: FaultyEngine): void {
  engine.files.syncDirectory = () => undefined;
}
