import * as z from 'zod';
import type { HandedOverDatapath } from '../../datapath/hand-over.js';
import { MAX_EXPORTS } from '../../datapath/limits.js';
import { attachmentRecord } from '../../meta/model.js';
import { MAX_SHARDS } from '../../shard/limits.js';

/**
 * What a datapath process and the one that replaces it say to each other (docs/protocol.md, "Replacing a datapath"):
 *
 * ```
 * next                              serving
 *   hello (version) ─────────────────▶
 *   ◀───────────────────────── offer    or refused
 *   (starts, exports what the offer names)
 *   ready ───────────────────────────▶
 *                                       (lets go of everything, between requests)
 *   ◀────────────────── listener, connection … each with its descriptor
 *   ◀─────────────────────────── end    or refused: it serves on
 *   taken ───────────────────────────▶
 *   ◀──────────────────────── commit    from here on they are the next one's
 * ```
 *
 * Whatever breaks off before `commit` leaves the serving process as it was.
 */
export const HANDOVER_VERSION = 1;
const MAGIC = 'gatepath-handover';

const count = z.int().min(0);
const shard = count.max(MAX_SHARDS - 1);

const negotiated = z.strictObject({
  exportName: z.string().max(4_096),
  structuredReplies: z.boolean(),
  extendedHeaders: z.boolean(),
  contextMask: count,
  secure: z.literal(false),
});
const tls = z.enum(['off', 'selective', 'forced']);
const paused = z.strictObject({
  tls,
  hasFlags: z.boolean(),
  fixedNewstyle: z.boolean(),
  optionCount: count,
  noZeroes: z.boolean(),
  structuredReplies: z.boolean(),
  extendedHeaders: z.boolean(),
  metaExportName: z.string().max(4_096).nullable(),
  contextMask: count,
});

/** What it has never changes: with it, each of the two learns what the other one speaks. Whoever does not know `pid` passes over it. */
export const hello = z.object({
  kind: z.literal('hello'),
  magic: z.literal(MAGIC),
  version: count,
  software: z.string().max(200),
  pid: z.int().positive().optional(),
});
export const refused = z.object({
  kind: z.literal('refused'),
  code: z.string().max(100),
  message: z.string().max(4_096),
  action: z.string().max(4_096),
});

export const offer = z.strictObject({
  kind: z.literal('offer'),
  version: z.literal(HANDOVER_VERSION),
  software: z.string().max(200),
  pid: count,
  host: z.string(),
  datapathUuid: z.uuid(),
  attachments: z.array(attachmentRecord).max(MAX_EXPORTS),
  floors: z.record(z.string(), count),
});
export const listener = z.strictObject({ kind: z.literal('listener'), tls });
export const connection = z.strictObject({
  kind: z.literal('connection'),
  shard,
  stage: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('handshake'), paused }),
    z.strictObject({ kind: z.literal('transmission'), negotiated }),
  ]),
  leftover: z.base64(),
});
export const end = z.strictObject({
  kind: z.literal('end'),
  sessions: z.array(z.strictObject({ shard, vdiskId: z.string(), generation: count, nextSeq: count.min(1) })).max(MAX_EXPORTS * MAX_SHARDS),
});
export const ready = z.strictObject({ kind: z.literal('ready') });
export const taken = z.strictObject({ kind: z.literal('taken') });
export const commit = z.strictObject({ kind: z.literal('commit') });

export type Offer = z.infer<typeof offer>;
export type Refused = z.infer<typeof refused>;
export type Message =
  | z.infer<typeof hello>
  | Refused
  | Offer
  | z.infer<typeof listener>
  | z.infer<typeof connection>
  | z.infer<typeof end>
  | z.infer<typeof ready>
  | z.infer<typeof taken>
  | z.infer<typeof commit>;

export const helloOf = (software: string): Message => ({
  kind: 'hello',
  magic: MAGIC,
  version: HANDOVER_VERSION,
  software,
  pid: process.pid,
});

export function connectionMessage({ shard: at, stage, leftover }: HandedOverDatapath['connections'][number]): Message {
  const { kind } = stage;
  // A connection in TLS is not handed over.
  const plain = kind === 'handshake' ? stage : { kind, negotiated: { ...stage.negotiated, secure: false as const } };
  return { kind: 'connection', shard: at, stage: plain, leftover: Buffer.from(leftover).toString('base64') };
}

export function connectionOf(message: z.infer<typeof connection>, fd: number): HandedOverDatapath['connections'][number] {
  return { fd, shard: message.shard, stage: message.stage, leftover: Buffer.from(message.leftover, 'base64') };
}
