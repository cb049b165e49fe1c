import * as z from 'zod';
import { MAX_SIZE_BYTES } from '../base/size.js';

/** The cluster model: what the metadata store holds. Every record is validated when it is read and before it is written. */

export const MAX_NAME_LENGTH = 255;

/** Names of vdisks and containers: they are NBD export names and parts of paths. */
export const name = z
  .string('it has to be a name')
  .min(1, 'a name needs at least one character')
  .max(MAX_NAME_LENGTH, `a name has at most ${MAX_NAME_LENGTH} characters`)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'a name starts with a letter or digit and has only letters, digits, ".", "_" and "-"');
export const uuid = z.uuid();
const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** The cluster that the metadata is of. */
export const clusterRecord = z.object({ id: uuid, createdAt: z.string() });

/** Where other processes reach a Stargate: on its machine, and `host:port` from others; null where it does not listen there. */
export const nodeAddresses = z.object({ unix: z.string(), tcp: z.string().nullable() });
export type NodeAddresses = z.infer<typeof nodeAddresses>;

/**
 * What a node makes of a vdisk's log: each kind of entry that came later, and that a node may not pass over, is a number more. 1: as it was first; 2: it knows RESIZE. Entries that
 * not all nodes know are not written: any of them may be a member, or become one.
 */
export const LOG_FORMAT = 2;
export const RESIZE_LOG_FORMAT = 2;

/** A node as it started last. What older versions did not write has their values. */
export const nodeRecord = z
  .object({
    id: name,
    storeUuid: uuid,
    incarnation: counter,
    bootCount: counter,
    /** Its Unix socket. */
    address: z.string(),
    addresses: nodeAddresses.optional(),
    /** Where a vdisk's log is: which stream, and which shard runs it. */
    shards: z.number().int().positive().default(1),
    streams: z.number().int().positive().default(1),
    /** {@link LOG_FORMAT} of the version that it runs. */
    logFormat: z.number().int().positive().default(1),
    /** Nodes that fail together: a rack, a room. Null: it stands alone. */
    faultDomain: name.nullable().default(null),
    /** Its management API: `unix:PATH`. Null: not said. */
    control: z.string().nullable().default(null),
    /** It hands over what it controls, and new vdisks are placed elsewhere: since then. Null: it does its full duty. Kept over its starts. */
    drainingSince: z.string().nullable().default(null),
    /** It goes for good: others get its copies. `copies`: so many of each vdisk they have to have, where the replication factor is not less. */
    removal: z
      .object({ since: z.string(), copies: z.number().int().min(1).max(3) })
      .nullable()
      .default(null),
  })
  .transform(record => ({ ...record, addresses: record.addresses ?? { unix: record.address, tcp: null } }));
export type NodeRecord = z.infer<typeof nodeRecord>;

/** A node was removed from the cluster: by its store, so that the id is free for another one. Its data directory is of this cluster no longer. */
export const removedNodeRecord = z.object({ id: name, storeUuid: uuid, at: z.string() });
export type RemovedNodeRecord = z.infer<typeof removedNodeRecord>;

/** A node lives: written again and again while it runs, removed at a clean stop. A hint, for placement and for people; no safety argument. */
export const beatRecord = z.object({
  id: name,
  storeUuid: uuid,
  incarnation: counter,
  beat: counter,
  freeBytes: counter,
  totalBytes: counter,
});
export type BeatRecord = z.infer<typeof beatRecord>;

export const replicationFactor = z.union([z.literal(1), z.literal(2), z.literal(3)]);
export type ReplicationFactor = z.infer<typeof replicationFactor>;

/** With fewer members than this, writes wait (rule 9). */
export const defaultMinMembers = (factor: ReplicationFactor): number => (factor === 3 ? 2 : 1);

/** When a write is answered: when it is on stable storage, or when it is in memory, and then only a flush makes sure of it (rule 27). */
export const durability = z.enum(['always', 'flush']);
export type Durability = z.infer<typeof durability>;

/** What a change hears for which there is no space: nothing, until there is some; or ENOSPC. */
export const enospcPolicy = z.enum(['wait', 'error']);
export type EnospcPolicy = z.infer<typeof enospcPolicy>;

export const containerRecord = z
  .object({
    name,
    replicationFactor,
    minMembers: z.number().int().min(1).max(3).optional(),
    durability,
    enospc: enospcPolicy.default('wait'),
    /** Most that its vdisks may use together, one copy of each counted. Null: as much as there is. */
    quotaBytes: counter.positive().nullable().default(null),
    createdAt: z.string(),
  })
  .transform(record => ({ ...record, minMembers: record.minMembers ?? defaultMinMembers(record.replicationFactor) }));
export type ContainerRecord = z.infer<typeof containerRecord>;

export const vdiskRecord = z.object({
  id: uuid,
  name,
  container: name,
  sizeBytes: z.number().int().positive().max(MAX_SIZE_BYTES),
  historyId: counter,
  createdAt: z.string(),
  /** Deleting is in progress: the vdisk is gone for everybody, its space is on the way back. */
  deleting: z.boolean(),
});
export type VdiskRecord = z.infer<typeof vdiskRecord>;

/** A node's store as what it is: a node with another data directory, or an emptied one, is somebody else. */
export const groupMember = z.object({
  node: name,
  storeUuid: uuid,
  incarnation: counter,
  /** Of a vdisk with `durability: flush`: which start of the node (rule 27). */
  boot: counter.optional(),
});
export type GroupMember = z.infer<typeof groupMember>;

/** Of a group, remembered: a node each. */
export const MAX_FORMER_MEMBERS = 64;

/** Two controllers of the vdisk have died, one after the other, while they had the same request (rule 19). */
const quarantine = z.object({
  id: uuid,
  at: z.string(),
  /** Whose datapath has seen it. */
  host: name,
  /** What both had, and nobody has answered: the first of them. */
  requests: z.array(z.object({ op: z.string(), offsetBytes: counter, lengthBytes: counter })).max(8),
  nodes: z.array(z.string()).max(8),
  /** Its requests go on since then. It stays in the record: whoever has not heard of the end knows it by its id. */
  releasedAt: z.string().optional(),
});
export type Quarantine = z.infer<typeof quarantine>;

/** Rule 7's group record: who serves a vdisk. Term 0: nobody has yet. */
export const groupRecord = z.object({
  vdiskId: uuid,
  epoch: counter,
  term: counter,
  controller: name,
  /** None: of a vdisk that is being deleted. */
  members: z.array(groupMember).max(8),
  /** Were members, until then, and may have its data still. */
  former: z
    .array(groupMember.extend({ until: z.string() }))
    .max(MAX_FORMER_MEMBERS)
    .optional(),
  nonce: uuid,
  generation: counter,
  /** Term of the last takeover after which something may be lost that was answered and not flushed (rule 27). */
  lossTerm: counter.optional(),
  /** It was brought back by force, from one replica: the history that began with it. Missing: it still has its first one. */
  recovered: z
    .object({
      historyId: counter,
      /** Whose replica it goes on from; of no other is anything of a former history left. */
      origin: groupMember,
      /** Attachments up to this one are over. */
      generation: counter,
      at: z.string(),
    })
    .optional(),
  /** The last one. A version that does not know of it drops it, and its datapaths go on. */
  quarantine: quarantine.optional(),
});
export type GroupRecord = z.infer<typeof groupRecord>;
export type Recovered = NonNullable<GroupRecord['recovered']>;
export type FormerMember = NonNullable<GroupRecord['former']>[number];

/** Desired state: this vdisk is attached at this host. The host's datapath watches its attachments. */
export const attachmentRecord = z.object({
  vdiskId: uuid,
  vdiskName: name,
  host: name,
  /** Rises with each exclusive attachment; a session of an older one is ended (rule 14). */
  generation: counter,
  sizeBytes: counter,
  createdAt: z.string(),
  /** Beside the one that holds the vdisk, for a migration: it reads, until it is activated (rule 18). */
  shared: z.boolean().default(false),
  /** It was shared until then: only when a session has said so to the controller, it holds the vdisk. */
  activatedAt: z.string().optional(),
});
export type AttachmentRecord = z.infer<typeof attachmentRecord>;

/** A host with a datapath: where its guests find their disks. Written by the datapath at each start. */
export const hostRecord = z.object({
  host: name,
  /** New at each start of the datapath. */
  datapathUuid: uuid,
  nbdSocket: z.string(),
  /** `host:port` where clients of other machines find them, in TLS. */
  nbdTls: z.string().nullable().default(null),
  startedAt: z.string(),
});
export type HostRecord = z.infer<typeof hostRecord>;

/** Actual state, beside the attachment's desired one: the host's datapath offers this vdisk, or has not let go of it yet. */
export const exportRecord = z.object({
  vdiskId: uuid,
  host: name,
  generation: counter,
  datapathUuid: uuid,
  state: z.enum(['exported', 'ending']),
  /** It does not hold the vdisk, or not yet. */
  shared: z.boolean().default(false),
  /** What new connections see. */
  sizeBytes: counter.optional(),
});
export type ExportRecord = z.infer<typeof exportRecord>;

/**
 * A client process has a vdisk to itself for an import or an export, and says again and again that it lives: when it no longer does, what it had begun is undone.
 * An import's vdisk is unfinished: until the end it has a name of its own, and it goes with its lease.
 */
export const leaseRecord = z.object({
  vdiskId: uuid,
  purpose: z.enum(['import', 'export']),
  /** The name that the vdisk is to have; of an export: has. */
  vdiskName: name,
  /** Rises while the client lives. */
  beat: counter,
  since: z.string(),
});
export type LeaseRecord = z.infer<typeof leaseRecord>;

/** Keys. A prefix ends in "/": `range(prefix)` lists it. */
export const keys = {
  cluster: 'cluster',
  nodes: 'node/',
  node: (id: string) => `node/${id}`,
  removedNodes: 'node-removed/',
  removedNode: (storeUuid: string) => `node-removed/${storeUuid}`,
  beats: 'node-beat/',
  beat: (nodeId: string) => `node-beat/${nodeId}`,
  containers: 'container/',
  container: (containerName: string) => `container/${containerName}`,
  vdisks: 'vdisk/',
  vdisk: (id: string) => `vdisk/${id}`,
  vdiskNames: 'vdisk-name/',
  vdiskName: (vdiskName: string) => `vdisk-name/${vdiskName}`,
  groups: 'group/',
  group: (vdiskId: string) => `group/${vdiskId}`,
  attachments: 'attachment/',
  attachmentsOf: (host: string) => `attachment/${host}/`,
  attachment: (host: string, vdiskId: string) => `attachment/${host}/${vdiskId}`,
  leases: 'lease/',
  lease: (vdiskId: string) => `lease/${vdiskId}`,
  hosts: 'host/',
  host: (host: string) => `host/${host}`,
  exports: 'export/',
  exportsOf: (host: string) => `export/${host}/`,
  export: (host: string, vdiskId: string) => `export/${host}/${vdiskId}`,
} as const;
