import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import { Where, type BlockIndex } from '../core/block-index.js';
import type { Drainable, DrainPace } from '../core/drainable.js';
import { planDrain, type DrainPlan, type DrainRun } from '../core/drain-planner.js';
import { MAX_REREADS } from '../core/limits.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, type ReadOwner, type StoreOwner } from '../core/ports.js';

/** unreadable: the log gives read errors, and is kept. */
export type DrainOutcome = 'done' | 'no-space' | 'unreadable' | 'failed' | 'stopped';

/** Planted bugs, for tests alone. */
export interface DrainMutations {
  /** The store vouches for data that may not be on stable storage. */
  readonly commitBeforeSync?: boolean;
  /** What is left out because there is something newer may be newer in memory alone. */
  readonly leavesOutHeld?: boolean;
}

const ENOSPC = -28;
const EIO = 5;
const SEVERITY: Readonly<Record<DrainOutcome, number>> = { done: 0, stopped: 1, unreadable: 2, 'no-space': 3, failed: 4 };

/**
 * Brings one segment of a vdisk up to `toSeq`, or, where that is much, up to an entry before it: what is done for it in one turn is bounded. Crash order: (1) holes are punched and runs written in the extents, in any order; (2) the
 * extents are synced, and what the round leaves out because there is something newer is on stable storage, newer; (3) one transaction of the block store says state, checksum and seq of each block, and the segment's drainSeq. A crash
 * before (3) is durable leaves the old drainSeq: the log still has everything after it, and the drain is done again.
 */
export class SegmentDrain {
  readonly #plan: DrainPlan;
  /** Holes first: in a full file system the runs need their space. */
  readonly #runs: readonly DrainRun[];
  /** The door (rule 20): where the segment was when this was planned. */
  readonly #fromSeq: number;
  /** Blocks that are left out have newer versions, up to this one. */
  readonly #newestSeq: number;
  readonly #index: BlockIndex;
  #isSynced = false;
  #next = 0;
  #lanes = 0;
  #outcome: DrainOutcome = 'done';
  #ended = false;
  readonly #beganNs: number;

  constructor(
    readonly vdisk: Drainable,
    readonly segment: number,
    toSeq: number,
    readonly pace: DrainPace,
    readonly mutations: DrainMutations,
    readonly onEnd: (outcome: DrainOutcome) => void,
  ) {
    this.#plan = planDrain(vdisk.index.segment(segment)!, toSeq, pace);
    this.#newestSeq = vdisk.committedSeq;
    this.#beganNs = vdisk.ports.clock.nowNs;
    this.#index = vdisk.index;
    const { runs } = this.#plan;
    this.#runs = [...runs.filter(run => run.isZero), ...runs.filter(run => !run.isZero)];
    this.#fromSeq = vdisk.ports.store.drainSeq(vdisk.state.layer, segment);
  }

  /** Up to here the segment is drained when this is done. */
  get toSeq(): number {
    return this.#plan.toSeq;
  }

  start(): void {
    if (this.#plan.runs.length === 0) {
      // All of it is overtaken by what is newer: a later round takes that. But that there was something in the segment is kept: a start that finds a RESIZE next in the log
      // zeroes what it cuts off only where there was, and a replica that has taken up what was there is brought up by that.
      if (this.#fromSeq === 0) return this.#synced();
      this.#index.drained(this.segment, this.toSeq);
      return this.onEnd('done');
    }
    for (let i = 0; i < this.pace.lanes; i++) this.#lane();
  }

  /** What is under way ends; nothing more is read from the log, which is about to close. */
  stop(): void {
    if (this.#outcome !== 'done') return;
    this.#outcome = 'stopped';
    this.poke();
  }

  /** Something has become durable, or it is to stop. */
  poke(): void {
    if (this.#isSynced) this.#commit();
  }

  /** One lane goes from run to run. */
  #lane(): void {
    const run = this.#outcome === 'done' ? this.#runs[this.#next] : undefined;
    if (run === undefined) {
      if (this.#lanes === 0 && !this.#ended) this.#written();
      return;
    }
    this.#next++;
    this.#lanes++;
    const { extents } = this.vdisk.ports;
    const buffers = this.vdisk.ports.buffers.reserved;
    const { layer } = this.vdisk.state;
    if (run.isZero) {
      const owner: ReadOwner = { onRead: (_tag, result) => this.#runEnded(result) };
      extents.punch(layer, this.segment, run.block, run.blocks, owner, 0);
      return;
    }
    const bytes = run.blocks * BLOCK_BYTES;
    const write = (offset: number): void => {
      // It may have waited long for its buffer.
      if (this.#outcome !== 'done') return this.#runDone(offset, 0);
      this.#fill(run, offset, isReadable => {
        if (this.#outcome !== 'done') return this.#runDone(offset, 0);
        if (!isReadable) return this.#runDone(offset, 0, 'unreadable');
        extents.write(layer, this.segment, run.block, run.blocks, offset, { onRead: (_tag, result) => this.#runDone(offset, result) }, 0);
      });
    };
    const offset = buffers.take(bytes);
    if (offset >= 0) write(offset);
    else buffers.wait(bytes, { onBuffer: (_tag, given) => write(given) }, 0);
  }

  #runDone(offset: number, result: number, outcome: DrainOutcome = 'done'): void {
    this.vdisk.ports.buffers.reserved.give(offset);
    this.#runEnded(result, outcome);
  }

  #runEnded(result: number, outcome: DrainOutcome = 'done'): void {
    this.#lanes--;
    const found = result >= 0 ? outcome : result === ENOSPC ? 'no-space' : 'failed';
    // The gravest counts: what failed is not tried again (rule 6).
    if (SEVERITY[found] > SEVERITY[this.#outcome]) this.#outcome = found;
    this.#lane();
  }

  /** The run's content into the buffer: from the cache while that has this version, else from the log. `done(false)`: the log cannot be read now. */
  #fill(run: DrainRun, offset: number, done: (isReadable: boolean) => void): void {
    const { arena } = this.vdisk.ports;
    let pending = 1;
    let isReadable = true;
    const landed = (isBlockReadable: boolean): void => {
      isReadable &&= isBlockReadable;
      if (--pending === 0) done(isReadable);
    };
    for (let i = 0; i < run.blocks; i++) {
      const to = offset + i * BLOCK_BYTES;
      const page = this.#cached(run, i);
      if (page >= 0) {
        arena.bytes.copyWithin(to, page, page + BLOCK_BYTES);
        if (this.#isGood(run, i, to)) continue;
      }
      pending++;
      this.#readBlock(run, i, to, landed);
    }
    landed(true);
  }

  #cached(run: DrainRun, i: number): number {
    const { index, cacheOwner, ports } = this.vdisk;
    const block = this.segment * BLOCKS_PER_SEGMENT + run.block + i;
    const isCurrent = index.find(block) === Where.log && index.found.seq === this.#plan.seq[run.at + i];
    return isCurrent ? ports.cache.find(cacheOwner, block) : -1;
  }

  #isGood(run: DrainRun, i: number, at: number): boolean {
    return crc32c(this.vdisk.ports.arena.bytes.subarray(at, at + BLOCK_BYTES)) === this.#plan.crc[run.at + i];
  }

  /**
   * A block that cannot be read whole is asked of other replicas. If nobody has it: a read error may pass: the log is kept, and read again by a later
   * round. A block that was read, each time with a wrong checksum, is damaged: it goes to the extents as it is, under its true checksum. Whoever reads it
   * gets EIO, as before, and everything else of the vdisk, and of the log, goes on. The two are counted apart: errors are no evidence of damage.
   */
  #readBlock(run: DrainRun, i: number, to: number, landed: (isReadable: boolean) => void, errors = 0, mismatches = 0): void {
    const { vdisk } = this;
    const owner: ReadOwner = {
      onRead: (_tag, result) => {
        const isRead = result === BLOCK_BYTES;
        if (isRead && this.#isGood(run, i, to)) return landed(true);
        if (this.#outcome !== 'done') return landed(false);
        if (isRead ? mismatches < MAX_REREADS : errors < MAX_REREADS) {
          return this.#readBlock(run, i, to, landed, errors + Number(!isRead), mismatches + Number(isRead));
        }
        this.#fromOthers(run, i, to, isFound => {
          if (isFound || this.#outcome !== 'done') return landed(isFound);
          // Of unreadable ones the first: the round ends with it.
          if (!isRead) this.#outcome = 'unreadable';
          const errno = isRead ? 0 : result < 0 ? -result : EIO;
          vdisk.host.onBadBlock(vdisk.state.vdiskId, this.#numberOf(run, i) * BLOCK_BYTES, errno, BLOCK_BYTES);
          landed(isRead);
        });
      },
    };
    vdisk.ports.log.readPayload(this.#plan.lsn[run.at + i]!, BLOCK_BYTES, to, owner, 0);
  }

  #numberOf(run: DrainRun, i: number): number {
    return this.segment * BLOCKS_PER_SEGMENT + run.block + i;
  }

  #fromOthers(run: DrainRun, i: number, to: number, done: (isFound: boolean) => void): void {
    const { copies } = this.vdisk.host;
    if (copies === undefined) return done(false);
    const { seq, crc } = this.#plan;
    const at = run.at + i;
    copies.fetch({ block: this.#numberOf(run, i), seqs: [seq[at]!], crcs: [crc[at]!] }, to, ([isGood]) => done(isGood === true));
  }

  #written(): void {
    this.#ended = true;
    if (this.#outcome !== 'done') return this.onEnd(this.#outcome);
    if (this.mutations.commitBeforeSync) return this.#synced();
    const { extents } = this.vdisk.ports;
    const owner: ReadOwner = {
      onRead: (_tag, result) => (result < 0 ? this.onEnd(result === ENOSPC ? 'no-space' : 'failed') : this.#synced()),
    };
    extents.sync(this.vdisk.state.layer, this.segment, owner, 0);
  }

  #synced(): void {
    this.#isSynced = true;
    this.#commit();
  }

  /** A start takes everything up to `toSeq` for drained. A newer version that is in memory alone would take the older one with it. */
  #commit(): void {
    // What was newer than this has been cut, perhaps: it is planned anew.
    if (this.vdisk.index !== this.#index) this.#outcome = 'stopped';
    const isCovered = this.#outcome === 'done' && (this.vdisk.drainableSeq >= this.#newestSeq || this.mutations.leavesOutHeld === true);
    if (!isCovered && this.#outcome === 'done') return;
    this.#isSynced = false;
    if (isCovered) this.#storeStates();
    else this.onEnd('stopped');
  }

  #probe(): void {
    const { probes, clock } = this.vdisk.ports;
    const blocks = this.#plan.runs.reduce((sum, run) => sum + (run.isZero ? 0 : run.blocks), 0);
    probes.drain.record(blocks * BLOCK_BYTES, 0, clock.nowNs - this.#beganNs);
  }

  #storeStates(): void {
    const { store } = this.vdisk.ports;
    const { layer } = this.vdisk.state;
    const { toSeq, block, blocks, state, crc, seq } = this.#plan;
    const commit = { layer, segment: this.segment, fromSeq: this.#fromSeq, toSeq, count: block.length, block, blocks, state, crc, seq };
    const owner: StoreOwner = {
      onCommitted: (_tag, ok) => {
        assert(ok, 'the door of a segment was shut for its only drain');
        this.vdisk.index.drained(this.segment, this.toSeq);
        this.#probe();
        this.onEnd('done');
      },
      onLayerCreated: () => undefined,
      onStoreFull: () => this.onEnd('no-space'),
      onStoreFailed: () => this.onEnd('failed'),
    };
    store.commitDrain(commit, owner, 0);
  }
}
