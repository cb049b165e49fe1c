import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../base/log.js';
import { recordSize, type SizedVdisk } from '../meta/sizes.js';
import type { MetadataStore } from '../meta/store.js';

const RETRY_MS = 500;

/** Brings the sizes that controllers of this node tell into the metadata: of each vdisk one after the other, until it is there. Nothing waits for it but the verb that resizes. */
export class Sizes {
  /** Vdisk → what it is to be, as it was told last. */
  readonly #wanted = new Map<string, SizedVdisk>();
  readonly #running = new Set<string>();
  #isClosed = false;

  constructor(
    private readonly store: MetadataStore,
    private readonly log: Logger,
  ) {}

  told(sized: SizedVdisk): void {
    const { vdiskId } = sized;
    this.#wanted.set(vdiskId, sized);
    if (this.#running.has(vdiskId)) return;
    this.#running.add(vdiskId);
    void this.#run(vdiskId).finally(() => this.#running.delete(vdiskId));
  }

  close(): void {
    this.#isClosed = true;
  }

  async #run(vdiskId: string): Promise<void> {
    for (let sized = this.#wanted.get(vdiskId); sized !== undefined && !this.#isClosed; sized = this.#wanted.get(vdiskId)) {
      const { sizeBytes } = sized;
      try {
        if (await recordSize(this.store, sized)) this.log.log('info', 'the metadata has the size of the vdisk', { vdiskId, sizeBytes });
        if (this.#wanted.get(vdiskId) === sized) this.#wanted.delete(vdiskId);
      } catch (error) {
        this.log.log('warn', 'the size of a vdisk is brought into the metadata later', { vdiskId, sizeBytes, error: String(error) });
        await delay(RETRY_MS, undefined, { ref: false });
      }
    }
  }
}
