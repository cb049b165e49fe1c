import type { TermFloor } from './session-ports.js';

/** Memory of one vdisk's {@link SharedTermFloor}, for all shards of the datapath. */
export function createTermFloor(): SharedArrayBuffer {
  return new SharedArrayBuffer(12);
}

/** The term in it, for another process; and what that one makes of it. */
export const termOf = (memory: SharedArrayBuffer): number => new SharedTermFloor(memory).current();
export function createTermFloorAt(term: number): SharedArrayBuffer {
  const memory = createTermFloor();
  new SharedTermFloor(memory).raise(term);
  return memory;
}

/** Rule 17: the highest term that any shard of this datapath has seen of a vdisk; and what else its sessions there share of rule 19. */
export class SharedTermFloor implements TermFloor {
  readonly #cell: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#cell = new Int32Array(memory);
  }

  unsettled(): number {
    return Atomics.load(this.#cell, 1);
  }

  addUnsettled(change: 1 | -1): void {
    Atomics.add(this.#cell, 1, change);
  }

  isHeld(): boolean {
    return Atomics.load(this.#cell, 2) !== 0;
  }

  hold(): void {
    Atomics.store(this.#cell, 2, 1);
  }

  release(): void {
    Atomics.store(this.#cell, 2, 0);
  }

  current(): number {
    return Atomics.load(this.#cell, 0);
  }

  raise(term: number): void {
    if (term > 0x7fff_ffff) throw new RangeError(`term ${term} is above what the floor can hold`);
    for (let seen = this.current(); seen < term;) {
      const before = Atomics.compareExchange(this.#cell, 0, seen, term);
      if (before === seen) return;
      seen = before;
    }
  }
}
