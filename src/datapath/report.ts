import { setImmediate as nextTurn } from 'node:timers/promises';
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
  /** What there is of a vdisk now, what is on its way out too. */
  readonly exportsOf: (vdiskId: string) => readonly ExportStatus[];
  readonly log: Logger;
}

/**
 * Tells the metadata store what this host's datapath really offers, so that whoever attaches or detaches can wait for it. Late where the store is not
 * reached: it is information, and no I/O depends on it. Runs on the main thread.
 */
export class ExportReport {
  /** Vdisks of which something else is to be said than was said last, perhaps. */
  readonly #changed = new Set<string>();
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

  /** Without a vdisk: that there is this datapath. */
  update(vdiskId?: string): void {
    if (vdiskId !== undefined) this.#changed.add(vdiskId);
    this.#reports.ask();
  }

  /** Says no more; what it said stays until the next start. */
  close(): void {
    this.#reports.close();
  }

  #formerly(vdiskId: string): void {
    this.#reported.set(vdiskId, 'of a former process');
    this.#changed.add(vdiskId);
  }

  async #report(): Promise<void> {
    const { store, host, datapathUuid, nbdSocket, nbdTls } = this.options;
    if (!this.#known) {
      // Records of a process before this one name another uuid; they go with the first report.
      for (const { vdiskId } of await listExports(store, keys.exportsOf(host))) this.#formerly(vdiskId);
      await putHost(store, { host, datapathUuid, nbdSocket, nbdTls, startedAt: new Date().toISOString() });
      this.#known = true;
    }
    // What the shards say at once goes into one transaction.
    await nextTurn();
    while (this.#changed.size > 0 && !this.#reports.isClosed) await this.#reportSome([...this.#changed].slice(0, MAX_OPERATIONS));
  }

  async #reportSome(vdiskIds: readonly string[]): Promise<void> {
    const { store, host } = this.options;
    const said = vdiskIds.map(vdiskId => ({ vdiskId, record: this.#recordOf(vdiskId) }));
    for (const vdiskId of vdiskIds) this.#changed.delete(vdiskId);
    const news = said.filter(({ vdiskId, record }) => this.#reported.get(vdiskId) !== (record === null ? undefined : textOf(record)));
    const operations = news.map(({ vdiskId, record }): Operation => {
      const key = keys.export(host, vdiskId);
      return record === null ? { remove: key } : { put: key, value: record };
    });
    try {
      if (operations.length > 0) await store.transaction([], operations);
    } catch (error) {
      for (const vdiskId of vdiskIds) this.#changed.add(vdiskId);
      throw error;
    }
    for (const { vdiskId, record } of news) {
      if (record === null) this.#reported.delete(vdiskId);
      else this.#reported.set(vdiskId, textOf(record));
    }
  }

  /** Null: nothing of it is offered. */
  #recordOf(vdiskId: string): ExportRecord | null {
    const { host, datapathUuid, exportsOf } = this.options;
    const offered = exportsOf(vdiskId).filter(({ exported, ending }) => exported || ending);
    // A new generation beside one that is ending: the new one counts.
    const counts = offered.find(({ ending }) => !ending) ?? offered[0];
    if (counts === undefined) return null;
    const { generation, sizeBytes, shared, ending } = counts;
    return { vdiskId, host, generation, datapathUuid, state: ending ? 'ending' : 'exported', shared, sizeBytes };
  }
}

const textOf = ({ generation, state, shared, sizeBytes }: ExportRecord): string =>
  `${generation} ${state}${shared ? ' shared' : ''} ${sizeBytes}`;

/** Of one transaction: far below what the store takes. */
const MAX_OPERATIONS = 64;
