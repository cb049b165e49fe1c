import type { DatapathState, ManagedDatapath } from '../control/datapath.js';
import type { ExportView } from '../control/schemas.js';
import { viewOf, type DatapathCounters } from '../control/watch/counters.js';
import type { ExportCounters } from '../control/watch/view.js';
import type { DatapathState as HandoverState } from '../datapath/hand-over.js';
import { DatapathMain, type ExportStatus } from '../datapath/main.js';
import type { PathTarget } from '../datapath/paths.js';
import { ExportReport } from '../datapath/report.js';
import type { Logger } from '../base/log.js';
import type { ProbeSnapshot } from '../base/probe.js';
import type { NodeRecord } from '../meta/model.js';
import type { MetadataStore } from '../meta/store.js';
import type { ShardPool } from '../shard/pool.js';
import { ACCEPTING_SHARD } from './shard-worker.js';

export interface DatapathHostOptions {
  readonly store: MetadataStore;
  readonly host: string;
  readonly datapathUuid: string;
  readonly nbdSocket: string;
  /** `host:port` of NBD over TCP, in TLS. */
  readonly nbdTls?: string | null;
  readonly pool: ShardPool;
  readonly log: Logger;
  /** See DatapathMainOptions. */
  readonly local?: PathTarget;
  readonly localNode?: string | null;
  readonly onNodes?: (records: readonly NodeRecord[]) => void;
  readonly follows?: HandoverState;
}

/** A datapath's part of the main thread: follows the attachments of its host, and says what has become of them. */
export class DatapathHost implements ManagedDatapath {
  readonly host: string;
  readonly uuid: string;
  readonly nbdSocket: string;
  readonly startedAt = new Date().toISOString();
  readonly #shards: number;
  readonly #report: ExportReport;
  readonly main: DatapathMain;

  constructor({ datapathUuid, nbdSocket, nbdTls = null, pool, ...options }: DatapathHostOptions) {
    const { store, host, log } = options;
    this.host = host;
    this.uuid = datapathUuid;
    this.nbdSocket = nbdSocket;
    this.#shards = pool.count;
    const report = new ExportReport({
      ...{ store, host, datapathUuid, nbdSocket, nbdTls, log },
      exportsOf: vdiskId => this.main.exportsOf(vdiskId),
    });
    this.#report = report;
    this.main = new DatapathMain({
      ...options,
      shards: pool,
      acceptingShard: ACCEPTING_SHARD,
      onChange: vdiskId => report.update(vdiskId),
    });
    // The host is known from here on, even while nothing is attached to it.
    report.update();
  }

  async status(): Promise<DatapathState> {
    const { exports, sessions, shards } = await this.main.status();
    return { exports: exports.map(exportView), sessions, shards, silentShards: this.#shards - shards.length };
  }

  async counters(): Promise<DatapathCounters> {
    const { exports, sessions, shards } = await this.main.status();
    const probes = new Map(this.main.vdiskProbes().map(one => [one.vdiskId, one.probes]));
    const all = exports.map(({ vdiskId, generation, name, sizeBytes, quarantine }): ExportCounters => {
      const own = sessions.filter(one => one.vdiskId === vdiskId && one.generation === generation);
      const sum = (field: 'connections' | 'unanswered' | 'heldBytes' | 'lost' | 'replayed'): number =>
        own.reduce((all, one) => all + one[field], 0);
      const told = probes.get(vdiskId);
      return {
        ...{ vdiskId, name, sizeBytes, connections: sum('connections'), unanswered: sum('unanswered'), lost: sum('lost') },
        heldBytes: sum('heldBytes'),
        replayed: sum('replayed'),
        isCutOff: own.some(({ state, problem }) => state !== 'open' && problem !== ''),
        isQuarantined: quarantine !== null,
        probes:
          told === undefined
            ? null
            : { read: viewOf(told.read), write: viewOf(told.write), other: viewOf(told.other), path: viewOf(told.path) },
      };
    });
    return { exports: all, silentShards: this.#shards - shards.length };
  }

  hops(shard: number): Readonly<Record<string, ProbeSnapshot>> {
    return this.main.hops(shard);
  }

  close(): void {
    this.main.close();
    this.#report.close();
  }
}

function exportView({ name, vdiskId, generation, sizeBytes, exported, ending }: ExportStatus): ExportView {
  return { name, vdiskId, generation, sizeBytes, state: ending ? 'ending' : exported ? 'exported' : 'starting' };
}
