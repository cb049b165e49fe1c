import { Histogram } from '../../base/histogram.js';
import { BLOCK_BYTES } from '../../base/size.js';
import type { CountersView, ProbeView } from './view.js';

type Labels = Readonly<Record<string, string | number>>;
type HistogramTimes = ProbeView['queue'];

interface Described {
  readonly name: string;
  readonly help: string;
  /** Names of its labels, in order. */
  readonly labels: readonly string[];
}

/** One metric: what it is called, and where it is found in what a process has counted. Sizes are bytes, times seconds. */
export type MetricDefinition = Described &
  (
    | { readonly type: 'counter' | 'gauge'; readonly values: (view: CountersView) => readonly { labels: Labels; value: number }[] }
    | { readonly type: 'histogram'; readonly times: (view: CountersView) => readonly { labels: Labels; times: HistogramTimes }[] }
  );

/** Upper bounds of the histograms' buckets, in seconds. */
export const BUCKETS_S = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;

const NS_PER_S = 1e9;
const OPS = ['read', 'write', 'other'] as const;

const hops = (view: CountersView) =>
  view.shards.flatMap(({ shard, hops: all }) => Object.entries(all).map(([hop, probe]) => ({ labels: { hop, shard }, probe })));
const operations = (view: CountersView) =>
  view.exports.flatMap(({ name, probes }) => (probes === null ? [] : OPS.map(op => ({ labels: { vdisk: name, op }, probe: probes[op] }))));
const storage = (view: CountersView) => view.shards.flatMap(({ shard, storage: part }) => (part === null ? [] : [{ shard, ...part }]));
const scrubs = (view: CountersView) => storage(view).flatMap(({ shard, scrub }) => (scrub === null ? [] : [{ labels: { shard }, scrub }]));

/** All there are: docs/metrics.md is this table for people. */
export const METRICS: readonly MetricDefinition[] = [
  {
    ...{ name: 'gatepath_info', type: 'gauge', help: '1; the labels say what runs.', labels: ['version', 'node', 'host'] },
    values: ({ version, node, host }) => [{ labels: { version, node: node ?? '', host: host ?? '' }, value: 1 }],
  },
  {
    ...{ name: 'gatepath_shard_cpu_seconds_total', type: 'counter', help: 'Processor time of a shard.', labels: ['shard'] },
    values: view => view.shards.flatMap(({ shard, cpuNs }) => (cpuNs === null ? [] : [{ labels: { shard }, value: cpuNs / NS_PER_S }])),
  },
  {
    ...{ name: 'gatepath_silent_shards', type: 'gauge', help: 'Shards that do not answer in time.', labels: [] },
    values: ({ silentShards }) => [{ labels: {}, value: silentShards }],
  },
  {
    ...{ name: 'gatepath_hop_requests_total', type: 'counter', help: 'Requests that passed a hop.', labels: ['hop', 'shard'] },
    values: view => hops(view).map(({ labels, probe }) => ({ labels, value: probe.requests })),
  },
  {
    ...{
      name: 'gatepath_hop_bytes_total',
      type: 'counter',
      help: 'Their bytes; of hop "drain", what went from the log to the extents.',
      labels: ['hop', 'shard'],
    },
    values: view => hops(view).map(({ labels, probe }) => ({ labels, value: probe.bytes })),
  },
  {
    ...{
      name: 'gatepath_hop_queue_seconds',
      type: 'histogram',
      help: 'How long requests waited at a hop before it was their turn.',
      labels: ['hop', 'shard'],
    },
    times: view => hops(view).map(({ labels, probe }) => ({ labels, times: probe.queue })),
  },
  {
    ...{
      name: 'gatepath_hop_service_seconds',
      type: 'histogram',
      help: 'How long a hop took; 0 where it took no turn of the shard.',
      labels: ['hop', 'shard'],
    },
    times: view => hops(view).map(({ labels, probe }) => ({ labels, times: probe.service })),
  },
  {
    ...{ name: 'gatepath_vdisk_requests_total', type: 'counter', help: 'Answered requests of an exported vdisk.', labels: ['vdisk', 'op'] },
    values: view => operations(view).map(({ labels, probe }) => ({ labels, value: probe.requests })),
  },
  {
    ...{
      name: 'gatepath_vdisk_bytes_total',
      type: 'counter',
      help: 'Bytes read from and written to an exported vdisk.',
      labels: ['vdisk', 'op'],
    },
    values: view => operations(view).map(({ labels, probe }) => ({ labels, value: probe.bytes })),
  },
  {
    ...{
      name: 'gatepath_vdisk_latency_seconds',
      type: 'histogram',
      help: 'From the arrival of a request at the datapath to its answer.',
      labels: ['vdisk', 'op'],
    },
    times: view => operations(view).map(({ labels, probe }) => ({ labels, times: probe.service })),
  },
  {
    ...{
      name: 'gatepath_vdisk_path_seconds',
      type: 'histogram',
      help: 'The part of it between datapath and Stargate, and there.',
      labels: ['vdisk'],
    },
    times: view =>
      view.exports.flatMap(({ name, probes }) => (probes === null ? [] : [{ labels: { vdisk: name }, times: probes.path.service }])),
  },
  {
    ...{
      name: 'gatepath_vdisk_outstanding_requests',
      type: 'gauge',
      help: 'Requests that are not answered: the queue depth.',
      labels: ['vdisk'],
    },
    values: view => view.exports.map(({ name, unanswered }) => ({ labels: { vdisk: name }, value: unanswered })),
  },
  {
    ...{
      name: 'gatepath_vdisk_held_bytes',
      type: 'gauge',
      help: 'Payload of the writes that are not answered: kept to be sent again.',
      labels: ['vdisk'],
    },
    values: view => view.exports.map(({ name, heldBytes }) => ({ labels: { vdisk: name }, value: heldBytes })),
  },
  {
    ...{ name: 'gatepath_vdisk_connections', type: 'gauge', help: 'NBD connections.', labels: ['vdisk'] },
    values: view => view.exports.map(({ name, connections }) => ({ labels: { vdisk: name }, value: connections })),
  },
  {
    ...{ name: 'gatepath_vdisk_size_bytes', type: 'gauge', help: 'Size of an exported vdisk.', labels: ['vdisk'] },
    values: view => view.exports.map(({ name, sizeBytes }) => ({ labels: { vdisk: name }, value: sizeBytes })),
  },
  {
    ...{
      name: 'gatepath_vdisk_cut_off',
      type: 'gauge',
      help: '1: its requests wait, because there is no path to a Stargate that serves it.',
      labels: ['vdisk'],
    },
    values: view => view.exports.map(({ name, isCutOff }) => ({ labels: { vdisk: name }, value: Number(isCutOff) })),
  },
  {
    ...{
      name: 'gatepath_vdisk_quarantined',
      type: 'gauge',
      help: '1: two controllers have died of it, one after the other; its requests wait until it is released.',
      labels: ['vdisk'],
    },
    values: view => view.exports.map(({ name, isQuarantined }) => ({ labels: { vdisk: name }, value: Number(isQuarantined) })),
  },
  {
    ...{ name: 'gatepath_vdisk_path_losses_total', type: 'counter', help: 'How often a path was lost.', labels: ['vdisk'] },
    values: view => view.exports.map(({ name, lost }) => ({ labels: { vdisk: name }, value: lost })),
  },
  {
    ...{ name: 'gatepath_vdisk_replayed_requests_total', type: 'counter', help: 'Requests that were sent again.', labels: ['vdisk'] },
    values: view => view.exports.map(({ name, replayed }) => ({ labels: { vdisk: name }, value: replayed })),
  },
  {
    ...{
      name: 'gatepath_vdisk_allocated_bytes',
      type: 'gauge',
      help: 'Space that the data of a vdisk takes on this node, without the log.',
      labels: ['vdisk'],
    },
    values: view => view.stored.map(({ name, allocatedBytes }) => ({ labels: { vdisk: name }, value: allocatedBytes })),
  },
  {
    ...{
      name: 'gatepath_vdisk_log_bytes',
      type: 'gauge',
      help: 'Data of a vdisk in the log, at the most: what is overwritten there counts again. By the node that controls it.',
      labels: ['vdisk'],
    },
    values: view => view.stored.flatMap(({ name, logBytes }) => (logBytes === null ? [] : [{ labels: { vdisk: name }, value: logBytes }])),
  },
  {
    ...{
      name: 'gatepath_container_used_bytes',
      type: 'gauge',
      help: 'What the vdisks of a container use that this node controls, one copy, with the log: to be added up over the nodes.',
      labels: ['container'],
    },
    values: view => view.containers.map(({ name, usedBytes }) => ({ labels: { container: name }, value: usedBytes })),
  },
  {
    ...{
      name: 'gatepath_container_quota_bytes',
      type: 'gauge',
      help: 'Most that the vdisks of a container may use together, on all nodes. Missing: as much as there is.',
      labels: ['container'],
    },
    values: view =>
      view.containers.flatMap(({ name, quotaBytes }) => (quotaBytes === null ? [] : [{ labels: { container: name }, value: quotaBytes }])),
  },
  {
    ...{
      name: 'gatepath_vdisk_undrained_entries',
      type: 'gauge',
      help: 'Entries of the log that are not in the extents of this node.',
      labels: ['vdisk'],
    },
    values: view => view.stored.map(({ name, undrainedEntries }) => ({ labels: { vdisk: name }, value: undrainedEntries })),
  },
  {
    ...{
      name: 'gatepath_vdisks_not_served',
      type: 'gauge',
      help: 'Vdisks that this node refuses to serve: "gatepath status" says why.',
      labels: [],
    },
    values: ({ node, notServed }) => (node === null ? [] : [{ labels: {}, value: notServed }]),
  },
  {
    ...{ name: 'gatepath_cache_hits_total', type: 'counter', help: 'Blocks that were found in the cache.', labels: ['shard'] },
    values: view => storage(view).map(({ shard, cache }) => ({ labels: { shard }, value: cache.hits })),
  },
  {
    ...{ name: 'gatepath_cache_misses_total', type: 'counter', help: 'Blocks that were not.', labels: ['shard'] },
    values: view => storage(view).map(({ shard, cache }) => ({ labels: { shard }, value: cache.misses })),
  },
  {
    ...{ name: 'gatepath_cache_used_bytes', type: 'gauge', help: 'Cached blocks.', labels: ['shard'] },
    values: view => storage(view).map(({ shard, cache }) => ({ labels: { shard }, value: cache.usedPages * BLOCK_BYTES })),
  },
  {
    ...{ name: 'gatepath_cache_size_bytes', type: 'gauge', help: 'Room for cached blocks.', labels: ['shard'] },
    values: view => storage(view).map(({ shard, cache }) => ({ labels: { shard }, value: cache.pages * BLOCK_BYTES })),
  },
  {
    ...{ name: 'gatepath_oplog_used_bytes', type: 'gauge', help: 'Part of the log that is needed still.', labels: ['stream'] },
    values: view => storage(view).flatMap(({ oplog }) => oplog.map(({ stream, usedBytes }) => ({ labels: { stream }, value: usedBytes }))),
  },
  {
    ...{ name: 'gatepath_oplog_size_bytes', type: 'gauge', help: 'Most that the log may take.', labels: ['stream'] },
    values: view =>
      storage(view).flatMap(({ oplog }) => oplog.map(({ stream, capacityBytes }) => ({ labels: { stream }, value: capacityBytes }))),
  },
  {
    ...{
      name: 'gatepath_rot_blocks_total',
      type: 'counter',
      help: 'Blocks that were found damaged, and what became of them: damaged (asked of other nodes), fetched, repaired, lost.',
      labels: ['shard', 'state'],
    },
    values: view =>
      storage(view).flatMap(({ shard, rot }) =>
        (['damaged', 'fetched', 'repaired', 'lost'] as const).map(state => ({ labels: { shard, state }, value: rot[`${state}Blocks`] })),
      ),
  },
  {
    ...{
      name: 'gatepath_rot_records_total',
      type: 'counter',
      help: 'Damaged records of the block store, of 64 blocks each, that were written anew from what another node has.',
      labels: ['shard'],
    },
    values: view => storage(view).map(({ shard, rot }) => ({ labels: { shard }, value: rot.refilledRecords })),
  },
  {
    ...{ name: 'gatepath_scrub_passes_total', type: 'counter', help: 'Times that all extents were read and checked.', labels: ['shard'] },
    values: view => scrubs(view).map(({ labels, scrub }) => ({ labels, value: scrub.passes })),
  },
  {
    ...{ name: 'gatepath_scrub_done_bytes', type: 'gauge', help: 'How far the pass is that is under way.', labels: ['shard'] },
    values: view => scrubs(view).map(({ labels, scrub }) => ({ labels, value: scrub.doneBytes })),
  },
  {
    ...{ name: 'gatepath_scrub_size_bytes', type: 'gauge', help: 'What it has to read.', labels: ['shard'] },
    values: view => scrubs(view).map(({ labels, scrub }) => ({ labels, value: scrub.totalBytes })),
  },
  {
    ...{
      name: 'gatepath_store_check_passes_total',
      type: 'counter',
      help: "Times that all pages of the block store's database were checked.",
      labels: [],
    },
    values: ({ storePages }) => (storePages === null ? [] : [{ labels: {}, value: storePages.passes }]),
  },
  {
    ...{
      name: 'gatepath_store_damaged',
      type: 'gauge',
      help: 'Its pages and records that were found damaged since the start.',
      labels: [],
    },
    values: ({ storePages }) => (storePages === null ? [] : [{ labels: {}, value: storePages.damaged }]),
  },
  {
    ...{
      name: 'gatepath_metadata_damaged',
      type: 'gauge',
      help: 'A record of the metadata that cannot be read: 1.',
      labels: ['key'],
    },
    values: ({ damagedRecords }) => damagedRecords.map(key => ({ labels: { key }, value: 1 })),
  },
  {
    ...{ name: 'gatepath_space_free_bytes', type: 'gauge', help: 'Free space of the file system with the data.', labels: [] },
    values: ({ space }) => (space === null ? [] : [{ labels: {}, value: space.freeBytes }]),
  },
  {
    ...{ name: 'gatepath_space_size_bytes', type: 'gauge', help: 'Size of that file system.', labels: [] },
    values: ({ space }) => (space === null ? [] : [{ labels: {}, value: space.totalBytes }]),
  },
];

export interface SampledValue {
  readonly labels: Record<string, string | number>;
  readonly value: number;
  readonly metricName?: string;
}

/** What of a metric is told, one value a line. */
export function samplesOf(metric: MetricDefinition, view: CountersView): SampledValue[] {
  if (metric.type !== 'histogram') return metric.values(view).map(({ labels, value }) => ({ labels: { ...labels }, value }));
  return metric.times(view).flatMap(({ labels, times }) => {
    const histogram = Histogram.between(null, times);
    const { count } = histogram;
    return [
      ...BUCKETS_S.map(le => ({
        labels: { ...labels, le },
        value: histogram.countUpTo(le * NS_PER_S),
        metricName: `${metric.name}_bucket`,
      })),
      { labels: { ...labels, le: '+Inf' }, value: count, metricName: `${metric.name}_bucket` },
      { labels: { ...labels }, value: times.sumNs / NS_PER_S, metricName: `${metric.name}_sum` },
      { labels: { ...labels }, value: count, metricName: `${metric.name}_count` },
    ];
  });
}
