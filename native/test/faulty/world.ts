import { createArena } from '../../src/arena.js';
import type { Slot } from '../../src/engine.js';
import { FaultyDisk, FaultyEngine, VirtualClock, type FaultyDiskOptions } from '../../src/faulty/index.js';

const arena = createArena(1 << 20);

/** One disk, and the engine that has it mounted now. Operations by name, their results by number. */
export class DiskWorld {
  readonly clock: VirtualClock;
  readonly disk: FaultyDisk;
  engine!: FaultyEngine;
  client = 0;
  /** [tag, result] in the order of completion. */
  readonly done: [number, number][] = [];

  constructor(seed: number, options: Partial<FaultyDiskOptions> = {}) {
    this.clock = new VirtualClock(seed);
    this.disk = new FaultyDisk({ random: this.clock.random, ...options });
    this.mount();
  }

  /** The next process. */
  mount(): void {
    this.engine = new FaultyEngine(arena, this.clock, this.disk, { operations: 256, slots: 64 });
    this.client = this.engine.register({ onCompletion: (tag, result) => void this.done.push([tag, result]) });
  }

  cut(): void {
    this.disk.powerCut();
    this.mount();
  }

  kill(): void {
    this.engine.kill();
    this.mount();
  }

  /** A file of that many bytes of this value, durable, with its name. */
  file(path: string, bytes: number, value: number): Slot {
    const { files } = this.engine;
    const slot = files.open(path, { write: true, create: true });
    arena.bytes.fill(value, 0, bytes);
    files.write(slot, 0, bytes, 0);
    files.sync(slot);
    files.syncDirectory(path.slice(0, path.lastIndexOf('/')));
    return slot;
  }

  /** Enqueues a write of one value; each call has its own memory. */
  write(slot: Slot, value: number, bytes: number, at: number, flags = 0, tag = value): void {
    const offset = value * 4096;
    arena.bytes.fill(value, offset, offset + bytes);
    this.engine.write(slot, offset, bytes, at, flags, this.client, tag);
  }

  /** Result of the operation. */
  wait(tag: number): number {
    this.clock.until(() => this.done.some(([of]) => of === tag));
    return this.done.find(([of]) => of === tag)![1];
  }

  /** First byte of each sector; NaN where a sector is not of one value. */
  sectors(path: string): number[] {
    const { files } = this.engine;
    const slot = files.open(path, {});
    const size = files.sizeBytes(slot);
    const content = Buffer.alloc(size);
    for (let at = 0; at < size; at += 4096) {
      files.read(slot, 512 << 10, Math.min(4096, size - at), at);
      content.set(arena.bytes.subarray(512 << 10, (512 << 10) + Math.min(4096, size - at)), at);
    }
    files.close(slot);
    return Array.from({ length: Math.ceil(size / 512) }, (_, i) => {
      const sector = content.subarray(i * 512, (i + 1) * 512);
      return sector.every(byte => byte === sector[0]) ? sector[0]! : NaN;
    });
  }
}

/** What came about over many seeds, sorted. */
export function outcomes(seeds: number, run: (world: DiskWorld, seed: number) => string): string[] {
  const seen = new Set<string>();
  for (let seed = 1; seed <= seeds; seed++) seen.add(run(new DiskWorld(seed), seed));
  return [...seen].sort();
}
