import type { Engine } from 'uring-engine';
import type { Drainable } from '../core/drainable.js';
import type { OplogStream, StreamVdiskLog } from '../oplog/index.js';
import { DrainRound } from './drain-round.js';
import { DRAIN_AGE_NS, DRAIN_FILL, DRAIN_RETRY_NS, DRAIN_TICK_NS, MAX_ROUNDS } from './limits.js';
import type { DrainMutations, DrainOutcome } from './segment-drain.js';

interface Candidate {
  readonly vdisk: Drainable;
  readonly log: StreamVdiskLog;
  round: DrainRound | null;
  /** Its last round found the disk full, or the log unreadable: it holds on to its part of the log. */
  isStuck: boolean;
  /** It found the disk full. */
  lacksSpace: boolean;
  /** Not before this time. */
  notBeforeNs: number;
  /** When it was last looked at how much is to be drained for its age. */
  agedNs: number;
  /** Up to this entry. */
  agedSeq: number;
}

/**
 * Decides when which vdisk of a stream is drained: those that hold the log's oldest part, as soon as the log is a third full; every other one
 * some seconds after it was changed. A few rounds at a time.
 */
export class DrainScheduler {
  readonly #vdisks = new Map<Drainable, Candidate>();
  /** Logs of vdisks that are not served: nobody drains them. */
  readonly #refused = new Set<StreamVdiskLog>();
  readonly #client: number;
  #rounds = 0;
  #draining: (() => void) | null = null;
  #ticking = false;
  #stopped = false;
  /** Some drain found no space, and none of that vdisk has ended well since. */
  #isDiskFull = false;

  constructor(
    readonly engine: Engine,
    readonly stream: OplogStream,
    readonly mutations: DrainMutations,
    readonly onFailed: (message: string) => void,
    readonly onDiskFull: (isFull: boolean) => void,
  ) {
    this.#client = engine.register({ onCompletion: () => this.#tick() });
    this.#arm();
  }

  add(vdisk: Drainable, log: StreamVdiskLog): void {
    this.#vdisks.set(vdisk, {
      vdisk,
      log,
      round: null,
      isStuck: false,
      lacksSpace: false,
      notBeforeNs: 0,
      agedNs: this.engine.nowNs,
      agedSeq: 0,
    });
  }

  /** Of a vdisk that is being deleted: its round, if one is under way, ends by itself. */
  remove(vdisk: Drainable): void {
    this.#vdisks.delete(vdisk);
    this.#noteSpace();
  }

  addRefused(log: StreamVdiskLog): void {
    this.#refused.add(log);
  }

  removeRefused(log: StreamVdiskLog): void {
    this.#refused.delete(log);
  }

  /** Whether the oldest part of the log stays as it is until somebody makes space: it is of a vdisk that cannot be drained, or is not served. */
  get isOutOfSpace(): boolean {
    const { oldestSegmentEndLsn } = this.stream.usage;
    for (const { isStuck, log } of this.#vdisks.values()) if (isStuck && log.oldestNeededLsn <= oldestSegmentEndLsn) return true;
    for (const log of this.#refused) if (log.oldestNeededLsn <= oldestSegmentEndLsn) return true;
    return false;
  }

  isBusy(vdisk: Drainable): boolean {
    return this.#vdisks.get(vdisk)?.round != null;
  }

  /** Something of the vdisk was committed. */
  onCommitted(vdisk: Drainable): void {
    if (this.#stopped) return;
    this.#vdisks.get(vdisk)?.round?.poke();
    if (this.#rounds < MAX_ROUNDS && this.#fill() > DRAIN_FILL) this.#startForSpace();
  }

  /** Drains everything; `done` when nothing is left, or when it cannot go on. */
  drainAll(done: () => void): void {
    this.#draining = done;
    this.#tick();
  }

  /** No more rounds; those under way end where they are. */
  stop(): void {
    this.#stopped = true;
    this.#draining = null;
    for (const { round } of this.#vdisks.values()) round?.stop();
  }

  #fill(): number {
    return this.stream.usage.usedBytes / this.stream.usage.capacityBytes;
  }

  #arm(): void {
    if (this.#ticking || this.#stopped) return;
    this.#ticking = true;
    this.engine.timer(DRAIN_TICK_NS, this.#client, 0);
  }

  #tick(): void {
    this.#ticking = false;
    if (this.#stopped) return;
    for (const { round } of this.#vdisks.values()) round?.poke();
    if (this.#fill() > DRAIN_FILL) this.#startForSpace();
    this.#startForAge();
    this.#checkDrained();
    this.#arm();
  }

  /** The vdisk that needs the oldest part of the log. While the log is one segment, a HEAD alone frees nothing. */
  #startForSpace(): void {
    const isShort = this.stream.usage.oldestSegmentEndLsn === this.stream.usage.endLsn;
    while (this.#rounds < MAX_ROUNDS) {
      let oldest: Candidate | null = null;
      for (const candidate of this.#vdisks.values()) {
        const { isDirty, isHeldByHead } = candidate.vdisk;
        const isUseful = isDirty || (isHeldByHead && !isShort);
        if (candidate.round !== null || candidate.notBeforeNs > this.engine.nowNs || !isUseful) continue;
        if (oldest === null || candidate.log.oldestNeededLsn < oldest.log.oldestNeededLsn) oldest = candidate;
      }
      if (oldest === null || oldest.log.oldestNeededLsn > this.stream.usage.oldestSegmentEndLsn) return;
      this.#start(oldest);
    }
  }

  #startForAge(): void {
    const now = this.engine.nowNs;
    for (const candidate of this.#vdisks.values()) {
      if (this.#rounds >= MAX_ROUNDS) return;
      if (candidate.round !== null || candidate.notBeforeNs > now || !candidate.vdisk.isDirty) continue;
      if (this.#draining !== null || now - candidate.agedNs >= DRAIN_AGE_NS) {
        candidate.agedNs = now;
        candidate.agedSeq = candidate.vdisk.committedSeq;
        this.#start(candidate);
      } else if (candidate.vdisk.drainedSeq < candidate.agedSeq) this.#start(candidate);
    }
  }

  #start(candidate: Candidate): void {
    this.#rounds++;
    candidate.round = new DrainRound(candidate.vdisk, candidate.lacksSpace, this.mutations, outcome => this.#ended(candidate, outcome));
    candidate.round.poke();
  }

  #ended(candidate: Candidate, outcome: DrainOutcome): void {
    this.#rounds--;
    candidate.round = null;
    if (outcome === 'failed') {
      this.onFailed(`draining vdisk ${candidate.vdisk.state.vdiskId} failed: the data disk reported an error`);
      return;
    }
    if (outcome !== 'done') candidate.notBeforeNs = this.engine.nowNs + DRAIN_RETRY_NS;
    candidate.lacksSpace = outcome === 'no-space';
    candidate.isStuck = candidate.lacksSpace || outcome === 'unreadable';
    this.#noteSpace();
    if (candidate.isStuck) for (const { vdisk } of this.#vdisks.values()) vdisk.onOutOfSpace();
    if (this.#stopped) return;
    if (this.#fill() > DRAIN_FILL) this.#startForSpace();
    this.#startForAge();
    this.#checkDrained();
  }

  #noteSpace(): void {
    const isFull = [...this.#vdisks.values()].some(one => one.lacksSpace);
    if (isFull === this.#isDiskFull) return;
    this.#isDiskFull = isFull;
    this.onDiskFull(isFull);
  }

  #checkDrained(): void {
    if (this.#draining === null || this.#rounds > 0) return;
    for (const candidate of this.#vdisks.values()) if (candidate.vdisk.isDirty && candidate.notBeforeNs <= this.engine.nowNs) return;
    const done = this.#draining;
    this.#draining = null;
    done();
  }
}
