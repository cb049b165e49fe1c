import { EntryKind, isLocalRecord } from '../core/ports.js';
import type { DecodedEntry } from './codec.js';
import type { RecoveryVisitor, RotRange } from './options.js';
import { MAX_REPORTED_ROT } from './limits.js';
import type { ScanHandler } from './scan.js';
import type { Segment } from './segment.js';
import { EntryFlag, segmentName } from './layout.js';
import type { StreamVdiskLog, VdiskTable } from './vdisk-log.js';

interface FoundRot {
  readonly fromLsn: number;
  readonly toLsn: number;
  readonly segment: string;
  /** Of a damaged payload the one vdisk is known. */
  readonly vdisk: StreamVdiskLog | null;
  readonly blocks: RotRange['blocks'];
  readonly message: string;
}

/**
 * Takes the scan's entries apart by vdisk and keeps of each the longest intact chain (replication, rule 4). Of a replica's log what lies behind damage is kept
 * too: other replicas may have what is missing (rule 5), and the next entry says which one that is.
 */
export class ChainReader implements ScanHandler {
  rotRanges = 0;
  readonly #rot: FoundRot[] = [];
  /** Position of the last intact, chained entry of each vdisk. */
  readonly #lastLsn = new Map<StreamVdiskLog, number>();
  /** Where the last unreadable range begins; and ends. */
  #rangeLsn = -1;
  #rangeEndLsn = -1;

  constructor(
    readonly vdisks: VdiskTable,
    readonly visitor: RecoveryVisitor | undefined,
    readonly progress: (readBytes: number) => void,
  ) {}

  onEntry(entry: DecodedEntry, isCopy: boolean): void {
    const log = this.#logOf(entry);
    if (isCopy) {
      // Of a log that has been given up since, a copy alone may be left.
      if (log.oldestNeededLsn !== Infinity) this.visitor?.onEntry(log, entry);
      return;
    }
    if (entry.historyId > log.historyId && beginsHistory(entry.kind)) {
      log.beginHistory(entry.historyId);
      this.visitor?.onNewHistory?.(log);
    }
    if (entry.kind === EntryKind.replicaReset) log.giveUp();
    if (log.broken !== null || !this.#isKept(log, entry)) return;
    if (entry.kind === EntryKind.cut) log.goOnAfter(entry.offsetBytes, entry.clientSeq, entry.sessionId);
    else if (entry.kind === EntryKind.replicaReset) log.goOnAfter(entry.seq, entry.prevHash, entry.creationTerm);
    else if (!isLocalRecord(entry.kind)) log.goOnAfter(entry.seq, entry.hash, entry.creationTerm);
    if (log.lastSeq < log.firstSeq - 1) beginAt(log, log.lastSeq + 1, log.lastHash);
    if (namesPromise(entry.kind)) log.mayLackPromise = false;
    log.flags = entry.flags;
    this.#lastLsn.set(log, entry.lsn);
    this.visitor?.onEntry(log, entry);
  }

  /** Puts the log's end where the entry goes on from; false: it does not. */
  #isKept(log: StreamVdiskLog, entry: DecodedEntry): boolean {
    const isLocal = isLocalRecord(entry.kind);
    if (log.oldestNeededLsn === Infinity) {
      begin(log, entry, isLocal);
      return true;
    }
    if (entry.kind === EntryKind.replicaReset) return true;
    const isBehindDamage = isOfReplica(entry) && this.#isDamagedSince(log);
    if (isBehindDamage) log.mayLackPromise = true;
    if (isLocal ? isAtEnd(log, entry) : follows(log, entry)) return true;
    if (isBehindDamage && entry.historyId === log.historyId) {
      log.gap ??= { cause: 'rot', lsn: this.#rangeLsn, message: 'entries of it are damaged' };
      // Not of entries: those name what they follow.
      if (isLocal) log.goOnAfter(entry.seq, entry.prevHash, entry.creationTerm);
      return true;
    }
    const message = `entry ${entry.seq} of term ${entry.creationTerm} does not follow entry ${log.lastSeq} of term ${log.lastTerm}`;
    log.broken = { cause: 'chain', lsn: entry.lsn, message };
    return false;
  }

  #isDamagedSince(log: StreamVdiskLog): boolean {
    return (this.#lastLsn.get(log) ?? -1) < this.#rangeEndLsn;
  }

  onRotRange(segment: Segment | null, fromLsn: number, toLsn: number, message: string): void {
    this.#rangeLsn = fromLsn;
    this.#rangeEndLsn = toLsn;
    this.#add({ fromLsn, toLsn, segment: segment === null ? '' : segmentName(segment.number), vdisk: null, blocks: null, message });
  }

  onRotEntry(segment: Segment, entry: DecodedEntry, isCopy: boolean): void {
    const log = this.#logOf(entry);
    const { offsetBytes, lengthBytes } = entry;
    const blocks = isChange(entry.kind) ? { offsetBytes, lengthBytes } : null;
    const message = `the payload of entry ${entry.seq} is damaged${blocks === null ? '' : `, ${offsetBytes}+${lengthBytes} of the vdisk`}`;
    // Its place in the chain is known by its header. A copy that is damaged is missing as it was before.
    if (!isCopy && log.broken === null) this.#keepPlace(log, entry, message);
    const toLsn = entry.lsn + entry.payloadBytes;
    this.#add({ fromLsn: entry.lsn, toLsn, segment: segmentName(segment.number), vdisk: log, blocks, message });
  }

  #keepPlace(log: StreamVdiskLog, entry: DecodedEntry, message: string): void {
    const { kind, lsn } = entry;
    const mayGoOn = isOfReplica(entry) && kind !== EntryKind.replicaReset && entry.historyId === log.historyId;
    if (!mayGoOn || log.oldestNeededLsn === Infinity || !this.#isKept(log, entry))
      return void (log.broken ??= { cause: 'rot', lsn, message });
    if (namesPromise(kind)) log.mayLackPromise = true;
    else if (!isLocalRecord(kind)) {
      log.gap ??= { cause: 'rot', lsn, message };
      log.goOnAfter(entry.seq, entry.hash, entry.creationTerm);
    }
    this.#lastLsn.set(log, lsn);
  }

  onProgress(readBytes: number): void {
    this.progress(readBytes);
  }

  /** After the last segment: which vdisks did the damage hit? Where a range is unreadable, all that do not go on behind it, or with a gap. */
  finish(): { rot: RotRange[]; broken: StreamVdiskLog[] } {
    const rot: RotRange[] = [];
    for (const found of this.#rot) {
      const { fromLsn, toLsn, segment, blocks, message } = found;
      const ended = found.vdisk !== null ? [] : [...this.vdisks.values()].filter(log => !this.#goesOn(log, toLsn));
      for (const log of ended) log.broken ??= { cause: 'rot', lsn: fromLsn, message: 'its entries may have been where the log is damaged' };
      const isIn = ({ gap }: StreamVdiskLog): boolean => gap !== null && gap.lsn >= fromLsn && gap.lsn < toLsn;
      const vdisks = found.vdisk !== null ? [found.vdisk] : [...this.vdisks.values()].filter(log => ended.includes(log) || isIn(log));
      rot.push({ fromLsn, toLsn, segment, vdisks: vdisks.map(log => log.vdiskId), blocks, message });
    }
    return { rot, broken: [...this.vdisks.values()].filter(log => log.broken !== null) };
  }

  #goesOn(log: StreamVdiskLog, lsn: number): boolean {
    return log.broken === null && (this.#lastLsn.get(log) ?? -1) >= lsn;
  }

  #add(found: FoundRot): void {
    const last = this.#rot.at(-1);
    if (last !== undefined && last.vdisk === null && found.vdisk === null && last.toLsn === found.fromLsn) {
      this.#rot[this.#rot.length - 1] = { ...found, fromLsn: last.fromLsn };
      return;
    }
    this.rotRanges++;
    if (this.#rot.length < MAX_REPORTED_ROT) this.#rot.push(found);
    // The list is full: the last range of it stretches over the rest.
    else this.#rot[this.#rot.length - 1] = { ...last!, toLsn: found.toLsn, vdisk: null, blocks: null, message: 'many damaged ranges' };
  }

  #logOf(entry: DecodedEntry): StreamVdiskLog {
    const { id0, id1, id2, id3 } = entry;
    return this.vdisks.find(id0, id1, id2, id3) ?? this.vdisks.add(entry.historyId, id0, id1, id2, id3);
  }
}

/** A replica's first record, or that with which it went on in a new history: whatever was there of another one is given up, damaged or not. */
function beginsHistory(kind: EntryKind): boolean {
  return kind === EntryKind.replicaHead || kind === EntryKind.replicaReset;
}

function isChange(kind: EntryKind): boolean {
  return kind === EntryKind.write || kind === EntryKind.fullImage;
}

/** Records that say what is promised. */
function namesPromise(kind: EntryKind): boolean {
  return kind === EntryKind.replicaPromise || kind === EntryKind.replicaHead || kind === EntryKind.replicaReset;
}

function isOfReplica({ flags }: DecodedEntry): boolean {
  return (flags & EntryFlag.replicated) !== 0;
}

/** The first that the stream still has of the vdisk. */
function begin(log: StreamVdiskLog, entry: DecodedEntry, isLocal: boolean): void {
  beginAt(log, isLocal ? entry.seq + 1 : entry.seq, entry.prevHash);
  log.oldestNeededLsn = entry.lsn;
  if (isLocal) log.goOnAfter(entry.seq, entry.prevHash, entry.creationTerm);
}

/** A local record names the end of the log at its time: what a cut then took away is not missing. */
function beginAt(log: StreamVdiskLog, seq: number, prevHash: number): void {
  log.firstSeq = seq;
  log.firstPrevHash = prevHash;
}

function isAtEnd(log: StreamVdiskLog, entry: DecodedEntry): boolean {
  return entry.seq === log.lastSeq && entry.prevHash === log.lastHash && entry.historyId === log.historyId;
}

function follows(log: StreamVdiskLog, entry: DecodedEntry): boolean {
  return (
    entry.seq === log.lastSeq + 1 &&
    entry.prevHash === log.lastHash &&
    entry.creationTerm >= log.lastTerm &&
    entry.historyId === log.historyId
  );
}
