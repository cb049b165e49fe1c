import { DatapathMain } from '../datapath/main.js';
import { ExportReport } from '../datapath/report.js';
import type { Logger } from '../base/log.js';
import type { MetadataStore } from '../meta/store.js';
import type { ShardPool } from '../shard/pool.js';
import { ACCEPTING_SHARD } from './shard-worker.js';

export interface DatapathHostOptions {
  readonly store: MetadataStore;
  readonly host: string;
  readonly datapathUuid: string;
  readonly nbdSocket: string;
  readonly pool: ShardPool;
  readonly log: Logger;
}

/** A datapath's part of the main thread: follows the attachments of its host, and says what has become of them. */
export class DatapathHost {
  readonly #report: ExportReport;
  readonly #main: DatapathMain;

  constructor({ store, host, datapathUuid, nbdSocket, pool, log }: DatapathHostOptions) {
    this.#report = new ExportReport({ store, host, datapathUuid, nbdSocket, log });
    const onChange = this.#report.update.bind(this.#report);
    this.#main = new DatapathMain({ store, host, shards: pool, acceptingShard: ACCEPTING_SHARD, log, onChange });
    // The host is known from here on, even while nothing is attached to it.
    onChange(this.#main.exports);
  }

  close(): void {
    this.#main.close();
    this.#report.close();
  }
}
