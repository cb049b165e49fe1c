import { crc32c } from '@node-rs/crc32';
import { MAX_APPEND_ENTRIES } from '../../../wire/limits.js';
import { MAX_IO_BYTES } from '../../../wire/path.js';
import { EntryList } from '../../../wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../../wire/replicate.js';
import type { Append, Entries } from '../../core/replication/messages.js';
import type { Entry } from '../../core/replication/entry.js';
import type { OplogStream, StreamVdiskLog } from '../../oplog/index.js';
import { bodyOf } from './entries.js';
import { MAX_QUEUED_SENDS } from './limits.js';
import type { GroupParts } from './parts.js';

/** Entries that are damaged in the log of whoever gets them; `data` as in the message. */
export interface SentCopies {
  readonly kind: 'copies';
  readonly term: number;
  readonly data: Uint8Array;
  readonly entries: readonly Entry[];
}

type WithEntries = Append | Entries | SentCopies;

/** Whose entries are sent. */
export interface EntrySource {
  readonly parts: GroupParts;
  readonly vdiskId: string;
  readonly stream: OplogStream;
  readonly log: StreamVdiskLog;
  /** The entry is part of the log still. */
  isHere(entry: Entry): boolean;
  /** Where its payload is in memory; -1: in the log alone. */
  placeOf(seq: number): number;
}

/**
 * Sends the entries of one vdisk to one member, in order: new ones from the memory where their controller keeps them until they are committed, older ones
 * from the log. What cannot be sent now is dropped: the machines send again.
 */
export class EntrySender {
  readonly #list = new EntryList();
  readonly #queue: WithEntries[] = [];
  #next = 0;
  #isReading = false;

  constructor(
    readonly source: EntrySource,
    readonly to: MemberId,
  ) {}

  send(message: WithEntries): void {
    if (this.#queue.length === MAX_QUEUED_SENDS) return;
    this.#queue.push(message);
    if (!this.#isReading) this.#go();
  }

  #go(): void {
    while (this.#queue.length > 0 && !this.#isReading) {
      const message = this.#queue[0]!;
      const { entries } = message;
      if (this.#next < entries.length && !this.#isHere(entries[this.#next]!)) {
        // Cut meanwhile, or on its way to this disk still.
        this.#drop();
        continue;
      }
      if (this.#next < entries.length && this.#place(entries[this.#next]!) < 0) {
        this.#read(message);
        return;
      }
      this.#gather(entries);
      this.#sendFrame(message);
    }
  }

  #drop(): void {
    this.#queue.shift();
    this.#next = 0;
  }

  #isHere(entry: Entry): boolean {
    return this.source.isHere(entry);
  }

  /** Of the payload in memory; -1: it is in the log. */
  #place(entry: Entry): number {
    return bodyOf(entry).payloadBytes === 0 ? 0 : this.source.placeOf(entry.seq);
  }

  #gather(entries: readonly Entry[]): void {
    const list = this.#list;
    const { headers } = this.source.parts;
    list.clear();
    while (this.#next < entries.length && list.count < MAX_APPEND_ENTRIES) {
      const entry = entries[this.#next]!;
      const { payloadBytes } = bodyOf(entry);
      const place = this.#isHere(entry) ? this.#place(entry) : -1;
      if (place < 0 || (list.count > 0 && list.totalPayloadBytes + payloadBytes > MAX_IO_BYTES)) return;
      list.add(headers.write(list.count, this.source.log, entry), place, payloadBytes);
      this.#next++;
    }
  }

  /** What the list has; the message is done when all its entries are sent. */
  #sendFrame(message: WithEntries): void {
    const { sender } = this.source.parts;
    const isSent = sender.send(this.to, this.source.vdiskId, headOf(message), this.#list);
    if (!isSent || this.#next >= message.entries.length) this.#drop();
  }

  /** The entries that come next and are in the log alone, one after the other in a buffer. */
  #read(message: WithEntries): void {
    const { buffers } = this.source.parts.ports;
    const { stream, log } = this.source;
    const found: Entry[] = [];
    let bytes = 0;
    for (let i = this.#next; i < message.entries.length && found.length < MAX_APPEND_ENTRIES; i++) {
      const entry = message.entries[i]!;
      const { payloadBytes, lsn } = bodyOf(entry);
      const padded = Math.ceil(payloadBytes / PAGE_BYTES) * PAGE_BYTES;
      const isReadable =
        payloadBytes === 0 || (this.#place(entry) < 0 && lsn >= log.oldestNeededLsn && lsn + padded <= stream.usage.durableLsn);
      if (!this.#isHere(entry) || !isReadable || bytes + padded > MAX_IO_BYTES) break;
      found.push(entry);
      bytes += padded;
    }
    if (found.length === 0) return this.#drop();
    this.#isReading = true;
    const start = (offset: number): void => this.#readInto(message, found, offset);
    const offset = buffers.take(bytes);
    if (offset >= 0) start(offset);
    else buffers.wait(bytes, { onBuffer: (_tag, given) => start(given) }, 0);
  }

  #readInto(message: WithEntries, found: readonly Entry[], offset: number): void {
    const { stream, log } = this.source;
    const { bytes } = this.source.parts.ports.arena;
    let pending = 1;
    let isGood = true;
    const places: number[] = [];
    const landed = (): void => {
      if (--pending === 0) this.#readDone(message, found, places, offset, isGood);
    };
    let at = offset;
    for (const entry of found) {
      const { payloadBytes, lsn } = bodyOf(entry);
      const place = at;
      places.push(place);
      if (payloadBytes === 0) continue;
      const padded = Math.ceil(payloadBytes / PAGE_BYTES) * PAGE_BYTES;
      at += padded;
      // The buffer may have been waited for.
      if (lsn < log.oldestNeededLsn) {
        isGood = false;
        break;
      }
      pending++;
      const onRead = (_tag: number, result: number): void => {
        isGood &&= result === padded && crc32c(bytes.subarray(place, place + payloadBytes)) === entry.crc;
        landed();
      };
      stream.readPayload(lsn, padded, place, { onRead }, 0);
    }
    landed();
  }

  #readDone(message: WithEntries, found: readonly Entry[], places: readonly number[], offset: number, isGood: boolean): void {
    const list = this.#list;
    const { headers, ports } = this.source.parts;
    this.#isReading = false;
    if (!isGood || !found.every(entry => this.#isHere(entry))) this.#drop();
    else {
      list.clear();
      found.forEach((entry, i) => list.add(headers.write(i, this.source.log, entry), places[i]!, bodyOf(entry).payloadBytes));
      this.#next += found.length;
      this.#sendFrame(message);
    }
    ports.buffers.give(offset);
    this.#go();
  }
}

const PAGE_BYTES = 4096;

/** The message without its entries, which travel as bytes. */
function headOf(message: WithEntries): ReplicaMessage {
  if (message.kind === 'entries') return { kind: 'entries', term: message.term };
  if (message.kind === 'copies') return { kind: 'copies', term: message.term, data: message.data };
  const { term, committed, committedHash } = message;
  return { kind: 'append', term, committed, committedHash };
}
