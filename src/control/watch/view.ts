import * as z from 'zod';

/** What a process has counted since its start, in one answer: whoever wants rates asks twice. Times are ns, sizes bytes. */

const count = z.number().nonnegative();
const histogram = z.object({
  sumNs: count,
  maxNs: count,
  /** Number of a bucket of `Histogram` and its count, by turns. */
  buckets: z.array(count),
});
export const probeView = z.object({ requests: count, bytes: count, queue: histogram, service: histogram });
export type ProbeView = z.infer<typeof probeView>;

/** Damaged blocks since the start: asked of other nodes, found there, written again here, and had by nobody; and records of 64 blocks that were written anew. */
export const rotView = z.object({
  damagedBlocks: count,
  fetchedBlocks: count,
  repairedBlocks: count,
  refilledRecords: count.default(0),
  lostBlocks: count,
});

/** A Stargate's part of a shard. */
const storageView = z.object({
  cache: z.object({ pages: count, usedPages: count, hits: count, misses: count }),
  oplog: z.array(z.object({ stream: count, usedBytes: count, capacityBytes: count })),
  rot: rotView,
  /** The pass that is under way; null: it is off. */
  scrub: z.object({ passes: count, doneBytes: count, totalBytes: count, bytesPerSecond: count }).nullable(),
});

const shardView = z.object({
  shard: count,
  /** Processor time of its thread; null where the system does not say. */
  cpuNs: count.nullable(),
  hops: z.record(z.string(), probeView),
  /** Null: the process has no Stargate, or the shard does not answer. */
  storage: storageView.nullable(),
});
export type ShardCounters = z.infer<typeof shardView>;

/** One that the process exports. */
const exportView = z.object({
  vdiskId: z.string(),
  name: z.string(),
  sizeBytes: count,
  connections: count,
  unanswered: count,
  heldBytes: count.default(0),
  lost: count,
  replayed: count,
  /** Requests wait: there is no path. */
  isCutOff: z.boolean(),
  /** And will wait until somebody releases it. */
  isQuarantined: z.boolean().default(false),
  /** By what they ask for, with their whole time in the datapath, and the part of it at the path; null: nobody has used it. */
  probes: z.object({ read: probeView, write: probeView, other: probeView, path: probeView }).nullable(),
});
export type ExportCounters = z.infer<typeof exportView>;

/** One that the process's Stargate controls, or has a copy of. */
const storedView = z.object({
  vdiskId: z.string(),
  name: z.string(),
  allocatedBytes: count,
  /** Data in the log, at the most; null: it is controlled elsewhere. */
  logBytes: count.nullable().default(null),
  /** Entries of the log that are not in the extents. */
  undrainedEntries: count,
  sessions: count,
});
export type StoredCounters = z.infer<typeof storedView>;

/** What its vdisks use that this node controls, one copy, and what all of them may. */
const containerView = z.object({ name: z.string(), usedBytes: count, quotaBytes: count.nullable() });
export type ContainerCounters = z.infer<typeof containerView>;

export const countersView = z.object({
  version: z.string(),
  /** On a clock that does not jump. */
  atNs: count,
  node: z.string().nullable(),
  host: z.string().nullable(),
  shards: z.array(shardView),
  exports: z.array(exportView),
  stored: z.array(storedView),
  containers: z.array(containerView).default([]),
  /** Vdisks that the node would serve, and does not. */
  notServed: count,
  silentShards: count,
  /** Of the block store's database; null: its pages are not checked. */
  storePages: z.object({ passes: count, damaged: count }).nullable().default(null),
  /** Keys of the metadata's records that cannot be read. */
  damagedRecords: z.array(z.string()).default([]),
  space: z.object({ freeBytes: count, totalBytes: count }).nullable(),
});
export type CountersView = z.infer<typeof countersView>;
