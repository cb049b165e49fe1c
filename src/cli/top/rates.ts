import { Histogram, type HistogramSnapshot } from '../../base/histogram.js';
import { HOPS } from '../../base/probe.js';
import type { CountersView, ExportCounters, ProbeView } from '../../control/watch/view.js';

/** What happened between two looks at the processes of a system. Rates are per second, times µs; of no request the times are null. */
export interface Rates {
  readonly seconds: number;
  readonly vdisks: readonly VdiskRates[];
  readonly hops: readonly HopRates[];
  readonly shards: readonly ShardRates[];
  readonly nodes: readonly NodeRates[];
}

interface Times {
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
}

export interface VdiskRates extends Times {
  readonly name: string;
  readonly readIops: number;
  readonly writeIops: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  /** Requests that are not answered now. */
  readonly depth: number;
  readonly isCutOff: boolean;
}

export interface HopRates extends Times {
  readonly hop: string;
  readonly perSecond: number;
  readonly bytes: number;
  /** Of the wait before it was their turn. */
  readonly queueP99Us: number | null;
}

export interface ShardRates {
  readonly process: string;
  readonly shard: number;
  /** Of one processor, 0 to 1; null: not known. */
  readonly cpu: number | null;
}

export interface NodeRates {
  readonly node: string;
  /** Of blocks that were looked for, 0 to 1; null: none was. */
  readonly cacheHits: number | null;
  readonly oplogUsedBytes: number;
  readonly oplogBytes: number;
  readonly drainBytes: number;
  readonly damagedBlocks: number;
  readonly lostBlocks: number;
  readonly freeBytes: number;
  readonly spaceBytes: number;
  readonly notServed: number;
}

/** By process: `before` has none, or an older look, of those that have started since. */
export interface Look {
  readonly process: string;
  readonly before: CountersView | null;
  readonly after: CountersView;
}

const NS_PER_S = 1e9;
const NOTHING: HistogramSnapshot = { sumNs: 0, maxNs: 0, buckets: [] };

export function ratesOf(looks: readonly Look[]): Rates {
  const spans = looks.map(({ before, after }) => (before === null ? 0 : (after.atNs - before.atNs) / NS_PER_S));
  const seconds = Math.max(0, ...spans);
  const settled = looks.map(one => (isSame(one) ? one : { ...one, before: null }));
  return {
    seconds,
    vdisks: settled.flatMap(look => look.after.exports.map(one => vdiskRates(one, look))),
    hops: HOPS.flatMap(hop => hopRates(hop, settled)),
    shards: settled.flatMap(shardRates),
    nodes: settled.flatMap(nodeRates),
  };
}

/** Counts of another process do not go on from those of the one before it. */
function isSame({ before, after }: Look): boolean {
  return (
    before !== null && after.shards.every(one => (one.cpuNs ?? 0) >= (before.shards.find(({ shard }) => shard === one.shard)?.cpuNs ?? 0))
  );
}

const spanOf = ({ before, after }: Look): number => (before === null ? 0 : (after.atNs - before.atNs) / NS_PER_S);

function perSecond(after: number, before: number | undefined, span: number): number {
  return span <= 0 || before === undefined ? 0 : Math.max(0, after - before) / span;
}

function timesOf(all: readonly Histogram[]): Times {
  const sum = new Histogram();
  for (const one of all) sum.add(one);
  if (sum.count === 0) return { p50Us: null, p99Us: null, p999Us: null };
  const us = (fraction: number): number => sum.quantileNs(fraction) / 1_000;
  return { p50Us: us(0.5), p99Us: us(0.99), p999Us: us(0.999) };
}

const between = (before: ProbeView | undefined, after: ProbeView, which: 'queue' | 'service'): Histogram =>
  Histogram.between(before?.[which] ?? NOTHING, after[which]);

function vdiskRates(one: ExportCounters, look: Look): VdiskRates {
  const span = spanOf(look);
  const { name, unanswered: depth, isCutOff, probes } = one;
  if (probes === null || look.before === null) return { ...idle, name, depth, isCutOff };
  // Of one that nobody had used before, everything is new.
  const old = look.before.exports.find(({ vdiskId }) => vdiskId === one.vdiskId)?.probes ?? null;
  const rate = (op: 'read' | 'write', field: 'requests' | 'bytes'): number => perSecond(probes[op][field], old?.[op][field] ?? 0, span);
  return {
    name,
    depth,
    isCutOff,
    readIops: rate('read', 'requests'),
    writeIops: rate('write', 'requests'),
    readBytes: rate('read', 'bytes'),
    writeBytes: rate('write', 'bytes'),
    ...timesOf((['read', 'write', 'other'] as const).map(op => between(old?.[op], probes[op], 'service'))),
  };
}

const idle = { readIops: 0, writeIops: 0, readBytes: 0, writeBytes: 0, p50Us: null, p99Us: null, p999Us: null };

function hopRates(hop: string, looks: readonly Look[]): HopRates[] {
  const probes = looks.flatMap(look =>
    look.after.shards.flatMap(({ shard, hops }) => {
      const after = hops[hop];
      const before = look.before?.shards.find(one => one.shard === shard)?.hops[hop];
      return after === undefined ? [] : [{ after, before, span: spanOf(look) }];
    }),
  );
  if (probes.length === 0) return [];
  const sum = (field: 'requests' | 'bytes'): number =>
    probes.reduce((all, { before, after, span }) => all + perSecond(after[field], before?.[field], span), 0);
  const known = probes.filter(({ before }) => before !== undefined);
  const queue = timesOf(known.map(({ before, after }) => between(before, after, 'queue')));
  return [
    {
      hop,
      perSecond: sum('requests'),
      bytes: sum('bytes'),
      queueP99Us: queue.p99Us,
      ...timesOf(known.map(({ before, after }) => between(before, after, 'service'))),
    },
  ];
}

function shardRates(look: Look): ShardRates[] {
  return look.after.shards.map(({ shard, cpuNs }) => {
    const before = look.before?.shards.find(one => one.shard === shard)?.cpuNs ?? null;
    const cpu = cpuNs === null || before === null || spanOf(look) <= 0 ? null : (cpuNs - before) / NS_PER_S / spanOf(look);
    return { process: look.process, shard, cpu };
  });
}

function nodeRates(look: Look): NodeRates[] {
  const { node, shards, space, notServed } = look.after;
  if (node === null || space === null) return [];
  const parts = shards.flatMap(one => (one.storage === null ? [] : [one.storage]));
  const before = (look.before?.shards ?? []).flatMap(one => (one.storage === null ? [] : [one.storage]));
  const sum = <T>(all: readonly T[], of: (one: T) => number): number => all.reduce((total, one) => total + of(one), 0);
  const hits = sum(parts, one => one.cache.hits) - sum(before, one => one.cache.hits);
  const misses = sum(parts, one => one.cache.misses) - sum(before, one => one.cache.misses);
  const oplog = parts.flatMap(one => one.oplog);
  const drained = (view: CountersView | null): number | undefined =>
    view === null ? undefined : sum(view.shards, ({ hops }) => hops['drain']?.bytes ?? 0);
  return [
    {
      node,
      cacheHits: hits + misses > 0 ? hits / (hits + misses) : null,
      oplogUsedBytes: sum(oplog, one => one.usedBytes),
      oplogBytes: sum(oplog, one => one.capacityBytes),
      drainBytes: perSecond(drained(look.after) ?? 0, drained(look.before), spanOf(look)),
      damagedBlocks: sum(parts, one => one.rot.damagedBlocks),
      lostBlocks: sum(parts, one => one.rot.lostBlocks),
      freeBytes: space.freeBytes,
      spaceBytes: space.totalBytes,
      notServed,
    },
  ];
}
