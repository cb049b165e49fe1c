import * as z from 'zod';
import { rotView } from './watch/view.js';

/** Shapes of the management API, for server and clients. Sizes are bytes; times are ISO 8601. */

/** Names are checked by the cluster model, which says what is wrong with one; here only their type and a bound. */
export const text = z.string().max(4_096);
export const count = z.number().int().nonnegative();

export const createVdiskRequest = z.strictObject({
  name: text,
  sizeBytes: z.number().int().positive(),
  container: text.optional(),
});
export const beginImportRequest = z.strictObject({
  /** The name that the vdisk is to have. */
  name: text,
  /** Missing: it is known only at the end. The vdisk is as large as its container lets it be until then. */
  sizeBytes: z.number().int().positive().optional(),
  container: text.optional(),
  /** Where the client finds it: default as with attach. */
  host: text.optional(),
});
export type BeginImportRequest = z.infer<typeof beginImportRequest>;
export const beginExportRequest = z.strictObject({ name: text, host: text.optional() });
export type BeginExportRequest = z.infer<typeof beginExportRequest>;
export const finishImportRequest = z.strictObject({
  /** Where it is known only now: not more than it was begun with. */
  sizeBytes: z.number().int().positive().optional(),
});
export type FinishImportRequest = z.infer<typeof finishImportRequest>;
export const attachRequest = z.strictObject({
  /** Default: the only host that is known, or the node's own. */
  host: text.optional(),
  /** Beside the attachment that holds it, for a migration. Needs a host. */
  shared: z.boolean().optional(),
  /** How long to wait until the host's datapath offers it. */
  timeoutMs: z.number().int().nonnegative().max(60_000).optional(),
});
export const activateRequest = z.strictObject({
  /** Default: where it is attached as shared. */
  host: text.optional(),
  /** How long to wait until the host's datapath has the vdisk. */
  timeoutMs: z.number().int().nonnegative().max(60_000).optional(),
});
export const detachRequest = z.strictObject({
  /** Needed where it is attached at two. */
  host: text.optional(),
});
export const recoverRequest = z.strictObject({
  /** Default: the node whose copy ends last. */
  from: text.optional(),
  acceptDataLoss: z.boolean().default(false),
});
export const removeNodeRequest = z.strictObject({
  /** Also where something is lost by that. */
  force: z.boolean().default(false),
});
export type RemoveNodeRequest = z.infer<typeof removeNodeRequest>;
export type RecoverRequest = z.infer<typeof recoverRequest>;
export type ActivateRequest = z.infer<typeof activateRequest>;
export type DetachRequest = z.infer<typeof detachRequest>;
export type CreateVdiskRequest = z.infer<typeof createVdiskRequest>;
export type AttachRequest = z.infer<typeof attachRequest>;

/** All that are kept, or what comes behind one of them; in a query everything is text. */
export const eventsRequest = z.strictObject({
  after: z.coerce.number().int().nonnegative().default(0),
  vdiskId: text.nullable().default(null),
  limit: z.coerce.number().int().positive().max(10_000).default(500),
  waitMs: z.coerce.number().int().nonnegative().max(60_000).default(0),
});

export const eventView = z.object({
  seq: count,
  at: z.string(),
  source: z.string(),
  /** One of those in docs/operations: a client of another version passes on what it does not know. */
  kind: z.string(),
  severity: z.enum(['info', 'warn', 'error']),
  vdiskId: z.string().nullable(),
  subject: z.string().optional(),
  cause: z.string(),
  action: z.string().optional(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
});
export type EventView = z.infer<typeof eventView>;
export const eventsView = z.object({ events: z.array(eventView), last: count });
export type EventsView = z.infer<typeof eventsView>;

export const health = z.enum(['healthy', 'degraded', 'unavailable']);
export type Health = z.infer<typeof health>;

export const attachmentView = z.object({
  vdisk: z.string(),
  vdiskId: z.string(),
  host: z.string(),
  generation: count,
  sizeBytes: count,
  /** It reads beside the one that holds the vdisk, until it is activated. */
  shared: z.boolean(),
  /** The NBD socket of the host's datapath; null where none has ever run there. */
  nbdSocket: z.string().nullable(),
  /** `host:port` at which it serves NBD in TLS to other machines; null: it does not. */
  nbdTls: z.string().nullable().default(null),
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

/** A copy that is being brought up from the extents: by whole blocks of 4 KiB. `share`: how much of it, 0 to 1; `leftMs`: if it goes on as fast; null: not known. */
const resyncView = z.object({
  node: z.string(),
  sentBlocks: count,
  share: z.number().min(0).max(1).default(0),
  leftMs: z.number().nonnegative().nullable().default(null),
});

/** The last thing that went wrong with it, where it is served. */
const lastProblemView = z.object({ at: z.string(), cause: z.string() });

/** A node that is to have a copy, or had one. Since when it has not been a member; null: it still is one, and does not answer. */
const missingView = z.object({ node: z.string(), since: z.string().nullable() });

const attachedView = z.object({
  host: z.string(),
  generation: count,
  exported: z.boolean(),
  /** shared: for a migration, not activated yet; over: another one was activated, and this one is to be detached. */
  mode: z.enum(['holder', 'shared', 'over']),
});

/** A client has it to itself, for an import or an export. */
const leaseView = z.object({
  purpose: z.enum(['import', 'export']),
  /** The name that the vdisk of an import is to have. */
  vdiskName: z.string(),
  since: z.string(),
});

export const vdiskView = z.object({
  name: z.string(),
  id: z.string(),
  container: z.string(),
  sizeBytes: count,
  /** Space of its data in the extents, and in the log at the most, one copy of it; all copies of both. Null where the node does not say. */
  allocatedBytes: count.nullable(),
  logBytes: count.nullable().default(null),
  physicalBytes: count.nullable().default(null),
  createdAt: z.string(),
  health,
  /** Why it is not healthy. */
  problem: z.string().nullable(),
  /** Of one that is not healthy: whose copies are not there. */
  missing: z.array(missingView),
  resyncing: resyncView.nullable(),
  /** Also of one that is healthy again. */
  lastProblem: lastProblemView.nullable(),
  controller: z.string().nullable(),
  members: z.array(z.string()),
  epoch: count,
  term: count,
  /** Datapath shards that have it open. */
  sessions: count,
  /** The one that holds it; where there is none, the shared one. */
  attachment: attachedView.nullable(),
  /** All there are, the one that holds it first. */
  attachments: z.array(attachedView),
  /** Null: it is whole, and free. */
  lease: leaseView.nullable().default(null),
});
export type VdiskView = z.infer<typeof vdiskView>;

/** What one node has of a vdisk that several nodes hold; null: nothing that it uses. */
export const copyView = z.object({
  node: z.string(),
  copy: z
    .object({
      historyId: count,
      /** Where its log ends. */
      lastSeq: count,
      lastTerm: count,
      /** Nothing of it is further than the rest. */
      isWhole: z.boolean(),
      /** The end of its log may be missing. */
      isTorn: z.boolean(),
      isServing: z.boolean(),
    })
    .nullable(),
  /** Why it is not used. */
  problem: z.string().nullable(),
  /** What its data takes of the extents; null: nothing of it is there, or the node does not say. */
  allocatedBytes: count.nullable().default(null),
});
export type CopyView = z.infer<typeof copyView>;

/** What is known before a vdisk is recovered by force. */
export const recoveryView = z.object({
  vdisk: z.string(),
  historyId: count,
  epoch: count,
  term: count,
  members: z.array(z.string()),
  missing: z.array(missingView),
  copies: z.array(copyView),
  /** Nodes that live and did not say. */
  silent: z.array(z.string()),
  /** Why there is no need; null: it may be recovered. */
  refusal: z.string().nullable(),
  /** The node whose copy ends last. */
  best: z.string().nullable(),
});
export type RecoveryView = z.infer<typeof recoveryView>;
export const recoveredView = z.object({
  vdisk: z.string(),
  from: z.string(),
  historyId: count,
  /** A controller has won a term in it. */
  isServed: z.boolean(),
});
export type RecoveredView = z.infer<typeof recoveredView>;

const times = z.object({ count, meanNs: z.number(), p50Ns: z.number(), p99Ns: z.number(), p999Ns: z.number(), maxNs: z.number() });
const hop = z.object({ requests: count, bytes: count, queue: times, service: times });

const NO_ROT = { damagedBlocks: 0, fetchedBlocks: 0, repairedBlocks: 0, refilledRecords: 0, lostBlocks: 0 };

export const shardView = z.object({
  shard: count,
  cache: z.object({ pages: count, usedPages: count, hits: count, misses: count }),
  oplog: z.array(z.object({ stream: count, usedBytes: count, capacityBytes: count })),
  rot: rotView.default(NO_ROT),
  /** The pass over the extents that is under way; null: it is off. */
  scrub: z.object({ passes: count, doneBytes: count, totalBytes: count, bytesPerSecond: z.number() }).nullable().default(null),
  hops: z.record(z.string(), hop),
});
export type ShardView = z.infer<typeof shardView>;

export const exportView = z.object({
  name: z.string(),
  vdiskId: z.string(),
  generation: count,
  sizeBytes: count,
  /** `starting`: not in all shards yet; `ending`: detached, and not let go of yet. */
  state: z.enum(['starting', 'exported', 'ending']),
});
export type ExportView = z.infer<typeof exportView>;

/** One shard's use of one export. */
export const sessionView = z.object({
  name: z.string(),
  vdiskId: z.string(),
  generation: count,
  shard: count,
  state: z.enum(['disconnected', 'opening', 'open', 'closed']),
  /** How it reaches the controller; null: it does not, now. */
  path: z.enum(['same-shard', 'other-shard', 'unix', 'tcp']).nullable(),
  /** The node that serves it, or did last; null: none yet. And the term of the controller there. */
  node: z.string().nullable(),
  term: count,
  /** Since when the state is what it is. */
  since: z.string(),
  /** Longest time without an answer while requests were outstanding, since the path was last lost: that outage included. */
  lastGapMs: count,
  /** NBD connections, and requests of theirs that are not answered. */
  connections: count,
  unanswered: count,
  /** Payload of the writes among them, which is kept to be sent again; missing: an older version does not say. */
  heldBytes: count.default(0),
  /** How often a path was opened and lost, and how many requests were sent again. */
  opened: count,
  lost: count,
  replayed: count,
  /** Why there is no path; empty while there is one, or none was wanted yet. */
  problem: z.string(),
});
export type SessionView = z.infer<typeof sessionView>;

export const datapathShardView = z.object({ shard: count, hops: z.record(z.string(), hop) });
export type DatapathShardView = z.infer<typeof datapathShardView>;

export const datapathView = z.object({
  host: z.string(),
  uuid: z.string(),
  pid: count,
  nbdSocket: z.string(),
  startedAt: z.string(),
  exports: z.array(exportView),
  sessions: z.array(sessionView),
  shards: z.array(datapathShardView),
});
export type DatapathView = z.infer<typeof datapathView>;

/** A node of the system, as the metadata and its signs of life tell it. */
export const nodeView = z.object({
  id: z.string(),
  /** It has been heard of within the last seconds. */
  alive: z.boolean(),
  storeUuid: z.string(),
  incarnation: count,
  faultDomain: z.string().nullable(),
  /** Where others reach its Stargate; `tcp` is HOST:PORT, null where it does not listen there. */
  unix: z.string(),
  tcp: z.string().nullable(),
  /** Its management API: `unix:PATH`. */
  control: z.string().nullable(),
  shards: count,
  streams: count,
  /** Of the file system that holds its data; null where it does not say. */
  freeBytes: count.nullable(),
  totalBytes: count.nullable(),
  /** Since when it is drained; null: it does its full duty. */
  drainingSince: z.string().nullable().default(null),
  /** Since when it is being removed from the cluster; null: it is not. */
  removingSince: z.string().nullable().default(null),
  /** Vdisks whose writes would wait if it stopped now, or that would have no controller for a moment; empty of one that may be stopped. */
  neededBy: z.array(z.string()).default([]),
  /** Of its software, and since when it runs; null where it does not say. */
  version: z.string().nullable().default(null),
  startedAt: z.string().nullable().default(null),
  /** Vdisks of which it has a copy, and those that it controls. */
  vdisks: count,
  controls: count,
});
export type NodeView = z.infer<typeof nodeView>;

/** How far the removal of a node is. */
export const removalView = z.object({
  node: z.string(),
  /** Its records are gone, and nothing is to be done any more. */
  isRemoved: z.boolean(),
  /** Vdisks that are lost with it, the first of them. */
  lost: z.array(z.string()),
  /** Vdisks that it has a copy of, or that have not got another one for it: the first of them, and how many there are. */
  waitsFor: z.array(
    z.object({
      vdisk: z.string(),
      /** On other nodes, and so many as there have to be. */ copies: count,
      wanted: count,
      resyncing: resyncView.nullable(),
    }),
  ),
  waiting: count,
});
export type RemovalView = z.infer<typeof removalView>;

/** Of one vdisk alone, or of all. */
export const servedRequest = z.object({ vdisk: z.uuid().optional() });

/** What one node serves: nodes ask each other. */
export const servedView = z.object({
  node: z.string(),
  /** Of its software, and since when it runs; null: of a version that does not say. */
  version: z.string().nullable().default(null),
  startedAt: z.string().nullable().default(null),
  vdisks: z.array(
    z.object({
      vdiskId: z.string(),
      allocatedBytes: count,
      logBytes: count.default(0),
      /** With a quota: what it may have used up by the time that it is counted again. */
      reservedBytes: count.nullable().default(null),
      sessions: count,
      resyncing: resyncView.nullable().default(null),
      lastProblem: lastProblemView.nullable().default(null),
    }),
  ),
  problems: z.array(z.object({ vdiskId: z.string(), message: z.string() })),
  /** All copies that it has, those that it does not control too, and what each takes. */
  copies: z.array(z.object({ vdiskId: z.string(), usedBytes: count })).default([]),
});
export type ResyncView = z.infer<typeof resyncView>;
export type LastProblemView = z.infer<typeof lastProblemView>;
export type ServedView = z.infer<typeof servedView>;

/** A record of the metadata that cannot be read. */
export const damagedRecordView = z.object({ key: z.string(), why: z.string() });
export type DamagedRecordView = z.infer<typeof damagedRecordView>;

/** The pages of the block store's database, read and checked again and again; `damaged` pages and records since the start. */
export const storePagesView = z.object({ passes: count, doneBytes: count, totalBytes: count, damaged: count });
export type StorePagesView = z.infer<typeof storePagesView>;

/** Of one process: what concerns its Stargate is null or empty where it has none, `datapath` where it has none. */
export const statusView = z.object({
  version: z.string(),
  health,
  problems: z.array(z.string()),
  node: z.object({ id: z.string(), pid: count, storeUuid: z.string(), dataDir: z.string(), startedAt: z.string() }).nullable(),
  /** All nodes of the system, this one too. */
  nodes: z.array(nodeView),
  hosts: z.array(z.object({ name: z.string(), nbdSocket: z.string() })),
  vdisks: z
    .object({
      count,
      attached: count,
      sizeBytes: count,
      allocatedBytes: count,
      logBytes: count.default(0),
      physicalBytes: count.default(0),
      /** Those that are deleted, and whose space is still on its way back. */
      deleting: count.default(0),
      /** Those that are not healthy, the first of them. */
      ill: z.array(
        z.object({
          name: z.string(),
          health,
          problem: z.string().nullable(),
          missing: z.array(missingView),
          resyncing: resyncView.nullable(),
          lastProblem: lastProblemView.nullable(),
        }),
      ),
    })
    .nullable(),
  /** Space of the file system that holds the data; and what the copies that this node has take of it, without the log that is kept for all. */
  space: z
    .object({
      freeBytes: count,
      totalBytes: count,
      usedBytes: count.default(0),
      /** Of what is deleted here: how many copies, and how much data, are still to go. */
      returning: z.object({ layers: count, bytes: count }).default({ layers: 0, bytes: 0 }),
    })
    .nullable(),
  /** Null: it is off, or has not begun. */
  storePages: storePagesView.nullable().default(null),
  /** Of the metadata. */
  damagedRecords: z.array(damagedRecordView).default([]),
  shards: z.array(shardView),
  datapath: datapathView.nullable(),
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
