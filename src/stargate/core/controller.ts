import assert from 'node:assert/strict';
import { Gather } from 'uring-engine';
import { IoOp, type PathRequest } from '../../wire/path.js';
import type { SessionEnd, SessionListener, SessionRequest } from '../../wire/serving.js';
import { IoStatus } from '../../wire/status.js';
import { Admission } from './admission.js';
import { Applier } from './applier.js';
import type { BlockIndex } from './block-index.js';
import {
  MAX_CONTROL_BYTES,
  type ControllerHost,
  type ControllerMutations,
  type ControllerPorts,
  type Durability,
  type VdiskState,
} from './controller-parts.js';
import { Flights, tagOf, type ControlCommit } from './flights.js';
import { Flushes } from './flushes.js';
import type { Drainable } from './drainable.js';
import { encodeRecord, type HeadRecord } from './head.js';
import { mapRange } from './map-range.js';
import { OpenPaths } from './open-paths.js';
import type { ControllerPath } from './path.js';
import { BLOCK_BYTES, changesHead, EntryKind, NoRoom, type EntryDraft, type LogOwner, type VdiskLog } from './ports.js';
import { RoundEnds, type RoundEnd } from './round-ends.js';
import { ReadPath } from './read-path.js';
import { Resizes } from './resizes.js';
import { isReadBeyond, isWellFormed } from './well-formed.js';
import { SessionChanges } from './session-changes.js';
import { SharedReads } from './shared-reads.js';
import { SpaceRule } from './space-rule.js';
import { RequestState, SessionTable, type SessionState } from './sessions.js';

export { MAX_CONTROL_BYTES };
export type { ControllerHost, ControllerMutations, ControllerPorts, Durability, VdiskState };

/**
 * Serves one vdisk: gives each change its place in the log, makes it readable when it is committed, answers. Decides only; log, extents,
 * store and cache are ports. One owner, one shard, one order of events.
 *
 * A change: admitted (checked, in order of arrival) → appended (has a seq) → durable → committed: index, cache, session table, answer.
 * With `durability: flush` it is committed as soon as it is held, and durable later ({@link Flushes}).
 */
export class Controller implements LogOwner, Drainable {
  readonly reads: ReadPath;
  readonly index: BlockIndex;
  readonly sessions: SessionTable;
  readonly flights = new Flights();
  readonly applier = new Applier(this);
  readonly paths = new OpenPaths(this);
  readonly #admission: Admission;
  readonly #sessionChanges = new SessionChanges(this);
  readonly #sharedReads = new SharedReads(this);
  readonly resizes: Resizes;
  readonly #draft: EntryDraft;
  readonly #control = new Gather(1);
  /** ended: no requests any more, but commits and drains go on. */
  #state: 'serving' | 'ended' | 'failed' | 'stopped' = 'serving';
  committedSeq: number;
  /** Up to here the log is on stable storage, at all who have to have it. */
  durableSeq: number;
  readonly onHeld: LogOwner['onHeld'];
  /** Null: changes are durable before they are answered. */
  readonly #flushes: Flushes | null;
  readonly rule: SpaceRule;
  /** Sessions of the last HEAD that are still to hear that memory was lost. */
  #headUntold = 0;
  readonly roundEnds: RoundEnds;

  constructor(
    readonly ports: ControllerPorts,
    readonly state: VdiskState,
    readonly vdiskLog: VdiskLog,
    /** Number of this vdisk in the shard's cache. */
    readonly cacheOwner: number,
    readonly host: ControllerHost,
    readonly mutations: ControllerMutations = {},
  ) {
    this.index = state.index;
    this.rule = state.rule ?? new SpaceRule();
    this.sessions = state.sessions;
    this.roundEnds = state.roundEnds ?? new RoundEnds(ports.log.usage.capacityBytes / ports.drains.roundsPerLog);
    this.committedSeq = this.durableSeq = vdiskLog.lastSeq;
    const flushes = state.durability === 'flush' ? new Flushes(this) : null;
    this.#flushes = flushes;
    this.onHeld = flushes === null ? undefined : (tag, payloadOffset, payloadCrc) => flushes.onHeld(tag, payloadOffset, payloadCrc);
    this.flights.startAt(vdiskLog.lastSeq + 1);
    this.reads = new ReadPath(this);
    this.#admission = new Admission(this);
    this.resizes = new Resizes(this);
    this.#draft = {
      kind: EntryKind.write,
      seq: 0,
      creationTerm: state.term,
      sessionId: 0,
      clientSeq: 0,
      part: 0,
      parts: 1,
      offsetBytes: 0,
      lengthBytes: 0,
      payload: new Gather(1024),
    };
  }

  get lastSeq(): number {
    return this.flights.nextSeq - 1;
  }

  // ---------------------------------------------------------------- requests

  submit(request: PathRequest, path: ControllerPath): void {
    if (!path.isOpen) return;
    request.submittedNs = this.ports.clock.nowNs;
    path.session.raiseLowWater(request.lowWater);
    if (path.session.hasHeardOfLoss) this.#flushes?.heardOfLoss(path.session);
    const { op } = request;
    if (!isWellFormed(request) || isReadBeyond(request, this.state.sizeBytes)) return this.answer(request, IoStatus.invalid);
    switch (op) {
      case IoOp.read:
      case IoOp.map:
        return this.#mustConfirm ? this.#sharedReads.add(request, path) : this.read(request, path);
      case IoOp.prefetch:
        return this.reads.start(request, path);
      case IoOp.flush:
        if (this.#flushes !== null) return this.#flushes.flush(request, path);
        // Every change is on stable storage before it is answered: nothing that was answered is left to flush.
        return this.answer(request, IoStatus.ok);
      case IoOp.write:
      case IoOp.trim:
      case IoOp.zero:
        return this.#admitChange(request, path);
      default:
        return this.answer(request, IoStatus.invalid);
    }
  }

  /** READ or MAP: from what is committed now. */
  read(request: PathRequest, path: ControllerPath): void {
    if (request.op === IoOp.read) this.reads.start(request, path);
    else this.answer(request, mapRange(this, request));
  }

  /** Rule 18. Where nobody else holds the log, nobody else can be in control. */
  get #mustConfirm(): boolean {
    return this.sessions.isShared && this.host.confirm !== undefined && this.mutations.sharedReadUnconfirmed !== true;
  }

  onConfirmBegun(): void {
    this.#sharedReads.begun();
  }

  onConfirmed(): void {
    this.#sharedReads.confirmed();
  }

  /** Rule 15: what is known of the request decides whether it is applied. */
  #admitChange(request: PathRequest, path: ControllerPath): void {
    // Held: its path is about to end.
    if (path.session.isEnding) return;
    if (!this.sessions.mayWrite(path.session)) return this.answer(request, IoStatus.readOnly);
    const state = this.mutations.noDedupe ? RequestState.unknown : path.session.stateOf(request.clientSeq);
    switch (state) {
      case RequestState.committed:
        return this.#answerChange(request, path, this.committedSeq);
      case RequestState.inFlight:
        return this.#admission.adopt(request, path);
      case RequestState.belowLowWater:
        return this.answer(request, IoStatus.closed);
      case RequestState.beyondWindow:
        return this.answer(request, IoStatus.invalid);
    }
    path.session.set(request.clientSeq, RequestState.inFlight);
    this.#admission.add(request, path);
  }

  /** Entry `seq`, and with it the change, is committed. */
  #answerChange(request: PathRequest, path: ControllerPath, seq: number): void {
    if (this.#flushes !== null && request.fua) this.#flushes.answerDurable(request, path, seq);
    else this.answer(request, IoStatus.ok);
  }

  answer(request: PathRequest, status: IoStatus): void {
    request.status = status;
    request.term = this.state.term;
    this.#probe(request);
    request.owner.onReply(request);
  }

  /** The whole time here, from arrival to answer. How long a change waited for its place in the log is written down when it is committed; nothing else waits. */
  #probe({ op, lengthBytes, submittedNs }: PathRequest): void {
    const { controller } = this.ports.probes;
    controller.pass(1, op === IoOp.read || op === IoOp.write ? lengthBytes : 0);
    controller.service.record(this.ports.clock.nowNs - submittedNs);
    if (op !== IoOp.write && op !== IoOp.trim && op !== IoOp.zero) controller.queue.record(0);
  }

  // ---------------------------------------------------------------- the log

  /** The entry about to be appended: the caller fills in what it is. */
  get draft(): EntryDraft {
    return this.#draft;
  }

  /**
   * Appends the draft as the next entry. `block` and `blocks`: what it changes (0 blocks: nothing). Returns the entry's place in `flights`, or why the log
   * does not take it now ({@link NoRoom}).
   */
  append(block: number, blocks: number): number {
    const { flights } = this;
    const draft = this.#draft;
    if (flights.isFull || this.#flushes?.mustTellFirst(draft.kind) === true) return NoRoom.busy;
    draft.seq = flights.nextSeq;
    draft.creationTerm = this.state.term;
    const at = flights.push();
    const lsn = this.ports.log.append(this.vdiskLog, draft, this, tagOf(draft.seq));
    if (lsn < 0) {
      flights.unpush();
      return lsn;
    }
    this.roundEnds.passed(draft.seq, this.vdiskLog.lastHash, lsn);
    flights.kind[at] = draft.kind;
    flights.block[at] = block;
    flights.blocks[at] = blocks;
    flights.lsn[at] = lsn;
    flights.startedNs[at] = this.ports.clock.nowNs;
    flights.clientSeq[at] = draft.clientSeq;
    return at;
  }

  /** Appends a control entry; `commit` is told its seq when it is committed. False: no room now, try again after `onLogSpace`. */
  appendControl(kind: EntryKind, record: Uint8Array, sessionId: number, commit: ControlCommit | null, clientSeq = 0): boolean {
    assert(record.length <= MAX_CONTROL_BYTES, `a control record of ${record.length} bytes`);
    const { arena, controlScratch } = this.ports;
    arena.bytes.set(record, controlScratch);
    this.#control.clear();
    if (record.length > 0) this.#control.add(controlScratch, record.length);
    const draft = this.#draft;
    draft.kind = kind;
    draft.sessionId = sessionId;
    draft.clientSeq = clientSeq;
    draft.part = 0;
    draft.parts = 1;
    draft.offsetBytes = 0;
    draft.lengthBytes = record.length;
    // Its own list: the draft may still name that of a request which the log refused a moment ago.
    draft.payload = this.#control;
    const at = this.append(0, 0);
    if (at < 0) return false;
    this.flights.control[at] = commit;
    return true;
  }

  onDurable(tag: number, payloadOffset: number, payloadCrc: number): void {
    if (this.#state === 'stopped') return;
    const seq = this.durableSeq + 1;
    assert(seq <= this.lastSeq && tag === tagOf(seq), 'entries become durable in order');
    this.durableSeq = seq;
    if (seq === this.flights.firstSeq) this.commit(payloadOffset, payloadCrc);
    if (this.#flushes === null) return;
    this.#flushes.onDurable();
    this.host.onCommitted(this);
  }

  /** Of the first entry in flight: readable, then answered. Its payload is in memory during this call. */
  commit(payloadOffset: number, payloadCrc: number): void {
    const { flights } = this;
    const seq = flights.firstSeq;
    const at = flights.at(seq);
    if (flights.blocks[at]! > 0 && !this.mutations.indexBeforeDurable) this.applier.apply(at, seq, payloadOffset, payloadCrc);
    flights.firstSeq++;
    this.committedSeq = seq;
    this.#flushes?.onCommitted(seq, flights.kind[at]!);
    const { control, session, request, path } = flights.take(at);
    if (control !== null) control.onControlCommitted(seq);
    if (session !== null) session.set(flights.clientSeq[at]!, RequestState.committed);
    if (request !== null && path!.isOpen) {
      // One that is asked again while it is in flight has come later.
      this.ports.probes.controller.queue.record(Math.max(0, flights.startedNs[at]! - request.submittedNs));
      this.#answerChange(request, path!, seq);
    }
    this.host.onCommitted(this);
    this.#admission.go();
  }

  onLogFailed(errno: number): void {
    if (this.#state === 'failed' || this.#state === 'stopped') return;
    this.#state = 'failed';
    // Outcomes are unknown: nobody is answered. The paths end, and whoever replays finds what is true after the next start.
    this.#endAllPaths('fenced');
    this.host.onLogFailed(errno);
  }

  /** What members held in memory alone may be lost: the log tells of it before anything else is in it. `lossTerm`: of the group's record. */
  tellOfLoss(lossTerm: number): void {
    this.#flushes?.tellOfLoss(lossTerm);
  }

  onLogSpace(): void {
    this.#flushes?.onLogSpace();
    this.host.onLogRoom?.();
    this.#admission.go();
  }

  /** The disk is full, or the vdisk's {@link SpaceRule} is another one: what waits for space is told so. */
  onOutOfSpace(): void {
    this.#admission.go();
  }

  // ---------------------------------------------------------------- sessions

  /** Opens or resumes; see VdiskServing. */
  openSession(request: SessionRequest, listener: SessionListener): void {
    this.#sessionChanges.open(request, listener);
  }

  closeSession(request: SessionRequest, done: () => void): void {
    this.#sessionChanges.close(request, done);
  }

  /** The entry that ends these sessions is in the log: what has no place there yet is never applied. All at once: none takes the place that another one leaves. */
  freezeSessions(over: readonly SessionState[]): void {
    if (this.mutations.applyClosedSessions) return;
    for (const session of over) session.isEnding = true;
    this.#admission.dropEnding();
  }

  /** A path was closed: its requests are not touched any more, though their changes may still commit. */
  forget(path: ControllerPath): void {
    this.paths.forget(path);
    this.flights.forget(path);
    this.#admission.forget(path);
    this.reads.forget(path);
    this.#sharedReads.forget(path);
    this.#flushes?.forget(path);
  }

  // ---------------------------------------------------------------- life

  /**
   * The vdisk's whole head state as of the end of its log, or null while an entry that changes the session table or the size is in flight: the
   * record would lack it.
   */
  head(drainedSeq: number, drainedHash: number): HeadRecord | null {
    const { flights } = this;
    const inLog = new Map<number, number[]>();
    for (let seq = flights.firstSeq; seq < flights.nextSeq; seq++) {
      const at = flights.at(seq);
      if (changesHead(flights.kind[at]!)) return null;
      const session = flights.session[at];
      if (session == null) continue;
      const of = inLog.get(session.id);
      if (of === undefined) inLog.set(session.id, [flights.clientSeq[at]!]);
      else of.push(flights.clientSeq[at]!);
    }
    const table = this.mutations.sessionsMissingFromHead ? new SessionTable() : this.sessions;
    const { sizeBytes, layer } = this.state;
    this.#headUntold = this.sessions.untold;
    return { version: 1, sizeBytes, layer, drainedSeq, drainedHash, sessions: table.record(inLog) };
  }

  get drainableSeq(): number {
    return this.durableSeq;
  }

  get isDirty(): boolean {
    // The HEAD of the last round is in the log too.
    if (this.lastSeq > this.state.drainedSeq + 1) return true;
    // What it says of who has to hear of a loss is not true any more.
    return this.#flushes !== null && this.#headUntold !== this.sessions.untold;
  }

  /** What is drained is held by nothing else: nobody but this node may still need it. */
  get isHeldByHead(): boolean {
    return !this.isDirty;
  }

  get drainedSeq(): number {
    return this.state.drainedSeq;
  }

  beginRound(toEnd: boolean): RoundEnd {
    return this.roundEnds.begin(this.state.drainedSeq, this.lastSeq, this.vdiskLog.lastHash, toEnd);
  }

  endRound(end: RoundEnd, done: () => void): boolean {
    const head = this.head(end.seq, end.hash);
    if (head === null) return false;
    const commit = {
      onControlCommitted: () => {
        this.state.drainedSeq = end.seq;
        this.state.drainedHash = end.hash;
        // The first entry behind the round, if only this HEAD: from there on the log is still needed.
        this.ports.log.truncate(this.vdiskLog, end.nextLsn);
        done();
      },
    };
    return this.appendControl(EntryKind.head, encodeRecord(head), 0, commit);
  }

  /** The most that its data takes: what is in the extents, in the log, and on its way there. */
  get usedBytes(): number {
    const { ports, state, index, flights } = this;
    let blocks = index.writtenBlocks;
    for (let seq = flights.firstSeq; seq < flights.nextSeq; seq++) {
      const at = flights.at(seq);
      const kind = flights.kind[at]!;
      if (kind === EntryKind.write || kind === EntryKind.fullImage) blocks += flights.blocks[at]!;
    }
    return ports.store.allocatedBytes(state.layer) + blocks * BLOCK_BYTES;
  }

  get isServing(): boolean {
    return this.#state === 'serving';
  }

  /** What is in the log and not committed yet will be heard of here. */
  get hearsOfCommits(): boolean {
    return this.#state === 'serving' || this.#state === 'ended';
  }

  /** The vdisk is deleted: its sessions are over. */
  end(): void {
    if (this.#state === 'serving') this.#state = 'ended';
    this.#endAllPaths('closed');
  }

  /** The shard stops, or moves the vdisk elsewhere: sessions find another way. What is in flight still commits. */
  endPaths(): void {
    if (this.#state === 'serving') this.#state = 'ended';
    this.#endAllPaths('fenced');
  }

  /** Nothing happens here any more; what is in flight has an unknown outcome. `node`: who is in control now, if that is known. */
  stop(node?: string): void {
    this.#state = 'stopped';
    this.#endAllPaths('fenced', node);
  }

  /** After the state has changed: who hears that a path has ended may want another one at once. */
  #endAllPaths(reason: SessionEnd, node?: string): void {
    this.paths.endAll(reason, node);
    this.#sessionChanges.refuseAll();
    if (!this.hearsOfCommits) this.resizes.refuse();
  }

  /** Nothing of it is on its way to the log, or being read. */
  get isIdle(): boolean {
    return this.durableSeq === this.lastSeq && this.reads.isIdle;
  }
}
