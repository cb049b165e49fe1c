import type { ProbeSnapshot } from '../../base/probe.js';
import type { ContainerRecord, VdiskRecord } from '../../meta/model.js';
import { listContainers, livingVdisks } from '../../meta/operations.js';
import type { MetadataStore } from '../../meta/store.js';
import type { ManagedDatapath } from '../datapath.js';
import type { ManagedNode, NodeStatus } from '../node.js';
import { within } from '../within.js';
import type { ContainerCounters, CountersView, ExportCounters, ProbeView, ShardCounters, StoredCounters } from './view.js';

export interface CountersOptions {
  readonly version: string;
  readonly storage: { readonly store: MetadataStore; readonly node: ManagedNode } | null;
  readonly datapath: ManagedDatapath | null;
  readonly shards: WatchedShards;
}

/** The threads of a process, without asking them. */
export interface WatchedShards {
  readonly count: number;
  /** Processor time since the thread's start; null: not known. */
  cpuNs(shard: number): number | null;
}

/** Names are for people: without the metadata ids do. */
const METADATA_TIMEOUT_MS = 500;

/** What a process counts. Probes are read where they are; the rest is asked of the shards, by a message each. */
export class Counters {
  /** As they were last known, by id. */
  #vdisks: ReadonlyMap<string, VdiskRecord> = new Map();
  #containers: readonly ContainerRecord[] = [];

  constructor(private readonly options: CountersOptions) {}

  async view(): Promise<CountersView> {
    const { version, storage, datapath, shards } = this.options;
    const [status, exports] = await Promise.all([storage?.node.status() ?? null, datapath?.counters() ?? null]);
    if (status !== null) await this.#learn();
    return {
      version,
      atNs: Number(process.hrtime.bigint()),
      node: storage?.node.id ?? null,
      host: datapath?.host ?? null,
      shards: Array.from({ length: shards.count }, (_, shard): ShardCounters => {
        const told = status?.shards.find(one => one.shard === shard) ?? null;
        return {
          shard,
          cpuNs: shards.cpuNs(shard),
          hops: viewsOf({ ...datapath?.hops(shard), ...storage?.node.hops(shard) }),
          storage: told === null ? null : { cache: told.cache, oplog: told.oplog, rot: told.rot, scrub: told.scrub },
        };
      }),
      exports: [...(exports?.exports ?? [])],
      stored: status === null ? [] : this.#stored(status),
      containers: status === null ? [] : this.#used(status),
      notServed: status?.problems.length ?? 0,
      silentShards: Math.max(status?.silentShards ?? 0, exports?.silentShards ?? 0),
      storePages: status?.storePages ?? null,
      damagedRecords: (status?.damagedRecords ?? []).map(({ key }) => key),
      space: storage?.node.space() ?? null,
    };
  }

  #stored({ vdisks, replicas }: NodeStatus): StoredCounters[] {
    const served = new Set(vdisks.map(({ vdiskId }) => vdiskId));
    return [...vdisks, ...replicas.filter(({ vdiskId }) => !served.has(vdiskId))].map(one => ({
      vdiskId: one.vdiskId,
      name: this.#vdisks.get(one.vdiskId)?.name ?? one.vdiskId,
      allocatedBytes: one.allocatedBytes,
      logBytes: served.has(one.vdiskId) ? one.logBytes : null,
      undrainedEntries: Math.max(0, one.lastSeq - one.drainedSeq),
      sessions: one.sessions,
    }));
  }

  #used({ vdisks }: NodeStatus): ContainerCounters[] {
    const used = new Map<string, number>();
    for (const { vdiskId, allocatedBytes, logBytes } of vdisks) {
      const container = this.#vdisks.get(vdiskId)?.container;
      if (container !== undefined) used.set(container, (used.get(container) ?? 0) + allocatedBytes + logBytes);
    }
    return this.#containers.map(({ name, quotaBytes }) => ({ name, usedBytes: used.get(name) ?? 0, quotaBytes }));
  }

  async #learn(): Promise<void> {
    const { store } = this.options.storage!;
    const found = await within(METADATA_TIMEOUT_MS, Promise.all([livingVdisks(store), listContainers(store)])).catch(() => null);
    if (found === null) return;
    this.#vdisks = new Map(found[0].map(vdisk => [vdisk.id, vdisk]));
    this.#containers = found[1];
  }
}

function viewsOf(hops: Readonly<Record<string, ProbeSnapshot>>): Record<string, ProbeView> {
  return Object.fromEntries(Object.entries(hops).map(([hop, probe]) => [hop, viewOf(probe)]));
}

export function viewOf({ requests, bytes, queue, service }: ProbeSnapshot): ProbeView {
  return { requests, bytes, queue: { ...queue, buckets: [...queue.buckets] }, service: { ...service, buckets: [...service.buckets] } };
}

export interface DatapathCounters {
  readonly exports: readonly ExportCounters[];
  readonly silentShards: number;
}
