import assert from 'node:assert/strict';
import type { LogOwner, VdiskLog } from '../core/ports.js';
import { OplogError } from './errors.js';
import { MAX_STREAM_VDISKS } from './limits.js';

/** Why a vdisk's chain of entries ends before its log does. */
export interface ChainBreak {
  /** `rot`: an entry of this vdisk is damaged. `chain`: entries are missing or do not follow each other. */
  readonly cause: 'rot' | 'chain';
  /** Where the first entry that is damaged, or does not follow, lies. */
  readonly lsn: number;
  readonly message: string;
}

/** One vdisk's log inside a stream: what the next entry has to follow, and what is still needed of the old ones. */
export class StreamVdiskLog implements VdiskLog {
  lastSeq = 0;
  /** Header checksum of the last entry: the next one's prevHash. */
  lastHash = 0;
  lastTerm = 0;
  /** First entry that the stream still holds; 0: none. What it says of its predecessor was once checked against a HEAD, and is for the caller to check again. */
  firstSeq = 0;
  firstPrevHash = 0;
  /** Oldest position needed; Infinity while the vdisk has no entry. */
  oldestNeededLsn = Infinity;
  broken: ChainBreak | null = null;
  /** The chain goes on behind damage that has taken entries of it: where that begins. Whoever knows the entries tells what is missing. Of replicas' logs alone. */
  gap: ChainBreak | null = null;
  /** Damage may have taken a promise, and none is known from behind it. */
  mayLackPromise = false;
  /** CRC32C of the last entry's payload; 0: it has none. */
  lastPayloadCrc = 0;
  /** {@link EntryFlag} of its entries. */
  flags = 0;
  /** Whoever appended last: is told when the disk fails. */
  owner: LogOwner | null = null;

  /** `id`: the UUID as four u32, little endian. */
  constructor(
    readonly vdiskId: string,
    /** Of the entries that come next, and of those that are there. */
    public historyId: number,
    readonly id0: number,
    readonly id1: number,
    readonly id2: number,
    readonly id3: number,
  ) {}

  /** What is there is of a history that is over: the next record begins the one with this number, and nothing before it is needed. */
  beginHistory(historyId: number): void {
    assert(historyId > this.historyId);
    this.historyId = historyId;
    this.oldestNeededLsn = Infinity;
    this.giveUp();
  }

  /** Nothing before the next record is needed, damaged or not. */
  giveUp(): void {
    this.broken = null;
    this.gap = null;
    this.mayLackPromise = false;
  }

  /** A cut, or a new beginning, has its record in the log: the next entry follows this one. */
  goOnAfter(seq: number, hash: number, term: number): void {
    this.lastSeq = seq;
    this.lastHash = hash;
    this.lastTerm = term;
  }
}

/** The vdisks of one stream, found by the id's bytes without making a string. */
export class VdiskTable {
  readonly #byId = new Map<string, StreamVdiskLog>();
  readonly #byWord = new Map<number, StreamVdiskLog[]>();

  get(vdiskId: string): StreamVdiskLog | undefined {
    return this.#byId.get(vdiskId.toLowerCase());
  }

  find(id0: number, id1: number, id2: number, id3: number): StreamVdiskLog | undefined {
    const candidates = this.#byWord.get(id0);
    if (candidates === undefined) return undefined;
    for (let i = 0; i < candidates.length; i++) {
      const log = candidates[i]!;
      if (log.id1 === id1 && log.id2 === id2 && log.id3 === id3) return log;
    }
    return undefined;
  }

  add(historyId: number, id0: number, id1: number, id2: number, id3: number): StreamVdiskLog {
    assert(this.#byId.size < MAX_STREAM_VDISKS, `more than ${MAX_STREAM_VDISKS} vdisks in one stream`);
    const log = new StreamVdiskLog(formatUuid(id0, id1, id2, id3), historyId, id0, id1, id2, id3);
    assert(!this.#byId.has(log.vdiskId));
    this.#byId.set(log.vdiskId, log);
    const candidates = this.#byWord.get(id0);
    if (candidates === undefined) this.#byWord.set(id0, [log]);
    else candidates.push(log);
    return log;
  }

  remove(log: StreamVdiskLog): void {
    if (!this.#byId.delete(log.vdiskId)) return;
    const candidates = this.#byWord.get(log.id0)!;
    candidates.splice(candidates.indexOf(log), 1);
    if (candidates.length === 0) this.#byWord.delete(log.id0);
  }

  values(): IterableIterator<StreamVdiskLog> {
    return this.#byId.values();
  }

  get size(): number {
    return this.#byId.size;
  }
}

/** Throws `ERR_OPLOG_VDISK_ID`. */
export function parseUuid(text: string): [number, number, number, number] {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text)) {
    throw new OplogError('ERR_OPLOG_VDISK_ID', `"${text}" is no vdisk id; give the UUID that "gatepath vdisk list" shows`);
  }
  const bytes = Buffer.from(text.replaceAll('-', ''), 'hex');
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
}

export function formatUuid(id0: number, id1: number, id2: number, id3: number): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(id0 >>> 0, 0);
  bytes.writeUInt32LE(id1 >>> 0, 4);
  bytes.writeUInt32LE(id2 >>> 0, 8);
  bytes.writeUInt32LE(id3 >>> 0, 12);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
