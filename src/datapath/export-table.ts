import type { ExportKey } from './messages.js';

interface Described {
  readonly description: ExportKey;
}

/** The exports of a datapath by vdisk: of each the one of its attachment, and those of former generations that are on their way out. */
export class ExportTable<T extends Described> {
  readonly #byVdisk = new Map<string, T[]>();

  add(one: T): void {
    const { vdiskId } = one.description;
    this.delete(one.description);
    this.#byVdisk.set(vdiskId, [...this.of(vdiskId), one]);
  }

  get({ vdiskId, generation }: ExportKey): T | undefined {
    return this.of(vdiskId).find(one => one.description.generation === generation);
  }

  delete({ vdiskId, generation }: ExportKey): void {
    const left = this.of(vdiskId).filter(one => one.description.generation !== generation);
    if (left.length > 0) this.#byVdisk.set(vdiskId, left);
    else this.#byVdisk.delete(vdiskId);
  }

  /** The oldest first. */
  of(vdiskId: string): readonly T[] {
    return this.#byVdisk.get(vdiskId) ?? [];
  }

  *values(): IterableIterator<T> {
    for (const all of this.#byVdisk.values()) yield* all;
  }
}
