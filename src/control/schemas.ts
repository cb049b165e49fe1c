import { z } from 'zod';

/** Shapes of the management API, for server and clients. Sizes are bytes; times are ISO 8601. */

/** Names are checked by the cluster model, which says what is wrong with one; here only their type and a bound. */
const text = z.string().max(4_096);
const count = z.number().int().nonnegative();

export const createContainerRequest = z.strictObject({ name: text });
export const createVdiskRequest = z.strictObject({
  name: text,
  sizeBytes: z.number().int().positive(),
  container: text.optional(),
});
export const attachRequest = z.strictObject({
  /** Default: the only host that is known, or the node's own. */
  host: text.optional(),
  /** How long to wait until the host's datapath offers it. */
  timeoutMs: z.number().int().nonnegative().max(60_000).optional(),
});
export type CreateVdiskRequest = z.infer<typeof createVdiskRequest>;
export type AttachRequest = z.infer<typeof attachRequest>;

export const health = z.enum(['healthy', 'degraded', 'unavailable']);
export type Health = z.infer<typeof health>;

export const containerView = z.object({
  name: z.string(),
  replicationFactor: count,
  durability: z.string(),
  createdAt: z.string(),
  vdisks: count,
  /** Sum of the vdisks' sizes, and of the space their data takes. */
  sizeBytes: count,
  allocatedBytes: count,
});
export type ContainerView = z.infer<typeof containerView>;

export const attachmentView = z.object({
  vdisk: z.string(),
  vdiskId: z.string(),
  host: z.string(),
  generation: count,
  sizeBytes: count,
  /** The NBD socket of the host's datapath; null where none has ever run there. */
  nbdSocket: z.string().nullable(),
  /** NBD clients find it. */
  exported: z.boolean(),
});
export type AttachmentView = z.infer<typeof attachmentView>;

export const detachView = z.object({
  vdisk: z.string(),
  host: z.string(),
  /** The host's datapath has let go of it. */
  released: z.boolean(),
});
export type DetachView = z.infer<typeof detachView>;

export const vdiskView = z.object({
  name: z.string(),
  id: z.string(),
  container: z.string(),
  sizeBytes: count,
  /** Space of the data that has left the log; null where the node does not say. */
  allocatedBytes: count.nullable(),
  createdAt: z.string(),
  health,
  /** Why it is not healthy. */
  problem: z.string().nullable(),
  controller: z.string().nullable(),
  members: z.array(z.string()),
  epoch: count,
  term: count,
  /** Datapath shards that have it open. */
  sessions: count,
  attachment: z.object({ host: z.string(), generation: count, exported: z.boolean() }).nullable(),
});
export type VdiskView = z.infer<typeof vdiskView>;

const hop = z.object({
  requests: count,
  bytes: count,
  service: z.object({ count, meanNs: z.number(), p50Ns: z.number(), p99Ns: z.number(), p999Ns: z.number(), maxNs: z.number() }),
});

export const shardView = z.object({
  shard: count,
  cache: z.object({ pages: count, usedPages: count, hits: count, misses: count }),
  oplog: z.array(z.object({ stream: count, usedBytes: count, capacityBytes: count })),
  hops: z.record(z.string(), hop),
});
export type ShardView = z.infer<typeof shardView>;

export const statusView = z.object({
  version: z.string(),
  health,
  problems: z.array(z.string()),
  node: z.object({ id: z.string(), pid: count, storeUuid: z.string(), dataDir: z.string(), startedAt: z.string() }),
  hosts: z.array(z.object({ name: z.string(), nbdSocket: z.string() })),
  vdisks: z.object({ count, attached: count, sizeBytes: count, allocatedBytes: count }),
  /** Space of the file system that holds the data. */
  space: z.object({ freeBytes: count, totalBytes: count }),
  shards: z.array(shardView),
});
export type StatusView = z.infer<typeof statusView>;

export const apiError = z.object({
  error: z.object({
    kind: z.enum(['retryable', 'fenced', 'corrupt', 'noSpace', 'invalid', 'fatal']),
    code: z.string(),
    message: z.string(),
    action: z.string(),
  }),
});
