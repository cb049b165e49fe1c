import assert from 'node:assert/strict';
import { Gather, type Arena } from 'uring-engine';
import { encodeRecord } from '../../core/head.js';
import { EntryKind, type EntryDraft, type LogOwner } from '../../core/ports.js';
import type { LogRecord } from '../../core/replication/effects.js';
import type { Entry, LogTail } from '../../core/replication/entry.js';
import type { OplogStream, StreamVdiskLog } from '../../oplog/index.js';
import { bodyOf } from './entries.js';

export interface ReplicaLogHost {
  /** {@link ReplicaLog.durableTicket} has risen. */
  onDurable(): void;
  onLogFailed(errno: number): void;
  /** The log takes records again. */
  onLogRoom(): void;
}

/** A cut with what the log ends with from then on. */
export interface CutRecord {
  readonly kind: 'cut';
  readonly afterSeq: number;
  readonly afterHash: number;
  readonly afterTerm: number;
}

export type PersistRecord = Exclude<LogRecord, { kind: 'cut' }> | CutRecord;

/** `log`: as it is behind the cut. */
export function withEnd(record: LogRecord, log: LogTail): PersistRecord {
  return record.kind === 'cut' ? { ...record, afterHash: log.lastHash, afterTerm: log.lastTerm } : record;
}

/** What the stream did not take at once; `payload` is a copy, since its memory was somebody else's. */
interface Waiting {
  readonly record: PersistRecord;
  readonly payload: Uint8Array | null;
}

const Tag = { ticket: 0, local: 1 } as const;

/**
 * One replica's records on their way into the stream that it shares with other vdisks: in the order of their tickets, which the machines count from 1.
 * What the stream has no room for waits here: to the machines it is on its way to the disk.
 */
export class ReplicaLog implements LogOwner {
  /** All records up to this one are durable. */
  durableTicket = 0;
  readonly #waiting: Waiting[] = [];
  readonly #locals: (() => void)[] = [];
  #tickets = 0;
  readonly #payload = new Gather(1);
  readonly #draft: EntryDraft;

  constructor(
    readonly stream: OplogStream,
    readonly log: StreamVdiskLog,
    readonly arena: Arena,
    /** A place of the arena for one payload on its way into the stream. */
    readonly scratch: number,
    readonly host: ReplicaLogHost,
  ) {
    const payload = this.#payload;
    const nothing = { sessionId: 0, clientSeq: 0, part: 0, parts: 1, offsetBytes: 0, lengthBytes: 0 };
    this.#draft = { kind: EntryKind.write, seq: 0, creationTerm: 0, ...nothing, payload };
  }

  /** Records wait: what would be appended now would overtake them. */
  get isBlocked(): boolean {
    return this.#waiting.length > 0;
  }

  /** The next ticket: an entry that the controller here has made. Returns its position, or why there is no room. */
  appendOwn(draft: EntryDraft): number {
    assert(!this.isBlocked);
    return this.#toStream(draft, Tag.ticket);
  }

  /** Nothing is on its way to the disk. */
  get isQuiet(): boolean {
    return this.#tickets === this.durableTicket && this.#locals.length === 0;
  }

  #toStream(draft: EntryDraft, tag: number): number {
    const lsn = this.stream.append(this.log, draft, this, tag);
    if (lsn >= 0 && tag === Tag.ticket) this.#tickets++;
    return lsn;
  }

  /** The next ticket. `payloadOffset`: of an entry, valid during this call. */
  persist(record: PersistRecord, payloadOffset: number): void {
    if (!this.isBlocked && this.#append(record, payloadOffset)) return;
    let payload: Uint8Array | null = null;
    if (record.kind === 'entry') {
      const { payloadBytes } = bodyOf(record.entry);
      if (payloadBytes > 0) payload = this.arena.bytes.slice(payloadOffset, payloadOffset + payloadBytes);
    }
    this.#waiting.push({ record, payload });
  }

  /** A record that is no ticket: a head. Returns its position, or why there is no room; `done` when it is durable. */
  appendLocal(kind: EntryKind, record: Uint8Array, done: () => void): number {
    const lsn = this.#appendRecord(kind, record, Tag.local);
    if (lsn >= 0) this.#locals.push(done);
    return lsn;
  }

  onDurable(tag: number): void {
    if (tag === Tag.local) return this.#locals.shift()!();
    this.durableTicket++;
    this.host.onDurable();
  }

  onLogFailed(errno: number): void {
    this.host.onLogFailed(errno);
  }

  onLogSpace(): void {
    while (this.#waiting.length > 0) {
      const { record, payload } = this.#waiting[0]!;
      if (payload !== null) this.arena.bytes.set(payload, this.scratch);
      if (!this.#append(record, this.scratch)) return;
      this.#waiting.shift();
    }
    this.host.onLogRoom();
  }

  #append(record: PersistRecord, payloadOffset: number): boolean {
    switch (record.kind) {
      case 'entry':
        return this.#appendEntry(record.entry, payloadOffset);
      case 'promise':
        return this.#appendRecord(EntryKind.replicaPromise, encodeRecord(record.promise), Tag.ticket) >= 0;
      case 'cut':
        return this.#appendCut(record);
    }
  }

  /** The next ticket, if there is room: the entry in place of the one that is damaged. */
  appendCopy(entry: Entry, payloadOffset: number): boolean {
    if (this.isBlocked) return false;
    const lsn = this.stream.appendCopy(this.log, this.#draftOf(entry, payloadOffset), entry.prevHash, this, Tag.ticket);
    if (lsn < 0) return false;
    this.#tickets++;
    bodyOf(entry).lsn = lsn;
    return true;
  }

  #draftOf(entry: Entry, payloadOffset: number): EntryDraft {
    const draft = this.#draft;
    const body = bodyOf(entry);
    draft.kind = body.kind;
    draft.seq = entry.seq;
    draft.creationTerm = entry.creationTerm;
    draft.sessionId = body.sessionId;
    draft.clientSeq = body.clientSeq;
    draft.part = body.part;
    draft.parts = body.parts;
    draft.offsetBytes = body.offsetBytes;
    draft.lengthBytes = body.lengthBytes;
    this.#payload.clear();
    if (body.payloadBytes > 0) this.#payload.add(payloadOffset, body.payloadBytes);
    return draft;
  }

  #appendEntry(entry: Entry, payloadOffset: number): boolean {
    assert(entry.prevHash === this.log.lastHash, 'an entry that follows another one than the last');
    const lsn = this.#toStream(this.#draftOf(entry, payloadOffset), Tag.ticket);
    if (lsn < 0) return false;
    // Its identity is that of the entry which was sent, or its bytes are not.
    assert(this.log.lastHash === entry.hash, 'an entry whose header is another one here');
    bodyOf(entry).lsn = lsn;
    return true;
  }

  #appendCut({ afterSeq, afterHash, afterTerm }: CutRecord): boolean {
    const draft = this.#local(EntryKind.cut);
    draft.offsetBytes = afterSeq;
    draft.clientSeq = afterHash;
    draft.sessionId = afterTerm;
    if (this.#toStream(draft, Tag.ticket) < 0) return false;
    this.log.goOnAfter(afterSeq, afterHash, afterTerm);
    return true;
  }

  #appendRecord(kind: EntryKind, record: Uint8Array, tag: number): number {
    const draft = this.#local(kind);
    this.arena.bytes.set(record, this.scratch);
    this.#payload.add(this.scratch, record.length);
    draft.lengthBytes = record.length;
    return this.#toStream(draft, tag);
  }

  #local(kind: EntryKind): EntryDraft {
    const draft = this.#draft;
    draft.kind = kind;
    draft.seq = this.log.lastSeq;
    draft.creationTerm = this.log.lastTerm;
    draft.sessionId = draft.clientSeq = draft.offsetBytes = draft.lengthBytes = 0;
    draft.part = 0;
    draft.parts = 1;
    this.#payload.clear();
    return draft;
  }
}
