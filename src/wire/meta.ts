import * as z from 'zod';
import { packr } from './control.js';
import { MAX_META_HINT_KEYS, MAX_META_KEY_LENGTH, MAX_META_TRANSACTION } from './limits.js';
import { vdiskCommand } from './vdisk-command.js';

/**
 * Printable ASCII: then the order of characters, of UTF-16 and of UTF-8 is one and the same, and a key is as many bytes as characters. The first
 * one is a letter or digit; what else a store keeps for itself has names outside that.
 */
export const META_KEY = /^[0-9A-Za-z][\x20-\x7e]*$/;
/** The beginning of a key; the empty one is that of all. */
export const META_PREFIX = /^([0-9A-Za-z][\x20-\x7e]*)?$/;

/** A value as the metadata stores keep it. */
export const encodeMetaValue = (value: unknown): Uint8Array => packr.pack(value);
/** The bytes are copied. */
export const decodeMetaValue = (bytes: Uint8Array): unknown => packr.unpack(bytes.slice());

/**
 * The metadata store over the wire: a datapath without a store of its own asks its Stargate. Its own socket; after HELLO:
 *
 * ```
 * META_REQUEST  client → server   header.tag: number of the request; payload: one of the requests below
 * META_REPLY    server → client   header.tag: echoed; payload: one of the replies below
 * META_EVENT    server → client   header.tag: of the watch; payload {broken, keys}: what has changed, where that is known (older ones do not say)
 * ```
 * Values are any structured data; who reads them validates them by the cluster model.
 */
const key = z.string().max(MAX_META_KEY_LENGTH).regex(META_KEY);
const prefix = z.string().max(MAX_META_KEY_LENGTH).regex(META_PREFIX);
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** What only a node itself knows: what it serves (of one vdisk or of all), or what it has of one vdisk; and what only a vdisk's controller does. */
export const nodeQuestion = z.discriminatedUnion('about', [
  z.object({ about: z.literal('served'), vdiskId: z.uuid().optional() }),
  z.object({ about: z.literal('copy'), vdiskId: z.uuid() }),
  z.object({ about: z.literal('command'), vdiskId: z.uuid(), command: vdiskCommand }),
]);
export type NodeQuestion = z.infer<typeof nodeQuestion>;

export const metaRequest = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('get'), key }),
  z.object({ kind: z.literal('range'), prefix }),
  z.object({
    kind: z.literal('transaction'),
    compares: z.array(z.object({ key, version: count })).max(MAX_META_TRANSACTION),
    operations: z.array(z.union([z.object({ put: key, value: z.unknown() }), z.object({ remove: key })])).max(MAX_META_TRANSACTION),
  }),
  z.object({ kind: z.literal('watch'), prefix }),
  z.object({ kind: z.literal('unwatch'), watch: count }),
  z.object({ kind: z.literal('ask'), question: nodeQuestion }),
]);
export type MetaRequest = z.infer<typeof metaRequest>;

const versioned = z.object({ key, value: z.unknown(), version: count });

export const metaReply = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('item'), item: versioned.nullable() }),
  z.object({ kind: z.literal('items'), items: z.array(versioned) }),
  z.object({ kind: z.literal('applied'), version: count }),
  z.object({ kind: z.literal('conflict') }),
  z.object({ kind: z.literal('done') }),
  /** Of a question: as the management API of the node answers it. */
  z.object({ kind: z.literal('answer'), answer: z.unknown() }),
  /** The request was not carried out, or (for a transaction, with `unknown`) nobody knows. */
  z.object({ kind: z.literal('failed'), code: z.string().max(64), message: z.string().max(4_096), unknown: z.boolean() }),
]);
export type MetaReply = z.infer<typeof metaReply>;

export const metaEvent = z.object({ broken: z.boolean(), keys: z.array(key).max(MAX_META_HINT_KEYS).optional() });
