import assert from 'node:assert/strict';
import { WRITE_DSYNC, type ClientId, type Engine } from 'uring-engine';
import { Probe } from '../../base/probe.js';
import { isLocalRecord, NoRoom, type EntryDraft, type LogOwner, type OplogPort, type OplogUsage, type ReadOwner } from '../core/ports.js';
import { Batches, type Batch } from './batch.js';
import { IdleMarker } from './idle-marker.js';
import { batchBytes, BatchFlag, paddedBytes } from './layout.js';
import * as limits from './limits.js';
import { openLog, type OpenedLog } from './open.js';
import type { OplogMutations, OplogOptions, OplogStatistics, RecoveryReport } from './options.js';
import { PayloadReads } from './payload-reads.js';
import { SegmentPreparer } from './preparer.js';
import { SegmentHeaders } from './segment-headers.js';
import { useOf, type EntryUse, type LogSpace } from './space.js';
import { Usage, type LogEnds } from './usage.js';
import { parseUuid, type StreamVdiskLog, type VdiskTable } from './vdisk-log.js';

/** Turn-end hooks run in this order: the log closes its batch before servers send their answers. */
const HOOK_ORDER = 10;
/** What a completion belongs to: the tag's upper bits. */
const Kind = { batch: 0, header: 1, prepare: 2, timer: 3, read: 4 } as const;
const KIND_SHIFT = 20;
const INDEX_MASK = (1 << KIND_SHIFT) - 1;
const EIO = -5;

type State = 'open' | 'closing' | 'closed' | 'failed';

/**
 * One physical log: a row of segment files, written by one shard, shared by several vdisks. Entries are copied and checksummed into the open
 * batch as they come; at the end of the engine's turn the batch goes out as one O_DIRECT write with DSYNC, at most two at once; entries are
 * acknowledged in the order of the log. There is no timer in that: what waits goes.
 */
export class OplogStream implements OplogPort, LogEnds {
  readonly usage: OplogUsage;
  readonly #engine: Engine;
  readonly #client: ClientId;
  readonly #space: LogSpace;
  readonly #vdisks: VdiskTable;
  readonly #reads: PayloadReads;
  readonly #preparer: SegmentPreparer;
  readonly #mutations: OplogMutations;
  readonly #probe: Probe;
  readonly #headers: SegmentHeaders;
  readonly #marker: IdleMarker;
  readonly #batches: Batches;
  #state: State = 'open';
  #failure = 0;
  #open: Batch | null = null;
  /** Closed, not yet submitted; and submitted, not yet acknowledged. In the order of the log. */
  readonly #queue: Batch[] = [];
  readonly #order: Batch[] = [];
  #inFlight = 0;
  #endLsn: number;
  #durableLsn: number;
  #previousCrc: number;
  readonly #waiting = new Set<LogOwner>();
  #spaceCame = false;
  /** There are entries whose owners want to know that they are held. */
  #isHeldDue = false;
  /** Why the last entry was refused: no space in the log, or else no free buffer. */
  #isFull = false;
  #onClosed: ((errno: number) => void) | null = null;
  #cleanSent = false;
  #count = { batches: 0, entries: 0, markers: 0, refused: 0 };

  /**
   * Recovers the log in `options.directory`, or makes a new one, synchronously; the visitor gets every intact entry. When this returns, the
   * cut (if any) is durable, and appends are taken. Throws {@link OplogError}; damage is in the report.
   */
  static open(options: OplogOptions): { readonly stream: OplogStream; readonly report: RecoveryReport } {
    const opened = openLog(options);
    return { stream: new OplogStream(options, opened), report: opened.report };
  }

  private constructor(options: OplogOptions, opened: OpenedLog) {
    const { engine } = options;
    this.#engine = engine;
    this.#space = opened.space;
    this.#vdisks = opened.vdisks;
    this.#mutations = options.mutations ?? {};
    this.#probe = options.probe ?? new Probe();
    const { headerOffset, windowOffset } = opened.memory;
    const { cutLsn } = opened.report;
    this.#endLsn = this.#durableLsn = cutLsn;
    this.#previousCrc = opened.previousCrc;
    this.#batches = new Batches(engine.arena, windowOffset);
    this.#client = engine.register({ onCompletion: (tag, result) => this.#onCompletion(tag, result) });
    this.#headers = new SegmentHeaders(engine, headerOffset, this.#client, Kind.header << KIND_SHIFT, opened.space.tail);
    const ends = { dataEndLsn: cutLsn, recordedLsn: opened.recordedLsn };
    this.#marker = new IdleMarker(engine, this.#client, Kind.timer << KIND_SHIFT, ends);
    this.#reads = new PayloadReads(engine, this.#client, Kind.read << KIND_SHIFT);
    const place = { ...opened.space.place, headerOffset: opened.memory.prepareOffset };
    this.#preparer = new SegmentPreparer(engine, place, this.#client, Kind.prepare << KIND_SHIFT, {
      onPrepared: segment => {
        this.#space.free.push(segment);
        this.#spaceCame = true;
      },
      onPrepareFailed: errno => this.#fail(errno),
    });
    this.usage = new Usage(this.#space, this.#preparer, this);
    engine.atTurnEnd(HOOK_ORDER, () => this.#turnEnd());
  }

  // ---------------------------------------------------------------- vdisks

  /** The log of a vdisk, recovered or new (`lastSeq` 0). Throws `ERR_OPLOG_VDISK_ID`. */
  openVdisk(vdiskId: string, historyId: number): StreamVdiskLog {
    return this.#vdisks.get(vdiskId) ?? this.#vdisks.add(historyId, ...parseUuid(vdiskId));
  }

  vdisk(vdiskId: string): StreamVdiskLog | undefined {
    return this.#vdisks.get(vdiskId);
  }

  /** All vdisks with entries here, those that no longer exist elsewhere included: those hold space until they are dropped. */
  vdisks(): IterableIterator<StreamVdiskLog> {
    return this.#vdisks.values();
  }

  /** The vdisk is deleted: its entries are needed no more. Nothing of it may be in flight. */
  dropVdisk(log: StreamVdiskLog): void {
    this.#vdisks.remove(log);
    this.#release();
  }

  // ---------------------------------------------------------------- OplogPort

  append(log: StreamVdiskLog, draft: EntryDraft, owner: LogOwner, tag: number): number {
    const payloadBytes = draft.payload.totalBytes;
    assert(payloadBytes <= limits.MAX_ENTRY_PAYLOAD_BYTES, `an entry of ${payloadBytes} bytes`);
    const isLocal = isLocalRecord(draft.kind);
    const follows = isLocal ? draft.seq === log.lastSeq : draft.seq === log.lastSeq + 1 && draft.creationTerm >= log.lastTerm;
    assert(follows, `entry ${draft.seq} does not follow ${log.lastSeq}`);
    assert(log.broken === null, 'the log of a damaged vdisk takes no entries');
    if (this.#state !== 'open') return NoRoom.busy;
    const batch = this.#batchFor(payloadBytes, useOf(draft.kind), 0);
    if (batch === null) return this.#refuse(owner);
    const lsn = batch.add(log, draft, owner, tag, !isLocal);
    log.owner = owner;
    if (owner.onHeld !== undefined) this.#isHeldDue = true;
    if (log.oldestNeededLsn === Infinity) {
      log.oldestNeededLsn = lsn;
      log.firstSeq = isLocal ? draft.seq + 1 : draft.seq;
    }
    if (isLocal) return lsn;
    log.lastSeq = draft.seq;
    log.lastTerm = draft.creationTerm;
    return lsn;
  }

  /**
   * An entry of the log once more, in place of the damaged one: header and payload are those that it had. Taken also where only vital records are: until the
   * log is whole nothing of its vdisk can be drained. Results as of `append`.
   */
  appendCopy(log: StreamVdiskLog, draft: EntryDraft, prevHash: number, owner: LogOwner, tag: number): number {
    assert(draft.seq <= log.lastSeq && !isLocalRecord(draft.kind), `entry ${draft.seq} is none of a log that ends at ${log.lastSeq}`);
    if (this.#state !== 'open') return NoRoom.busy;
    const batch = this.#batchFor(draft.payload.totalBytes, 'vital', BatchFlag.copies);
    if (batch === null) return this.#refuse(owner);
    log.owner = owner;
    return batch.add(log, draft, owner, tag, false, prevHash);
  }

  #refuse(owner: LogOwner): number {
    this.#waiting.add(owner);
    this.#count.refused++;
    return this.#isFull ? NoRoom.full : NoRoom.busy;
  }

  readPayload(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    if (lsn + lengthBytes > this.#durableLsn) return this.#readHeld(lsn, lengthBytes, arenaOffset, owner, tag);
    const segment = this.#space.find(lsn);
    assert(lsn >= segment.header.startLsn && lsn + lengthBytes <= segment.endLsn, `position ${lsn} is not in the log`);
    this.#reads.start(segment, lsn, lengthBytes, arenaOffset, owner, tag);
  }

  #readHeld(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    const batch = this.#batches.holding(lsn, lengthBytes);
    assert(batch !== undefined, `position ${lsn} is not in the log`);
    const from = batch.baseOffset + (lsn - batch.lsn);
    this.#engine.arena.bytes.copyWithin(arenaOffset, from, from + lengthBytes);
    owner.onRead(tag, lengthBytes);
  }

  truncate(log: StreamVdiskLog, oldestNeededLsn: number): void {
    if (log.oldestNeededLsn === Infinity || oldestNeededLsn <= log.oldestNeededLsn) return;
    log.oldestNeededLsn = oldestNeededLsn;
    this.#release();
  }

  statistics(): OplogStatistics {
    return { ...this.#count, liveSegments: this.#space.live.length, freeSegments: this.#space.free.length };
  }

  /**
   * Writes what waits, then the clean mark, and closes the files; `done(0)`, or `done(-errno)` after a failure (the stream is then unclean).
   * No append is taken from here on; reads under way still complete.
   */
  close(done: (errno: number) => void): void {
    assert(this.#onClosed === null, 'a stream is closed once');
    this.#onClosed = done;
    if (this.#state === 'open') this.#state = 'closing';
    this.#marker.stop();
    // A turn in which nothing else happens has an end too.
    this.#engine.timer(0, this.#client, Kind.timer << KIND_SHIFT);
  }

  // ---------------------------------------------------------------- batches

  /** The open batch, if the entry fits it, or a new one; null: no buffer, or no space in the log. */
  #batchFor(payloadBytes: number, use: EntryUse, flags: number): Batch | null {
    this.#isFull = false;
    const open = this.#open;
    if (open !== null) {
      if (open.flags === flags && open.fits(payloadBytes)) return this.#allows(use, false) ? open : null;
      this.#closeBatch(open);
    }
    return this.#openBatch(payloadBytes, use, flags);
  }

  #allows(use: EntryUse, turn: boolean): boolean {
    this.#isFull = !this.#space.allows(use, turn, this.#endLsn + (this.#open?.totalBytes ?? 0));
    return !this.#isFull;
  }

  #openBatch(payloadBytes: number, use: EntryUse, flags = 0): Batch | null {
    const batch = this.#batches.free();
    if (batch === undefined) return null;
    let segment = this.#space.tail;
    const turn = segment.limitLsn - this.#endLsn < batchBytes(1, paddedBytes(payloadBytes));
    if (!this.#allows(use, turn)) return null;
    if (turn) segment = this.#space.turn(this.#endLsn);
    assert(segment.limitLsn - this.#endLsn >= batchBytes(1, paddedBytes(payloadBytes)), 'a segment holds the longest entry');
    batch.open(this.#endLsn, segment, segment.limitLsn - this.#endLsn);
    batch.flags = flags;
    batch.openedNs = this.#engine.nowNs;
    this.#open = batch;
    return batch;
  }

  #closeBatch(batch: Batch): void {
    batch.close();
    this.#open = null;
    this.#endLsn = batch.lsn + batch.totalBytes;
    if (batch.entries > 0) this.#marker.dataEndLsn = this.#endLsn;
    this.#queue.push(batch);
  }

  #turnEnd(): void {
    if (this.#spaceCame) this.#tellWaiting();
    if (this.#isHeldDue) this.#tellHeld();
    this.#submitAll();
    if (this.#state === 'open' && !this.#preparer.busy && this.#space.wantsMore()) this.#preparer.start(this.#space.nextNumber());
    if (this.#onClosed !== null) this.#goOnClosing();
  }

  /** What was appended and is not on its way yet. Owners may append more meanwhile: they are told of that, too. */
  #tellHeld(): void {
    if (this.#state === 'failed') return;
    this.#isHeldDue = false;
    for (let i = 0; i <= this.#queue.length; i++) {
      const batch = this.#queue[i] ?? this.#open;
      if (batch === null) return;
      const { owners, tags, payloadOffsets, payloadCrcs } = batch;
      while (batch.toldHeld < batch.entries) {
        const at = batch.toldHeld++;
        owners[at]!.onHeld?.(tags[at]!, payloadOffsets[at]!, payloadCrcs[at]!);
      }
    }
  }

  #submitAll(): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    while (this.#inFlight < limits.MAX_IN_FLIGHT) {
      if (this.#queue.length === 0) {
        const open = this.#open;
        if (open === null) return;
        const few = open.entries < limits.SECOND_BATCH_ENTRIES && open.payloadBytes < limits.SECOND_BATCH_PAYLOAD_BYTES;
        if (this.#inFlight > 0 && few) return;
        this.#closeBatch(open);
      }
      const batch = this.#queue[0]!;
      if (batch.segment !== this.#headers.headed) {
        if (this.#inFlight === 0) this.#headers.write(batch.segment!);
        return;
      }
      this.#queue.shift();
      this.#submit(batch);
    }
  }

  #submit(batch: Batch): void {
    const segment = batch.segment!;
    batch.durableLsn = this.#durableLsn;
    this.#previousCrc = batch.seal(this.#durableLsn, this.#previousCrc);
    batch.state = 'writing';
    batch.submittedNs = this.#engine.nowNs;
    this.#inFlight++;
    this.#order.push(batch);
    this.#count.batches++;
    this.#count.entries += batch.entries;
    this.#engine.write(
      segment.slot,
      batch.baseOffset,
      batch.totalBytes,
      segment.fileOffset(batch.lsn),
      WRITE_DSYNC,
      this.#client,
      batch.index,
    );
    if (this.#mutations.ackBeforeDurable === true) this.#tellOwners(batch);
  }

  #onCompletion(tag: number, result: number): void {
    const index = tag & INDEX_MASK;
    switch (tag >>> KIND_SHIFT) {
      case Kind.batch:
        return this.#onWritten(this.#batches.all[index]!, result);
      case Kind.read:
        if (this.#reads.onCompletion(index, result)) this.#release();
        return;
      case Kind.header:
        return this.#onHeaderWritten(result);
      case Kind.prepare:
        return this.#preparer.onCompletion(result);
      case Kind.timer:
        return this.#onMarkerTimer();
    }
  }

  #onHeaderWritten(result: number): void {
    const failure = this.#headers.onWritten(result);
    if (failure !== 0) return this.#fail(failure);
    this.#space.trim(this.#headers.headed.header.tailLsn);
  }

  #onWritten(batch: Batch, result: number): void {
    this.#inFlight--;
    if (result !== batch.totalBytes) return this.#fail(result < 0 ? result : EIO);
    if (this.#state === 'failed') return;
    batch.state = 'written';
    while (this.#order.length > 0 && this.#order[0]!.state === 'written') this.#acknowledge(this.#order.shift()!);
  }

  #acknowledge(batch: Batch): void {
    this.#durableLsn = batch.lsn + batch.totalBytes;
    this.#marker.recordedLsn = Math.max(this.#marker.recordedLsn, batch.durableLsn);
    const { entries, payloadBytes, openedNs, submittedNs } = batch;
    this.#probe.recordAll(entries, payloadBytes, submittedNs - openedNs, this.#engine.nowNs - submittedNs);
    if (this.#mutations.ackBeforeDurable !== true) this.#tellOwners(batch);
    if (batch.flags === BatchFlag.clean) this.#state = 'closed';
    batch.free();
    if (this.#waiting.size > 0) this.#spaceCame = true;
    if (this.#inFlight === 0 && this.#state === 'open') this.#marker.arm(this.#count.batches);
  }

  #tellOwners(batch: Batch): void {
    const { owners, tags, payloadOffsets, payloadCrcs, entries } = batch;
    for (let i = 0; i < entries; i++) owners[i]!.onDurable(tags[i]!, payloadOffsets[i]!, payloadCrcs[i]!);
  }

  #onMarkerTimer(): void {
    const isIdle = this.#state === 'open' && this.#open === null && this.#order.length === 0 && this.#queue.length === 0;
    if (!this.#marker.onTimer(isIdle, this.#count.batches)) return;
    // Not worth a new segment, nor the space that a full log has left.
    if (this.#space.tail.limitLsn - this.#endLsn < limits.PAGE_BYTES) return;
    if (this.#openBatch(0, 'vital') !== null) this.#count.markers++;
  }

  // ---------------------------------------------------------------- space, failure, end

  #release(): void {
    let needed = this.#durableLsn;
    for (const log of this.#vdisks.values()) needed = Math.min(needed, log.oldestNeededLsn);
    if (this.#space.release(needed)) this.#spaceCame = true;
  }

  /** Owners that were refused try again; those refused again wait again. */
  #tellWaiting(): void {
    this.#spaceCame = false;
    if (this.#waiting.size === 0 || this.#state !== 'open') return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const owner of waiting) owner.onLogSpace();
  }

  /** Rule 6: no retry, nothing is acknowledged from here on. */
  #fail(errno: number): void {
    if (this.#state === 'failed') return;
    this.#state = 'failed';
    this.#failure = errno;
    const owners = new Set<LogOwner>(this.#waiting);
    this.#batches.addOwners(owners);
    for (const log of this.#vdisks.values()) if (log.owner !== null) owners.add(log.owner);
    this.#waiting.clear();
    for (const owner of owners) owner.onLogFailed(errno);
  }

  #goOnClosing(): void {
    const busy = this.#open !== null || this.#queue.length > 0 || this.#order.length > 0;
    if (this.#state === 'closing' && !busy && !this.#cleanSent) {
      this.#cleanSent = true;
      const batch = this.#openBatch(0, 'last');
      if (batch === null) this.#state = 'closed';
      else {
        batch.flags = BatchFlag.clean;
        this.#submitAll();
      }
      return this.#goOnClosing();
    }
    const quiet = this.#inFlight === 0 && !this.#headers.busy && !this.#preparer.busy && this.#reads.outstanding === 0;
    if ((this.#state !== 'closed' && this.#state !== 'failed') || !quiet) return;
    for (const slot of this.#space.slots()) this.#engine.files.close(slot);
    const done = this.#onClosed!;
    this.#onClosed = null;
    this.#state = this.#state === 'failed' ? 'failed' : 'closed';
    done(this.#failure);
  }

  // ---- LogEnds
  get appendedLsn(): number {
    return this.#endLsn + (this.#open?.totalBytes ?? 0);
  }

  get durableLsn(): number {
    return this.#durableLsn;
  }
}
