import { Blocker } from '../../../wire/path.js';
import { AppliedLog, type LogBody } from '../../core/applied.js';
import { BlockIndex } from '../../core/block-index.js';
import type { ControllerHost, ControllerPorts, VdiskState } from '../../core/controller.js';
import type { Drainable } from '../../core/drainable.js';
import { encodeRecord, type PlaceRecord, type ReplicaHeadRecord } from '../../core/head.js';
import { EntryKind, type LayerId } from '../../core/ports.js';
import { SessionTable, type SessionTableRecord } from '../../core/sessions.js';
import { bodyOf } from './entries.js';
import type { GroupVdisk } from './group-vdisk.js';
import type { Entry } from '../../core/replication/entry.js';
import { RoundEnds, type RoundEnd } from '../../core/round-ends.js';
import { HOLD_FILL, RESTART_RETRY_MS } from './limits.js';

/** What a start has found, or made. */
export interface ReplicaStateOptions {
  readonly applied: AppliedLog;
  readonly appliedSeq: number;
  readonly drained: PlaceRecord;
  /** The extents may have entries up to this one. */
  readonly aheadSeq: number;
  /** The session table, and the size, are as of this entry. */
  readonly sessionsSeq: number;
  /** Up to this entry some lie further behind in the log than those that follow them: copies of damaged ones. 0: none. */
  readonly copiesSeq: number;
}

export interface Restart {
  readonly base: PlaceRecord;
  readonly at: PlaceRecord;
  readonly sizeBytes: number;
  readonly sessions: SessionTableRecord;
  readonly aheadSeq: number;
  /** Of the vdisk, that begins there; missing: it is the one that there is. */
  readonly historyId?: number;
}

/** What one replica has made of its log: applied, drained, forgotten. The same whether its controller is here or elsewhere. */
export class ReplicaState implements Drainable {
  readonly host: ControllerHost;
  readonly ports: ControllerPorts;
  applied: AppliedLog;
  appliedSeq: number;
  drained: PlaceRecord;
  /** The log is about to go on elsewhere: nothing is taken in meanwhile. */
  isRestarting = false;
  /** The metadata may have another size than what is applied here: entries have changed it, and who was the controller then may not have come to say so. */
  isResized: boolean;
  #aheadSeq: number;
  #sessionsSeq: number;
  readonly #copiesSeq: number;
  /** Position of the head that says what is drained; -1: written before this start. */
  #headLsn = -1;
  /** Up to here the controller here knows that all members hold its entries. */
  #heldSeq = 0;
  #roundEnds: RoundEnds;
  /** Of the log as it is. */
  #round: RoundEnd | null = null;

  constructor(
    readonly group: GroupVdisk,
    { applied, appliedSeq, drained, aheadSeq, sessionsSeq, copiesSeq }: ReplicaStateOptions,
  ) {
    const { parts, stream } = group;
    this.applied = applied;
    this.appliedSeq = appliedSeq;
    this.drained = drained;
    this.#aheadSeq = aheadSeq;
    this.#sessionsSeq = sessionsSeq;
    this.#copiesSeq = copiesSeq;
    this.isResized = applied.sizeBytes !== group.options.toldBytes;
    this.ports = { ...parts.ports, log: stream };
    this.#roundEnds = this.#newRoundEnds();
    const { log } = group.replica.member;
    for (let seq = drained.seq + 1; seq <= appliedSeq; seq++) this.#passed(seq, log.at(seq));
    this.host = {
      onLogFailed: errno => group.onLogFailed(errno),
      onBadBlock: (vdiskId, offsetBytes, errno, lengthBytes) => parts.onBadBlock(vdiskId, offsetBytes, errno, lengthBytes),
      copies: group.repair,
      onCommitted: () => undefined,
      isOutOfSpace: () => parts.isOutOfSpace(stream),
      blockedBy: () => this.#blockedBy(),
      confirm: () => group.rounds.want(),
      onSized: controller => parts.onSized(controller),
    };
  }

  // ---------------------------------------------------------------- what is committed

  /** Takes in what is committed and durable here: a learner may hear of more than it has on its disk. */
  apply(): void {
    const { member } = this.group.replica;
    const before = this.appliedSeq;
    this.#tellHeld();
    while (this.appliedSeq < Math.min(member.committedSeq, member.durableSeq)) {
      const seq = ++this.appliedSeq;
      const entry = member.log.at(seq);
      this.#passed(seq, entry);
      const own = this.group.own.take(seq);
      if (own === undefined) this.#applyOther(seq, bodyOf(entry));
      else {
        const body = bodyOf(entry);
        this.#applyHead(seq, body);
        // The index may have to be made again.
        if (this.group.isForgetful) this.group.own.takeCrcs(own, body);
        own.owner.onDurable(own.tag, own.offset, entry.crc);
        this.group.own.release(own);
      }
    }
    if (this.appliedSeq > before) this.group.parts.onCommitted(this.group);
  }

  /** With `durability: flush` its controller answers what all members have in memory. */
  #tellHeld(): void {
    const { group } = this;
    const { leader } = group.replica.takeover;
    if (!group.isForgetful || group.controller === null || leader === null) return;
    while (this.#heldSeq < leader.heldSeq) {
      const seq = ++this.#heldSeq;
      const own = group.own.at(seq);
      if (own !== undefined) own.owner.onHeld?.(own.tag, own.offset, group.replica.member.log.at(seq).crc);
    }
  }

  /** What a controller here starts from: all of the log is applied. */
  controllerBegins(term: number): VdiskState {
    this.#heldSeq = this.appliedSeq;
    const { vdiskId, layer, durability } = this.group.options;
    const { sizeBytes } = this.applied;
    const { seq: drainedSeq, hash: drainedHash } = this.drained;
    const sessions = new SessionTable();
    sessions.restore(this.applied.sessions.record());
    return {
      ...{ vdiskId, sizeBytes, layer, term, sessions, drainedSeq, drainedHash, durability },
      index: this.index,
      isReplicated: true,
      rule: this.group.parts.ruleOf(vdiskId),
    };
  }

  /** What it has made readable up to `committedSeq` may be cut, where it was in memory alone: the index is made again from what is committed. */
  controllerEnds(committedSeq: number): void {
    if (committedSeq <= this.appliedSeq) return;
    const { log } = this.group.replica.member;
    const { sessions, sizeBytes, extents } = this.applied;
    const applied = new AppliedLog(new BlockIndex(), sessions, sizeBytes, extents);
    for (let seq = log.base.seq + 1; seq <= this.appliedSeq; seq++)
      applied.applyUndrained(seq, bodyOf(log.at(seq)), segment => this.ports.store.drainSeq(this.group.options.layer, segment));
    this.applied = applied;
  }

  #applyOther(seq: number, body: LogBody): void {
    if (seq > this.#aheadSeq) this.applied.applyBlocks(seq, body);
    else this.applied.applyUndrained(seq, body, segment => this.ports.store.drainSeq(this.group.options.layer, segment));
    if (seq > this.#sessionsSeq) this.#applyHead(seq, body);
  }

  #applyHead(seq: number, body: LogBody): void {
    this.applied.applyHead(seq, body);
    if (body.kind === EntryKind.resize) this.isResized = true;
  }

  /** Its own disk, or another member: a datapath leaves a controller that its own disk holds up. */
  #blockedBy(): Blocker {
    const { member } = this.group.replica;
    if (member.durableSeq < member.log.lastSeq) return Blocker.itself;
    return this.appliedSeq < member.log.lastSeq ? Blocker.member : Blocker.unknown;
  }

  // ---------------------------------------------------------------- drains

  get state(): { readonly vdiskId: string; readonly layer: LayerId } {
    return this.group.options;
  }

  get index(): BlockIndex {
    return this.applied.index;
  }

  get cacheOwner(): number {
    return this.group.controller?.cacheOwner ?? -1;
  }

  get committedSeq(): number {
    return Math.max(this.appliedSeq, this.group.controller?.committedSeq ?? 0);
  }

  get drainableSeq(): number {
    return this.appliedSeq;
  }

  /** A resync that is not done: some segments, or the session table, are further than the log. */
  get isBehind(): boolean {
    return this.appliedSeq < Math.max(this.#aheadSeq, this.#sessionsSeq);
  }

  get isDirty(): boolean {
    return this.appliedSeq > this.drained.seq && !this.isBehind && !this.#isHeldOff;
  }

  /** Otherwise it is held by entries that are not committed, or that a member lacks: a HEAD takes room and gives none. */
  get isHeldByHead(): boolean {
    const { log, replica, resyncs, repair } = this.group;
    const isAllDrained = replica.member.log.lastSeq === this.drained.seq;
    // One that is brought up may only say once more what it has said: its log would hold that of its node until it is done.
    if (this.isRestarting || repair.isBusy || (resyncs.isTarget && !isAllDrained)) return false;
    return this.#headLsn < 0 ? isAllDrained : log.oldestNeededLsn >= this.#headLsn;
  }

  /** Others write into the extents, or the log is about to begin behind what they have written: a round that begins now would speak of a place that is no more. */
  get #isHeldOff(): boolean {
    return this.isRestarting || this.group.resyncs.isTarget || this.group.repair.isBusy;
  }

  get drainedSeq(): number {
    return this.drained.seq;
  }

  #newRoundEnds(): RoundEnds {
    const { drains, log } = this.ports;
    return new RoundEnds(log.usage.capacityBytes / drains.roundsPerLog);
  }

  #passed(seq: number, entry: Entry): void {
    const { lsn } = bodyOf(entry);
    if (lsn >= 0) this.#roundEnds.passed(seq, entry.hash, lsn);
  }

  beginRound(toEnd: boolean): RoundEnd {
    const hash = this.group.replica.member.log.hashAt(this.appliedSeq);
    return (this.#round = this.#roundEnds.begin(this.drained.seq, this.appliedSeq, hash, toEnd));
  }

  endRound(end: RoundEnd, done: () => void): boolean {
    if (!this.group.mayHead || this.isRestarting) return false;
    // The log has begun anew since: of that place there is nothing to say any more.
    if (end !== this.#round) {
      done();
      return true;
    }
    const drained = this.#placeOf(end.seq);
    const lsn = this.group.replicaLog.appendLocal(EntryKind.replicaHead, encodeRecord(this.headRecord(drained)), () => {
      this.drained = drained;
      this.#headLsn = lsn;
      this.forget();
      done();
    });
    return lsn >= 0;
  }

  headRecord(drained = this.drained): ReplicaHeadRecord {
    const { layer } = this.group.options;
    const { sizeBytes } = this.applied;
    const { promise } = this.group.replica.member;
    const at = this.#placeOf(this.appliedSeq);
    return { version: 1, sizeBytes, layer, at, drained, promise, sessions: this.applied.sessions.record() };
  }

  #placeOf(seq: number): PlaceRecord {
    const { log } = this.group.replica.member;
    return seq === log.base.seq ? log.base : { seq, hash: log.hashAt(seq), term: log.at(seq).creationTerm };
  }

  /**
   * The log up to `drained` is in the extents: it is kept only for members that have not got it yet. When they have, it is given up with the head that is
   * there: rounds that say nothing new would only take the room that is kept for heads.
   */
  forget(): void {
    const { replica, stream, log: streamLog, resyncs } = this.group;
    const { log } = replica.member;
    const { seq } = this.drained;
    const headLsn = this.#headLsn;
    if (headLsn < 0 || this.isRestarting || this.#isHolding) return;
    const upTo = Math.max(log.base.seq, Math.min(seq, replica.takeover.leader?.sentToAllSeq ?? seq, resyncs.holdSeq));
    const next = upTo < log.lastSeq ? bodyOf(log.at(upTo + 1)).lsn : headLsn;
    log.trimTo(upTo);
    // Where the next one lies says nothing of those behind it.
    if (upTo < this.#copiesSeq) return;
    // What follows waits for room: the log ends with what is drained.
    if (next < 0 && streamLog.lastSeq === upTo) stream.truncate(streamLog, headLsn);
    else if (next >= 0) stream.truncate(streamLog, Math.min(next, headLsn));
  }

  /** Members are missing: while there is room, what they lack is kept for their return. */
  get #isHolding(): boolean {
    const { group: record, options, stream } = this.group;
    const { usedBytes, capacityBytes } = stream.usage;
    return record !== null && record.members.length < options.replicationFactor && usedBytes < capacityBytes * HOLD_FILL;
  }

  onOutOfSpace(): void {
    this.group.controller?.onOutOfSpace();
  }

  // ---------------------------------------------------------------- new beginnings

  /** The first record of a new replica, or of one whose log has been given up: what its log starts from. */
  begin(kind: typeof EntryKind.replicaHead | typeof EntryKind.replicaReset, done: () => void): boolean {
    const { replicaLog, stream, log } = this.group;
    const lsn = replicaLog.appendLocal(kind, encodeRecord(this.headRecord()), () => {
      stream.truncate(log, lsn);
      done();
    });
    return lsn >= 0;
  }

  /** A resync has ended early: some segments are further than the log here. */
  extentsAhead(seq: number): void {
    this.#aheadSeq = Math.max(this.#aheadSeq, seq);
  }

  /** Everything up to `base` is in the extents now, by another replica's help: the log goes on behind it. */
  restart(to: Restart, done: () => void): void {
    const { base, at, sizeBytes, sessions, aheadSeq } = to;
    const { options, replica, replicaLog, log, stream, parts } = this.group;
    this.isRestarting = true;
    const begin = (): void => {
      if (!this.group.isIdle) return void (this.isRestarting = false);
      // What is on its way into the log goes first.
      if (!this.group.mayRecord) return parts.after(RESTART_RETRY_MS, begin);
      const before = { seq: log.lastSeq, hash: log.lastHash, term: log.lastTerm, historyId: log.historyId };
      const historyId = (log.historyId = to.historyId ?? log.historyId);
      log.goOnAfter(base.seq, base.hash, base.term);
      const { promise } = replica.member;
      const record = encodeRecord({ version: 1, sizeBytes, layer: options.layer, at, drained: base, promise, sessions });
      const lsn = replicaLog.appendLocal(EntryKind.replicaReset, record, () => {
        this.isRestarting = false;
        const table = new SessionTable();
        table.restore(sessions);
        this.applied = new AppliedLog(new BlockIndex(), table, sizeBytes, this.applied.extents);
        this.isResized = true;
        this.drained = base;
        this.#headLsn = lsn;
        this.appliedSeq = base.seq;
        this.#roundEnds = this.#newRoundEnds();
        this.#round = null;
        this.#aheadSeq = Math.max(aheadSeq, at.seq);
        this.#sessionsSeq = at.seq;
        if (to.historyId === undefined) replica.member.restart(base);
        else replica.beginHistory(historyId, base);
        stream.truncate(log, lsn);
        done();
      });
      if (lsn >= 0) return;
      log.goOnAfter(before.seq, before.hash, before.term);
      log.historyId = before.historyId;
      parts.after(RESTART_RETRY_MS, begin);
    };
    begin();
  }
}
