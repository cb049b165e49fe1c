import * as z from 'zod';
import { decodeControl, packr } from './control.js';
import type { FrameHeader } from './frame.js';
import {
  ENTRY_HEADER_BYTES,
  ENTRY_LENGTH_BYTES,
  MAX_APPEND_ENTRIES,
  MAX_APPEND_PAYLOAD_BYTES,
  MAX_CONTROL_BYTES,
  MAX_TERM_RUNS,
} from './limits.js';
import type { EntryList } from './peers.js';
import type { ReplicaMessage } from './replicate.js';

/**
 * REPLICA frames: header.op is the kind, header.term the term, header.session the vdisk's number. The other fields by kind:
 *
 * ```
 *                clientSeq    lowWater   lengthBytes   tag        status   payload
 * append         committed               entries       committedHash       entries
 * entries                                entries                           entries
 * resync, copies                         entries       data bytes          entries, data
 * appendAck      durableSeq   tailSeq    durableHash   tailHash   fits
 * watermark      committed                             committedHash
 * cut            tailSeq      afterSeq   tailHash      afterHash
 * fetch          fromSeq
 * confirm        round
 * confirmed      round
 * fenced, needSeal, leave
 * standIn        committed                             committedHash       isLeaving
 * leaveReply                                                               isOut
 * letGo          attempt      what                                         isGranted
 * seal                                                                     msgpack {nonce, attempt, history}
 * sealReply                                                                msgpack {attempt, tailSeq, tailHash, tailTerm, runs, committedHeard}
 * ```
 * offsetBytes: between starts of nodes (a vdisk with `durability: flush`), that of the sender times 2^26 plus that of the receiver; else 0.
 * Entries: for each u32 payload length and u32 0; then all headers of ENTRY_HEADER_BYTES; then all payloads. Entries are opaque here.
 */
export const ReplicaOp = {
  append: 1,
  entries: 2,
  appendAck: 3,
  watermark: 4,
  cut: 5,
  fetch: 6,
  fenced: 7,
  needSeal: 8,
  standIn: 9,
  resync: 10,
  confirm: 11,
  confirmed: 12,
  leave: 13,
  leaveReply: 14,
  letGo: 15,
  seal: 16,
  sealReply: 17,
  copies: 18,
} as const satisfies Record<ReplicaMessage['kind'], number>;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const hash = z.number().int().min(0).max(0xffff_ffff);

/** Without a history: a node of before there was more than one. */
const sealBody = z.object({ nonce: z.uuid(), attempt: count, history: count.default(1) });
const sealReplyBody = z.object({
  attempt: count,
  tailSeq: count,
  tailHash: hash,
  tailTerm: count,
  runs: z.array(z.object({ creationTerm: count, lastSeq: count })).max(MAX_TERM_RUNS),
  committedHeard: count,
});

/** Starts of a node: two such numbers are exact in one. */
const MAX_BOOTS = 2 ** 26;

/** Fills in what the kind needs; entries and the vdisk are the caller's. Returns what follows in the payload, behind the entries, or null. */
export function encodeReplica(header: FrameHeader, message: ReplicaMessage): Uint8Array | null {
  header.op = ReplicaOp[message.kind];
  header.term = message.term;
  if (message.boots !== undefined) header.offsetBytes = message.boots.from * MAX_BOOTS + message.boots.to;
  switch (message.kind) {
    case 'append':
    case 'watermark':
      header.clientSeq = message.committed;
      header.tag = message.committedHash;
      return null;
    case 'resync':
    case 'copies':
      header.tag = message.data.length;
      return message.data;
    case 'appendAck':
      header.clientSeq = message.durableSeq;
      header.lowWater = message.tailSeq;
      header.lengthBytes = message.durableHash;
      header.tag = message.tailHash;
      header.status = message.fits ? 1 : 0;
      return null;
    case 'cut':
      header.clientSeq = message.tailSeq;
      header.lowWater = message.afterSeq;
      header.lengthBytes = message.tailHash;
      header.tag = message.afterHash;
      return null;
    case 'fetch':
      header.clientSeq = message.fromSeq;
      return null;
    case 'confirm':
    case 'confirmed':
      header.clientSeq = message.round;
      return null;
    case 'seal':
      return packr.pack({ nonce: message.nonce, attempt: message.attempt, history: message.history });
    case 'sealReply': {
      const { attempt, tailSeq, tailHash, tailTerm, runs, committedHeard } = message;
      return packr.pack({ attempt, tailSeq, tailHash, tailTerm, runs: runs.slice(-MAX_TERM_RUNS), committedHeard });
    }
    case 'standIn':
      header.clientSeq = message.committed;
      header.tag = message.committedHash;
      header.status = message.isLeaving ? 1 : 0;
      return null;
    case 'letGo':
      header.clientSeq = message.attempt;
      header.lowWater = message.what === 'copy' ? 1 : 0;
      header.status = message.isGranted ? 1 : 0;
      return null;
    case 'leaveReply':
      header.status = message.isOut ? 1 : 0;
      return null;
    default:
      return null;
  }
}

const NO_DATA = new Uint8Array(0);

/** Whether the kind carries entries. */
export function carriesEntries(op: number): boolean {
  return op === ReplicaOp.append || op === ReplicaOp.entries || hasData(op);
}

/** Whether bytes of the runtimes' own follow the entries; their length is header.tag. */
function hasData(op: number): boolean {
  return op === ReplicaOp.resync || op === ReplicaOp.copies;
}

/** Whether the header says it all, but for entries. */
export function isPlain(op: number): boolean {
  return op < ReplicaOp.seal && !hasData(op);
}

export type ReplicaFault = 'ERR_REPLICA_KIND' | 'ERR_REPLICA_LENGTH';

/** What can be told by the header alone, before memory is given for the payload. */
export function checkReplica(header: FrameHeader): ReplicaFault | null {
  const { op, payloadBytes } = header;
  if (carriesEntries(op)) {
    const entries = header.lengthBytes;
    const dataBytes = dataBytesOf(header);
    if (entries > MAX_APPEND_ENTRIES || dataBytes > MAX_CONTROL_BYTES) return 'ERR_REPLICA_LENGTH';
    const rest = payloadBytes - dataBytes - entries * (ENTRY_LENGTH_BYTES + ENTRY_HEADER_BYTES);
    return rest < 0 || rest > (entries === 0 ? 0 : MAX_APPEND_PAYLOAD_BYTES) ? 'ERR_REPLICA_LENGTH' : null;
  }
  if (op === ReplicaOp.seal || op === ReplicaOp.sealReply) {
    return payloadBytes === 0 || payloadBytes > MAX_CONTROL_BYTES ? 'ERR_REPLICA_LENGTH' : null;
  }
  if (op < ReplicaOp.append || op > ReplicaOp.letGo) return 'ERR_REPLICA_KIND';
  return payloadBytes > 0 || header.status > 1 ? 'ERR_REPLICA_LENGTH' : null;
}

/** Bytes of the payload behind its entries. */
function dataBytesOf(header: FrameHeader): number {
  return hasData(header.op) ? header.tag : 0;
}

/** Of a header that {@link checkReplica} has passed. `payload`: all of it, if any; throws WireFormatError where it is not what the kind says. */
export function decodeReplica(header: FrameHeader, payload: Uint8Array | null): ReplicaMessage {
  const message = decodeMessage(header, payload);
  const { offsetBytes } = header;
  if (offsetBytes === 0) return message;
  return { ...message, boots: { from: Math.floor(offsetBytes / MAX_BOOTS), to: offsetBytes % MAX_BOOTS } };
}

function decodeMessage(header: FrameHeader, payload: Uint8Array | null): ReplicaMessage {
  const { term } = header;
  switch (header.op) {
    case ReplicaOp.append:
      return { kind: 'append', term, committed: header.clientSeq, committedHash: header.tag };
    case ReplicaOp.entries:
      return { kind: 'entries', term };
    case ReplicaOp.appendAck:
      return {
        kind: 'appendAck',
        term,
        durableSeq: header.clientSeq,
        durableHash: header.lengthBytes,
        tailSeq: header.lowWater,
        tailHash: header.tag,
        fits: header.status === 1,
      };
    case ReplicaOp.watermark:
      return { kind: 'watermark', term, committed: header.clientSeq, committedHash: header.tag };
    case ReplicaOp.cut:
      return {
        kind: 'cut',
        term,
        tailSeq: header.clientSeq,
        tailHash: header.lengthBytes,
        afterSeq: header.lowWater,
        afterHash: header.tag,
      };
    case ReplicaOp.fetch:
      return { kind: 'fetch', term, fromSeq: header.clientSeq };
    case ReplicaOp.fenced:
      return { kind: 'fenced', term };
    case ReplicaOp.needSeal:
      return { kind: 'needSeal', term };
    case ReplicaOp.standIn:
      return { kind: 'standIn', term, committed: header.clientSeq, committedHash: header.tag, isLeaving: header.status === 1 };
    case ReplicaOp.leave:
      return { kind: 'leave', term };
    case ReplicaOp.leaveReply:
      return { kind: 'leaveReply', term, isOut: header.status === 1 };
    case ReplicaOp.letGo:
      return {
        kind: 'letGo',
        term,
        attempt: header.clientSeq,
        what: header.lowWater === 1 ? 'copy' : 'tail',
        isGranted: header.status === 1,
      };
    case ReplicaOp.confirm:
      return { kind: 'confirm', term, round: header.clientSeq };
    case ReplicaOp.confirmed:
      return { kind: 'confirmed', term, round: header.clientSeq };
    case ReplicaOp.resync:
    case ReplicaOp.copies: {
      const data = payload === null ? NO_DATA : payload.slice(payload.length - header.tag);
      return { kind: header.op === ReplicaOp.resync ? 'resync' : 'copies', term, data };
    }
    case ReplicaOp.seal:
      return { kind: 'seal', term, ...decodeControl(sealBody, payload!) };
    default:
      return { kind: 'sealReply', term, ...decodeControl(sealReplyBody, payload!) };
  }
}

/** Payload of a frame with these entries. */
export function entriesBytes(entries: EntryList): number {
  return entries.count * (ENTRY_LENGTH_BYTES + ENTRY_HEADER_BYTES) + entries.totalPayloadBytes;
}

/** The lengths, which come first: `entries.count` × ENTRY_LENGTH_BYTES at `at`. */
export function encodeEntryLengths(view: DataView, at: number, entries: EntryList): void {
  for (let i = 0; i < entries.count; i++) {
    view.setUint32(at + i * ENTRY_LENGTH_BYTES, entries.payloadBytes[i]!, true);
    view.setUint32(at + i * ENTRY_LENGTH_BYTES + 4, 0, true);
  }
}

/** Names the entries of a payload at `at`. False where its lengths do not add up. */
export function decodeEntries(view: DataView, at: number, header: FrameHeader, entries: EntryList): boolean {
  entries.clear();
  const entryCount = header.lengthBytes;
  const headers = at + entryCount * ENTRY_LENGTH_BYTES;
  let payload = headers + entryCount * ENTRY_HEADER_BYTES;
  const end = at + header.payloadBytes - dataBytesOf(header);
  for (let i = 0; i < entryCount; i++) {
    const bytes = view.getUint32(at + i * ENTRY_LENGTH_BYTES, true);
    if (bytes > end - payload || view.getUint32(at + i * ENTRY_LENGTH_BYTES + 4, true) !== 0) return false;
    entries.add(headers + i * ENTRY_HEADER_BYTES, payload, bytes);
    payload += bytes;
  }
  return payload === end;
}
