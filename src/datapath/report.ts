import type { Logger } from '../base/log.js';
import { listExports, putHost } from '../meta/hosts.js';
import { keys, type ExportRecord } from '../meta/model.js';
import { Rerun } from '../meta/rerun.js';
import type { MetadataStore, Operation } from '../meta/store.js';
import { ATTACH_RETRY_MS } from './limits.js';
import type { ExportStatus } from './main.js';

export interface ExportReportOptions {
  readonly store: MetadataStore;
  readonly host: string;
  readonly datapathUuid: string;
  readonly nbdSocket: string;
  /** `host:port` of NBD over TCP, in TLS; null: there is none. */
  readonly nbdTls: string | null;
  readonly log: Logger;
}

/**
 * Tells the metadata store what this host's datapath really offers, so that whoever attaches or detaches can wait for it. Late where the store is not
 * reached: it is information, and no I/O depends on it. Runs on the main thread.
 */
export class ExportReport {
  #wanted: readonly ExportStatus[] = [];
  readonly #reported = new Map<string, string>();
  #known = false;
  readonly #reports = new Rerun(
    () => this.#report(),
    ({ message }) => {
      this.options.log.log('debug', 'the state of the exports is reported later', { error: message });
      this.#reports.askLater(ATTACH_RETRY_MS);
    },
  );

  constructor(private readonly options: ExportReportOptions) {}

  /** All there are now, those that are on their way out too. */
  update(exports: readonly ExportStatus[]): void {
    this.#wanted = exports;
    this.#reports.ask();
  }

  /** Says no more; what it said stays until the next start. */
  close(): void {
    this.#reports.close();
  }

  async #report(): Promise<void> {
    const { store, host, datapathUuid, nbdSocket, nbdTls } = this.options;
    if (!this.#known) {
      // Records of a process before this one name another uuid; they go with the first report.
      for (const { vdiskId } of await listExports(store, keys.exportsOf(host))) this.#reported.set(vdiskId, 'of a former process');
      await putHost(store, { host, datapathUuid, nbdSocket, nbdTls, startedAt: new Date().toISOString() });
      this.#known = true;
    }
    const next = new Map<string, ExportRecord>();
    for (const { vdiskId, generation, sizeBytes, shared, exported, ending } of this.#wanted) {
      if (!exported && !ending) continue;
      const state = ending ? 'ending' : 'exported';
      const record: ExportRecord = { vdiskId, host, generation, datapathUuid, state, shared, sizeBytes };
      // A new generation beside one that is ending: the new one counts.
      if (next.has(vdiskId) && ending) continue;
      next.set(vdiskId, record);
    }
    const operations: Operation[] = [];
    for (const [vdiskId, record] of next) {
      if (this.#reported.get(vdiskId) !== textOf(record)) operations.push({ put: keys.export(host, vdiskId), value: record });
    }
    for (const vdiskId of this.#reported.keys()) if (!next.has(vdiskId)) operations.push({ remove: keys.export(host, vdiskId) });
    for (let from = 0; from < operations.length; from += MAX_OPERATIONS) {
      await store.transaction([], operations.slice(from, from + MAX_OPERATIONS));
    }
    this.#reported.clear();
    for (const [vdiskId, record] of next) this.#reported.set(vdiskId, textOf(record));
  }
}

const textOf = ({ generation, state, shared, sizeBytes }: ExportRecord): string =>
  `${generation} ${state}${shared ? ' shared' : ''} ${sizeBytes}`;

/** Of one transaction: far below what the store takes. */
const MAX_OPERATIONS = 64;
