import { GatepathError } from '../base/errors.js';
import type { Logger } from '../base/log.js';
import { detach } from '../meta/attachments.js';
import { attachmentsOf } from '../meta/found.js';
import { waitForKey } from '../meta/hosts.js';
import { endLease, listLeases } from '../meta/leases.js';
import { keys, type LeaseRecord } from '../meta/model.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore, Versioned, Watch } from '../meta/store.js';
import { LEASE_LAPSE_MS, LEASE_LOOK_MS } from './limits.js';

export interface LapsedLeasesOptions {
  readonly store: MetadataStore;
  readonly log: Logger;
  /** Something is about to be deleted, perhaps what has filled the file system. */
  readonly makeRoom: () => void;
  /** A vdisk has been marked as being deleted. */
  readonly onDeleting: () => void;
  readonly lapseMs?: number;
  readonly lookMs?: number;
}

interface Heard {
  readonly beat: number;
  readonly atMs: number;
}

/** How long the datapath of an abandoned import has to let go of it. */
const RELEASE_TIMEOUT_MS = 5_000;

/**
 * Ends imports and exports whose client is gone: its lease has not risen for `lapseMs`, by this process's own clock. What this process has not seen does not count: after a
 * time in which the metadata did not answer, or this process stood still, every client has all of `lapseMs` again. All nodes do so; the first one's transaction counts.
 */
export class LapsedLeases {
  readonly #heard = new Map<string, Heard>();
  readonly #lapseMs: number;
  readonly #lookMs: number;
  readonly #watch: Watch;
  #lookedAtMs = -Infinity;
  readonly #look = new Rerun(
    () => this.#once(),
    error => {
      if (!this.#look.isClosed) this.options.log.log('warn', 'imports and exports are looked after later', { error: String(error) });
      this.#later();
    },
  );

  constructor(private readonly options: LapsedLeasesOptions) {
    this.#lapseMs = options.lapseMs ?? LEASE_LAPSE_MS;
    this.#lookMs = options.lookMs ?? LEASE_LOOK_MS;
    this.#watch = options.store.watch(keys.leases, () => this.#look.ask());
    this.#look.ask();
  }

  close(): void {
    this.#look.close();
    this.#watch.close();
  }

  async #once(): Promise<void> {
    const leases = await listLeases(this.options.store);
    const nowMs = performance.now();
    if (nowMs - this.#lookedAtMs > 3 * this.#lookMs) this.#heard.clear();
    this.#lookedAtMs = nowMs;
    const present = new Set(leases.map(({ record }) => record.vdiskId));
    for (const id of this.#heard.keys()) if (!present.has(id)) this.#heard.delete(id);
    if (leases.length > 0) this.#later();
    for (const { record, versioned } of leases) {
      const before = this.#heard.get(record.vdiskId);
      if (before?.beat !== record.beat) this.#heard.set(record.vdiskId, { beat: record.beat, atMs: nowMs });
      else if (nowMs - before.atMs >= this.#lapseMs) await this.#tryToEnd(record, versioned);
    }
  }

  /** One of which a record is damaged holds up no other. */
  async #tryToEnd(lease: LeaseRecord, asOf: Versioned): Promise<void> {
    try {
      await this.#end(lease, asOf);
    } catch (error) {
      if (!(error instanceof GatepathError) || error.code !== 'ERR_METADATA') throw error;
      this.options.log.log('warn', `an ${lease.purpose} is not ended yet`, { vdisk: lease.vdiskName, error: error.message });
    }
  }

  /** In steps, of which each may be the last one before an interruption: the lease goes last, so that the next look goes on. */
  async #end({ vdiskId, vdiskName, purpose }: LeaseRecord, asOf: Versioned): Promise<void> {
    const { store, log, makeRoom, onDeleting } = this.options;
    makeRoom();
    for (const { record } of await attachmentsOf(store, vdiskId)) {
      // Its client is no more to use it, should it come back.
      await detach(store, record.vdiskName, record.host);
      await waitForKey(store, keys.export(record.host, vdiskId), RELEASE_TIMEOUT_MS, found => found === null);
    }
    if (!(await endLease(store, vdiskId, asOf))) return;
    log.log('warn', `an ${purpose} was not finished by its client, and is ended`, { vdisk: vdiskName });
    if (purpose === 'import') onDeleting();
  }

  #later(): void {
    this.#look.askLater(this.#lookMs);
  }
}
