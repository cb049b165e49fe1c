import type { Export } from '../export.js';
import { findExport, reply, replyWith, type Negotiation, type OptionOutcome, type OptionReplyMessage } from '../handshake/negotiation.js';
import { refuse, refuseInvalid, refuseUnknownExport, refuseWithoutTls } from '../handshake/refusal.js';
import { MAX_INFO_REQUESTS } from '../limits.js';
import { ByteReader, ByteWriter } from '../protocol/bytes.js';
import { InfoType, OptionReply } from '../protocol/constants.js';
import { transmissionFlags, type FlagSource } from '../protocol/export-info.js';
import { decodeString, encodeString } from '../protocol/strings.js';

// NBD_OPT_INFO (6), NBD_OPT_GO (7), proto.md "Option types". Both give the same answers; GO goes on to the transmission phase.
//   data:    u32 length of name · name · u16 count · count × u16 information request
//   answer:  NBD_REP_INFO (3) for each item, INFO_EXPORT always: u16 type · …
//              0 INFO_EXPORT       u64 size · u16 transmission flags
//              1 INFO_NAME         name
//              2 INFO_DESCRIPTION  description
//              3 INFO_BLOCK_SIZE   u32 minimum · u32 preferred · u32 maximum
//            then ACK. Requests that are not known are ignored.
//   errors:  ERR_INVALID (lengths that do not add up, an invalid name), ERR_UNKNOWN, ERR_TLS_REQD, ERR_BLOCK_SIZE_REQD, ERR_TOO_BIG

/** A client that did not ask for block sizes may send any multiple of this. */
const ASSUMED_MINIMUM_BYTES = 512;

export interface InfoRequest {
  readonly name: string;
  readonly items: ReadonlySet<number>;
}

/** Null: malformed. */
export function decodeInfoRequest(data: Uint8Array): InfoRequest | null {
  const reader = new ByteReader(data);
  const name = decodeString(reader.raw(reader.u32()));
  const count = reader.u16();
  if (reader.failed || name === null || data.length - 6 - 2 * count < 0) return null;
  const items = new Set<number>();
  for (let i = 0; i < count; i++) items.add(reader.u16());
  return reader.exact ? { name, items } : null;
}

export function encodeInfoExport(target: Export, negotiated: FlagSource): Uint8Array {
  return new ByteWriter(12).u16(InfoType.export).u64(target.sizeBytes).u16(transmissionFlags(target, negotiated)).bytes;
}

export function encodeInfoText(type: number, text: Uint8Array): Uint8Array {
  return new ByteWriter(2 + text.length).u16(type).raw(text).bytes;
}

export function encodeInfoBlockSize({ blockSize }: Export): Uint8Array {
  return new ByteWriter(14).u16(InfoType.blockSize).u32(blockSize.minimumBytes).u32(blockSize.preferredBytes).u32(blockSize.maximumBytes)
    .bytes;
}

function answers(target: Export, items: ReadonlySet<number>, negotiated: FlagSource): OptionReplyMessage[] {
  const infos = [encodeInfoExport(target, negotiated)];
  const name = encodeString(target.name);
  const description = encodeString(target.description);
  if (items.has(InfoType.name) && name !== null) infos.push(encodeInfoText(InfoType.name, name));
  if (items.has(InfoType.description) && description !== null && description.length > 0)
    infos.push(encodeInfoText(InfoType.description, description));
  if (items.has(InfoType.blockSize)) infos.push(encodeInfoBlockSize(target));
  return [...infos.map(info => reply(OptionReply.info, info)), reply(OptionReply.ack)];
}

function handle(negotiation: Negotiation, data: Uint8Array): { outcome: OptionOutcome; target: Export | null } {
  const request = decodeInfoRequest(data);
  if (request === null) return { outcome: refuseInvalid('malformed data, or a name that is not valid'), target: null };
  if (request.items.size > MAX_INFO_REQUESTS)
    return { outcome: refuse(OptionReply.errTooBig, 'too many information requests'), target: null };
  const target = findExport(negotiation, request.name);
  if (target === 'tls') return { outcome: refuseWithoutTls(), target: null };
  if (target === undefined) return { outcome: refuseUnknownExport(), target: null };
  if (target.blockSize.minimumBytes > ASSUMED_MINIMUM_BYTES && !request.items.has(InfoType.blockSize))
    return { outcome: refuse(OptionReply.errBlockSizeRequired, 'ask for NBD_INFO_BLOCK_SIZE and keep to it'), target: null };
  return { outcome: replyWith(...answers(target, request.items, negotiation)), target };
}

export function handleInfo(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  return handle(negotiation, data).outcome;
}

export function handleGo(negotiation: Negotiation, data: Uint8Array): OptionOutcome {
  const { outcome, target } = handle(negotiation, data);
  return target === null ? outcome : { ...outcome, then: { kind: 'transmission', target } };
}
