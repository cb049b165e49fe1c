import type { ExportKey } from './messages.js';

interface Described {
  readonly description: ExportKey;
}

/** The exports of a datapath by vdisk: of each the one of its attachment, and those of former generations that are on their way out. */
export class ExportTable<T extends Described> {
  readonly #byVdisk = new Map<string, T[]>();
  #size = 0;

  add(one: T): void {
    const { vdiskId } = one.description;
    this.delete(one.description);
    this.#byVdisk.set(vdiskId, [...this.of(vdiskId), one]);
    this.#size++;
  }

  get({ vdiskId, generation }: ExportKey): T | undefined {
    return this.of(vdiskId).find(one => one.description.generation === generation);
  }

  delete({ vdiskId, generation }: ExportKey): void {
    const all = this.of(vdiskId);
    const left = all.filter(one => one.description.generation !== generation);
    this.#size -= all.length - left.length;
    if (left.length > 0) this.#byVdisk.set(vdiskId, left);
    else this.#byVdisk.delete(vdiskId);
  }

  get size(): number {
    return this.#size;
  }

  /** The oldest first. */
  of(vdiskId: string): readonly T[] {
    return this.#byVdisk.get(vdiskId) ?? [];
  }

  *values(): IterableIterator<T> {
    for (const all of this.#byVdisk.values()) yield* all;
  }
}
