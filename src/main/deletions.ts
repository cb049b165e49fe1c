import type { Logger } from '../base/log.js';
import type { VdiskRecord } from '../meta/model.js';
import { keys } from '../meta/model.js';
import { listVdisks } from '../meta/operations.js';
import type { MetadataStore, Watch } from '../meta/store.js';

export interface DeletionsOptions {
  readonly store: MetadataStore;
  readonly log: Logger;
  /** Gives the space back that the vdisk takes here, if any. Not called again for one that is under way, or done. */
  readonly remove: (vdisk: VdiskRecord) => Promise<void>;
}

/** Follows which vdisks are marked as being deleted: through whichever node, and before this process started. */
export class Deletions {
  readonly #known = new Set<string>();
  readonly #watch: Watch;
  #running = false;
  #again = false;
  #closed = false;

  constructor(private readonly options: DeletionsOptions) {
    this.#watch = options.store.watch(keys.vdisks, () => this.check());
    this.check();
  }

  check(): void {
    this.#again = true;
    if (!this.#running) void this.#run();
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  async #run(): Promise<void> {
    const { store, log } = this.options;
    this.#running = true;
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        for (const vdisk of await listVdisks(store)) if (vdisk.deleting) this.#remove(vdisk);
      } catch (error) {
        // The next change of any vdisk, the watch's repair after a break, or the next start looks again.
        log.log('warn', 'deleted vdisks are looked for later', { error: String(error) });
      }
    }
    this.#running = false;
  }

  #remove(vdisk: VdiskRecord): void {
    if (this.#known.has(vdisk.id)) return;
    this.#known.add(vdisk.id);
    this.options.remove(vdisk).catch((error: unknown) => {
      this.#known.delete(vdisk.id);
      if (!this.#closed) this.options.log.log('error', 'a deleted vdisk still takes space', { vdisk: vdisk.name, error: String(error) });
    });
  }
}
