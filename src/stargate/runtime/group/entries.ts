import { crc32c } from '@node-rs/crc32';
import type { Arena } from 'uring-engine';
import type { LogBody } from '../../core/applied.js';
import { decodeAttachMode, decodeSessionOpen } from '../../core/head.js';
import { BLOCK_BYTES, EntryKind, type EntryDraft } from '../../core/ports.js';
import type { Entry } from '../../core/replication/entry.js';
import {
  decodeEntryHeader,
  DecodedEntry,
  encodeEntryHeader,
  ENTRY_HEADER_BYTES,
  type RecoveredEntry,
  type StreamVdiskLog,
} from '../../oplog/index.js';

/** Entries between their bytes, in the log and on the wire, and what the machines know of them. */

/** An entry whose payload lies in the arena and is intact. Its checksums are taken: they are needed when it is committed, and the payload is elsewhere then. */
export function replicatedEntry(entry: RecoveredEntry, arena: Arena): Entry {
  const { seq, creationTerm, payloadCrc: crc, prevHash, hash, kind, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes } = entry;
  const { payloadBytes, payloadOffset, lsn } = entry;
  const hasBlocks = kind === EntryKind.write || kind === EntryKind.fullImage;
  const crcs = !hasBlocks ? null : payloadBytes === BLOCK_BYTES ? [crc] : blockCrcs(arena, payloadOffset, payloadBytes);
  const { open, mode } = sessionRecords(kind, arena, payloadOffset, payloadBytes);
  const body: LogBody = { kind, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, payloadBytes, lsn, crcs, open, mode };
  return { seq, creationTerm, crc, prevHash, hash, body };
}

/** Of the draft, which is in the log at `lsn`; its payload is at `payloadOffset` of the arena, -1: it has none. */
export function draftedBody(draft: EntryDraft, lsn: number, arena: Arena, payloadOffset: number): LogBody {
  const { kind, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, payload } = draft;
  const payloadBytes = payload.totalBytes;
  const { open, mode } = sessionRecords(kind, arena, payloadOffset, payloadBytes);
  return { kind, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, payloadBytes, lsn, crcs: null, open, mode };
}

type SessionRecords = Pick<LogBody, 'open' | 'mode'>;
const NO_RECORDS: SessionRecords = { open: null, mode: null };

/** What an entry that changes the session table says. Asked for each entry, of which most are writes: for them nothing is made. */
function sessionRecords(kind: EntryKind, arena: Arena, offset: number, bytes: number): SessionRecords {
  if (kind === EntryKind.sessionOpen) return { open: decodeSessionOpen(arena.bytes.slice(offset, offset + bytes)), mode: null };
  if (kind === EntryKind.attachMode) return { open: null, mode: decodeAttachMode(arena.bytes.slice(offset, offset + bytes)) };
  return NO_RECORDS;
}

export function bodyOf(entry: Entry): LogBody {
  return entry.body as LogBody;
}

export function blockCrcs(arena: Arena, offset: number, lengthBytes: number): number[] {
  const crcs: number[] = [];
  for (let at = offset; at < offset + lengthBytes; at += BLOCK_BYTES) crcs.push(crc32c(arena.bytes.subarray(at, at + BLOCK_BYTES)));
  return crcs;
}

const decoded = new DecodedEntry();

/** An entry as another node has sent it; null: header or payload are damaged, or of another vdisk or history. */
export function receivedEntry(
  log: StreamVdiskLog,
  arena: Arena,
  headerOffset: number,
  payloadOffset: number,
  payloadBytes: number,
): Entry | null {
  if (!decodeEntryHeader(arena.bytes, arena.view, headerOffset, decoded)) return null;
  const isOfLog =
    decoded.id0 === log.id0 &&
    decoded.id1 === log.id1 &&
    decoded.id2 === log.id2 &&
    decoded.id3 === log.id3 &&
    decoded.historyId === log.historyId &&
    decoded.flags === log.flags;
  if (!isOfLog || decoded.payloadBytes !== payloadBytes) return null;
  const crc = payloadBytes === 0 ? 0 : crc32c(arena.bytes.subarray(payloadOffset, payloadOffset + payloadBytes));
  if (crc !== decoded.payloadCrc) return null;
  decoded.lsn = -1;
  decoded.payloadOffset = payloadOffset;
  return replicatedEntry(decoded, arena);
}

/** Makes the headers of entries that are about to be sent, in a place of the arena. */
export class HeaderWriter {
  readonly #checked: readonly Uint8Array[];

  constructor(
    readonly arena: Arena,
    readonly baseOffset: number,
    count: number,
  ) {
    this.#checked = Array.from({ length: count }, (_, i) =>
      arena.bytes.subarray(baseOffset + i * ENTRY_HEADER_BYTES, baseOffset + (i + 1) * ENTRY_HEADER_BYTES - 4),
    );
  }

  /** Returns the header's place. */
  write(index: number, log: StreamVdiskLog, { seq, creationTerm, prevHash, crc, body }: Entry): number {
    const at = this.baseOffset + index * ENTRY_HEADER_BYTES;
    const { kind, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes, payloadBytes } = body as LogBody;
    const fields = { kind, seq, creationTerm, sessionId, clientSeq, part, parts, offsetBytes, lengthBytes };
    encodeEntryHeader(this.arena.view, at, this.#checked[index]!, log, fields, prevHash, payloadBytes, crc);
    return at;
  }
}
