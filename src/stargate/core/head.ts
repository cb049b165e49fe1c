import { Packr } from 'msgpackr';
import * as z from 'zod';
import { DEDUPE_WINDOW } from './limits.js';
import type { AttachMode, SessionTableRecord } from './sessions.js';

/**
 * The control records that entries carry: HEAD, SESSION_OPEN, ATTACH_MODE, PROMISE. msgpack, checked when they are read back: they come from a disk.
 */
const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const head = z.object({
  version: z.literal(1),
  sizeBytes: counter,
  /** The writable layer. */
  layer: counter,
  /** Everything up to this entry is in the extents: the log is needed from the next one on. */
  drainedSeq: counter,
  /** Header checksum of that entry, 0 for none: what the next one names as its predecessor. */
  drainedHash: counter,
  sessions: z.object({
    generation: counter,
    ended: z.array(z.string()),
    /** Heads of before there was such a thing do not have it. */
    shared: z
      .object({ generation: counter, ended: z.array(z.string()) })
      .nullable()
      .default(null),
    sessions: z.array(
      z.object({
        id: counter,
        generation: counter,
        datapathUuid: z.string(),
        shard: counter,
        lowWater: counter,
        committed: z.instanceof(Uint8Array).refine(bytes => bytes.length <= DEDUPE_WINDOW / 8),
        partial: z.array(z.tuple([counter, counter])),
        lossUntold: z.boolean().optional(),
      }),
    ),
    lossTerm: counter.optional(),
  }),
});

/** Whole head state of a vdisk: a log that starts at one needs nothing older (rule 21). */
export interface HeadRecord {
  readonly version: 1;
  readonly sizeBytes: number;
  readonly layer: number;
  readonly drainedSeq: number;
  readonly drainedHash: number;
  readonly sessions: SessionTableRecord;
}

const place = z.object({ seq: counter, hash: counter, term: counter });
const promise = z.object({ term: counter, controller: z.string(), nonce: z.string() });

const replicaHead = z.object({
  version: z.literal(1),
  sizeBytes: counter,
  layer: counter,
  /** The session table is as of this entry, which is committed. */
  at: place,
  /** Everything up to this entry is in the extents. */
  drained: place,
  promise: promise.nullable(),
  sessions: head.shape.sessions,
});

/** Head state of one replica of a vdisk's log: its own record, no entry that others have. */
export interface ReplicaHeadRecord {
  readonly version: 1;
  readonly sizeBytes: number;
  readonly layer: number;
  readonly at: PlaceRecord;
  readonly drained: PlaceRecord;
  readonly promise: PromiseRecord | null;
  readonly sessions: SessionTableRecord;
}

const sessionOpen = z.object({ generation: counter, datapathUuid: z.string().min(1).max(64), shard: counter });
const attachMode = z.object({ generation: counter, mode: z.enum(['shared', 'exclusive']) });
export type PlaceRecord = z.infer<typeof place>;
export type SessionOpenRecord = z.infer<typeof sessionOpen>;
export type PromiseRecord = z.infer<typeof promise>;

const packr = new Packr({ useRecords: false });

export function encodeRecord(record: HeadRecord | ReplicaHeadRecord | SessionOpenRecord | AttachMode | PromiseRecord): Uint8Array {
  return packr.pack(record);
}

export function encodeSessions(table: SessionTableRecord): Uint8Array {
  return packr.pack(table);
}

/** All throw when the bytes are not such a record. */
export function decodeHead(bytes: Uint8Array): HeadRecord {
  return head.parse(packr.unpack(bytes));
}
export function decodeReplicaHead(bytes: Uint8Array): ReplicaHeadRecord {
  return replicaHead.parse(packr.unpack(bytes));
}
export function decodeSessions(bytes: Uint8Array): SessionTableRecord {
  return head.shape.sessions.parse(packr.unpack(bytes));
}
export function decodeSessionOpen(bytes: Uint8Array): SessionOpenRecord {
  return sessionOpen.parse(packr.unpack(bytes));
}
export function decodeAttachMode(bytes: Uint8Array): AttachMode {
  return attachMode.parse(packr.unpack(bytes));
}
export function decodePromise(bytes: Uint8Array): PromiseRecord {
  return promise.parse(packr.unpack(bytes));
}
