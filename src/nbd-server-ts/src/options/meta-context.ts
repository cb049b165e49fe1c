import type { Export } from '../export.js';
import { findExport, reply, replyWith, type Negotiation, type OptionOutcome, type OptionReplyMessage } from '../handshake/negotiation.js';
import { refuse, refuseInvalid, refuseUnknownExport } from '../handshake/refusal.js';
import { MAX_META_QUERIES } from '../limits.js';
import { ByteReader, ByteWriter } from '../protocol/bytes.js';
import { contextId, OptionReply } from '../protocol/constants.js';
import { contextNames } from '../protocol/export-info.js';
import { decodeString, textBytes } from '../protocol/strings.js';

// NBD_OPT_LIST_META_CONTEXT (9), NBD_OPT_SET_META_CONTEXT (10), proto.md "Option types", "Metadata querying".
//   data:    u32 length of export name · name · u32 count · count × (u32 length of query · query)
//   answer:  NBD_REP_META_CONTEXT (4) for each context: u32 id (0 when listing) · name of the context; then ACK
//   errors:  ERR_INVALID (malformed, trailing bytes, no structured replies), ERR_UNKNOWN (export), ERR_TOO_BIG
// LIST with no query lists all; "base:" lists that namespace, "qemu:dirty-bitmap:" that part of one. SET selects exact names, once each, and ignores the rest;
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

/** What is common: `matches` decides which of the export's contexts the queries ask for. */
function handle(
  negotiation: Negotiation,
  data: Uint8Array,
  idOf: (context: number) => number,
  matches: (context: string, queries: ReadonlySet<string>) => boolean,
): MetaOutcome {
  if (!negotiation.structuredReplies) return failed(refuseInvalid('negotiate structured replies or extended headers first'));
  const request = decodeMetaContextRequest(data);
  if (request === null) return failed(refuseInvalid('malformed data, or a name or query that is not valid'));
  if (request === 'too-many') return failed(refuse(OptionReply.errTooBig, 'too many queries'));
  const target = findExport(negotiation, request.exportName);
  // ERR_TLS_REQD is for INFO and GO alone.
  if (target === undefined || target === 'tls') return failed(refuseUnknownExport());
  const replies: OptionReplyMessage[] = [];
  let mask = 0;
  contextNames(target).forEach((name, context) => {
    if (!matches(name, request.queries)) return;
    mask |= 1 << context;
    replies.push(reply(OptionReply.metaContext, encodeMetaContext(idOf(context), name)));
  });
  return { outcome: replyWith(...replies, reply(OptionReply.ack)), target, mask };
}

function failed(outcome: OptionOutcome): MetaOutcome {
  return { outcome, target: null, mask: 0 };
}

interface MetaOutcome {
  readonly outcome: OptionOutcome;
  /** Null: failed. */
  readonly target: Export | null;
  readonly mask: number;
}

/** A query that ends in a colon asks for a namespace (`base:`) or a part of one (`qemu:dirty-bitmap:`). */
function listed(context: string, queries: ReadonlySet<string>): boolean {
  if (queries.size === 0 || queries.has(context)) return true;
  for (const query of queries) if (query.endsWith(':') && context.startsWith(query)) return true;
  return false;
}

export function handleListMetaContext(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  return handle(negotiation, data, () => 0, listed).outcome;
}

export function clearContexts(negotiation: Negotiation): void {
  negotiation.metaExportName = null;
  negotiation.contextMask = 0;
}

export function handleSetMetaContext(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  clearContexts(negotiation);
  const { outcome, target, mask } = handle(negotiation, data, contextId, (context, queries) => queries.has(context));
  if (target !== null) {
    // The export's own name: '' and the name of the default export mean the same one.
    negotiation.metaExportName = target.name;
    negotiation.contextMask = mask;
  }
  return outcome;
}
