import type { EventSink } from '../base/events.js';
import type { Logger } from '../base/log.js';
import { damagedRecord, damagedRecords, vdiskOfKey, type DamagedRecord } from '../meta/damage.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore } from '../meta/store.js';
import { METADATA_CHECK_MS } from './limits.js';

export interface MetadataCheckOptions {
  readonly store: MetadataStore;
  readonly events: EventSink;
  readonly log: Logger;
  readonly intervalMs?: number;
}

/** Reads all metadata now and then, and tells which records are damaged. It changes nothing: what a damaged record says nobody knows, and somebody has to put it back. */
export class MetadataCheck {
  #damaged: readonly DamagedRecord[] = [];
  readonly #look = new Rerun(
    async () => {
      this.#tell(await damagedRecords(this.options.store));
      this.#later();
    },
    error => {
      this.options.log.log('debug', 'the metadata is checked later', { error: String(error) });
      this.#later();
    },
  );

  constructor(private readonly options: MetadataCheckOptions) {
    this.#look.ask();
  }

  /** As it was found last. */
  get damaged(): readonly DamagedRecord[] {
    return this.#damaged;
  }

  close(): void {
    this.#look.close();
  }

  #tell(found: readonly DamagedRecord[]): void {
    if (this.#look.isClosed) return;
    const before = new Set(this.#damaged.map(({ key }) => key));
    const now = new Set(found.map(({ key }) => key));
    for (const one of found) {
      if (before.has(one.key)) continue;
      const cause = `${damagedRecord(one).message}; nothing is changed because of it, and what it is of may not be served after the next start`;
      const action = 'put it back from a backup: "Damaged metadata" in docs/operations.md';
      const { key } = one;
      this.options.events.emit({ kind: 'metadata-damaged', severity: 'error', vdiskId: vdiskOfKey(key), cause, action, details: { key } });
    }
    for (const key of before) {
      if (now.has(key)) continue;
      const cause = `the metadata record ${key} can be read again, or is gone`;
      this.options.events.emit({ kind: 'metadata-mended', severity: 'info', vdiskId: vdiskOfKey(key), cause, details: { key } });
    }
    this.#damaged = found;
  }

  #later(): void {
    this.#look.askLater(this.options.intervalMs ?? METADATA_CHECK_MS);
  }
}
