import type { Export } from '../export.js';
import { reply, replyWith, type Negotiation, type OptionOutcome, type OptionReplyMessage } from '../handshake/negotiation.js';
import { refuse, refuseInvalid, refuseUnknownExport } from '../handshake/refusal.js';
import { MAX_META_QUERIES } from '../limits.js';
import { ByteReader, ByteWriter } from '../protocol/bytes.js';
import { BASE_ALLOCATION, BASE_ALLOCATION_ID, OptionReply } from '../protocol/constants.js';
import { decodeString, textBytes } from '../protocol/strings.js';

// NBD_OPT_LIST_META_CONTEXT (9), NBD_OPT_SET_META_CONTEXT (10), proto.md "Option types", "Metadata querying".
//   data:    u32 length of export name · name · u32 count · count × (u32 length of query · query)
//   answer:  NBD_REP_META_CONTEXT (4) for each context: u32 id (0 when listing) · name of the context; then ACK
//   errors:  ERR_INVALID (malformed, trailing bytes, no structured replies), ERR_UNKNOWN (export), ERR_TOO_BIG
// LIST with no query lists all; "base:" lists that namespace. SET selects exact names, once each, and ignores the rest;
// each SET replaces the selection before it, also when it fails.

export interface MetaContextRequest {
  readonly exportName: string;
  readonly queries: ReadonlySet<string>;
}

/** Null: malformed. */
export function decodeMetaContextRequest(data: Uint8Array): MetaContextRequest | 'too-many' | null {
  const reader = new ByteReader(data);
  const exportName = decodeString(reader.raw(reader.u32()));
  const count = reader.u32();
  if (reader.failed || exportName === null) return null;
  // Each query takes four bytes at least: a count beyond that is malformed, not merely large.
  if (count > data.length / 4) return null;
  if (count > MAX_META_QUERIES) return 'too-many';
  const queries = new Set<string>();
  for (let i = 0; i < count; i++) {
    const query = decodeString(reader.raw(reader.u32()));
    if (reader.failed || query === null) return null;
    queries.add(query);
  }
  return reader.exact ? { exportName, queries } : null;
}

export function encodeMetaContext(id: number, name: string): Uint8Array {
  const bytes = textBytes(name);
  return new ByteWriter(4 + bytes.length).u32(id).raw(bytes).bytes;
}

function contextReply(id: number): OptionReplyMessage {
  return reply(OptionReply.metaContext, encodeMetaContext(id, BASE_ALLOCATION));
}

/** What is common: `select` decides, for an export that has base:allocation, whether the queries ask for it. */
function handle(negotiation: Negotiation, data: Uint8Array, id: number, select: (queries: ReadonlySet<string>) => boolean): MetaOutcome {
  if (!negotiation.structuredReplies) return failed(refuseInvalid('negotiate structured replies first'));
  const request = decodeMetaContextRequest(data);
  if (request === null) return failed(refuseInvalid('malformed data, or a name or query that is not valid'));
  if (request === 'too-many') return failed(refuse(OptionReply.errTooBig, 'too many queries'));
  const target = negotiation.directory.find(request.exportName);
  if (target === undefined) return failed(refuseUnknownExport());
  const selected = target.features.blockStatus && select(request.queries);
  const replies = selected ? [contextReply(id), reply(OptionReply.ack)] : [reply(OptionReply.ack)];
  return { outcome: replyWith(...replies), target, selected };
}

function failed(outcome: OptionOutcome): MetaOutcome {
  return { outcome, target: null, selected: false };
}

interface MetaOutcome {
  readonly outcome: OptionOutcome;
  /** Null: failed. */
  readonly target: Export | null;
  readonly selected: boolean;
}

export function handleListMetaContext(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  return handle(negotiation, data, 0, queries => queries.size === 0 || queries.has(BASE_ALLOCATION) || queries.has('base:')).outcome;
}

export function handleSetMetaContext(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  negotiation.metaExportName = null;
  negotiation.baseAllocation = false;
  const { outcome, target, selected } = handle(negotiation, data, BASE_ALLOCATION_ID, queries => queries.has(BASE_ALLOCATION));
  if (target !== null) {
    // The export's own name: '' and the name of the default export mean the same one.
    negotiation.metaExportName = target.name;
    negotiation.baseAllocation = selected;
  }
  return outcome;
}
