import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import { Where } from '../core/block-index.js';
import type { Controller } from '../core/controller.js';
import { planDrain, type DrainPlan } from '../core/drain-planner.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, type ReadOwner, type StoreOwner } from '../core/ports.js';
import { DRAIN_LANES, MAX_RUN_BLOCKS } from './limits.js';

export type DrainOutcome = 'done' | 'no-space' | 'corrupt' | 'failed' | 'stopped';

/** Planted bugs, for tests alone. */
export interface DrainMutations {
  /** The store vouches for data that may not be on stable storage. */
  readonly commitBeforeSync?: boolean;
}

const ENOSPC = -28;

/**
 * Brings one segment of a vdisk up to `toSeq`. Crash order: (1) runs are written and holes punched in the extents, in any order; (2) the
 * extents are synced; (3) one transaction of the block store says state, checksum and seq of each block, and the segment's drainSeq. A crash
 * before (3) is durable leaves the old drainSeq: the log still has everything after it, and the drain is done again.
 */
export class SegmentDrain {
  readonly #plan: DrainPlan;
  #next = 0;
  #lanes = 0;
  #outcome: DrainOutcome = 'done';
  #ended = false;

  constructor(
    readonly controller: Controller,
    readonly segment: number,
    readonly toSeq: number,
    readonly mutations: DrainMutations,
    readonly onEnd: (outcome: DrainOutcome) => void,
  ) {
    this.#plan = planDrain(controller.index.segment(segment)!, toSeq, MAX_RUN_BLOCKS);
  }

  start(): void {
    // Everything here is newer than the round: the next one takes it.
    if (this.#plan.runs.length === 0) return this.onEnd('done');
    for (let i = 0; i < DRAIN_LANES; i++) this.#lane();
  }

  /** What is under way ends; nothing more is read from the log, which is about to close. */
  stop(): void {
    if (this.#outcome === 'done') this.#outcome = 'stopped';
  }

  /** One lane goes from run to run. */
  #lane(): void {
    const run = this.#outcome === 'done' ? this.#plan.runs[this.#next] : undefined;
    if (run === undefined) {
      if (this.#lanes === 0 && !this.#ended) this.#written();
      return;
    }
    this.#next++;
    this.#lanes++;
    const { extents } = this.controller.ports;
    const buffers = this.controller.ports.buffers.reserved;
    const { layer } = this.controller.state;
    if (run.isZero) {
      const owner: ReadOwner = { onRead: (_tag, result) => this.#runEnded(result) };
      extents.punch(layer, this.segment, run.block, run.blocks, owner, 0);
      return;
    }
    const bytes = run.blocks * BLOCK_BYTES;
    const write = (offset: number): void => {
      // It may have waited long for its buffer.
      if (this.#outcome !== 'done') return this.#runDone(offset, 0);
      this.#fill(run, offset, ok => {
        if (!ok) return this.#runDone(offset, -1, 'corrupt');
        extents.write(layer, this.segment, run.block, run.blocks, offset, { onRead: (_tag, result) => this.#runDone(offset, result) }, 0);
      });
    };
    const offset = buffers.take(bytes);
    if (offset >= 0) write(offset);
    else buffers.wait(bytes, { onBuffer: (_tag, given) => write(given) }, 0);
  }

  #runDone(offset: number, result: number, outcome?: DrainOutcome): void {
    this.controller.ports.buffers.reserved.give(offset);
    this.#runEnded(result, outcome);
  }

  #runEnded(result: number, outcome?: DrainOutcome): void {
    this.#lanes--;
    if (result < 0) this.#outcome = outcome ?? (result === ENOSPC ? 'no-space' : 'failed');
    this.#lane();
  }

  /** The run's content into the buffer: from the cache while that has this version, else from the log; each block's checksum is verified. */
  #fill(run: DrainPlan['runs'][number], offset: number, done: (ok: boolean) => void): void {
    const { controller, segment } = this;
    const { arena, cache, log } = controller.ports;
    let pending = 1;
    let good = true;
    const check = (i: number): void => {
      const from = offset + i * BLOCK_BYTES;
      if (crc32c(arena.bytes.subarray(from, from + BLOCK_BYTES)) === run.crc[i]) return;
      good = false;
      controller.host.onCorruptBlock(controller.state.vdiskId, (segment * BLOCKS_PER_SEGMENT + run.block + i) * BLOCK_BYTES);
    };
    const landed = (): void => {
      if (--pending === 0) done(good);
    };
    for (let i = 0; i < run.blocks; i++) {
      const block = segment * BLOCKS_PER_SEGMENT + run.block + i;
      const current = controller.index.find(block) === Where.log && controller.index.found.seq === run.seq[i];
      const page = current ? cache.find(controller.cacheOwner, block) : -1;
      const to = offset + i * BLOCK_BYTES;
      if (page >= 0) {
        arena.bytes.copyWithin(to, page, page + BLOCK_BYTES);
        check(i);
        continue;
      }
      pending++;
      const owner: ReadOwner = {
        onRead: () => {
          check(i);
          landed();
        },
      };
      log.readPayload(run.lsn[i]!, BLOCK_BYTES, to, owner, 0);
    }
    landed();
  }

  #written(): void {
    this.#ended = true;
    if (this.#outcome !== 'done') return this.onEnd(this.#outcome);
    if (this.mutations.commitBeforeSync) return this.#commit();
    const { extents } = this.controller.ports;
    const owner: ReadOwner = {
      onRead: (_tag, result) => (result < 0 ? this.onEnd(result === ENOSPC ? 'no-space' : 'failed') : this.#commit()),
    };
    extents.sync(this.controller.state.layer, this.segment, owner, 0);
  }

  #commit(): void {
    const { store } = this.controller.ports;
    const { layer } = this.controller.state;
    const { runs } = this.#plan;
    const count = runs.reduce((sum, run) => sum + (run.isZero ? 1 : run.blocks), 0);
    const commit = {
      layer,
      segment: this.segment,
      fromSeq: store.drainSeq(layer, this.segment),
      toSeq: this.toSeq,
      count,
      block: new Int32Array(count),
      blocks: new Int32Array(count),
      state: new Uint8Array(count),
      crc: new Uint32Array(count),
      seq: new Float64Array(count),
    };
    let at = 0;
    for (const run of runs) {
      for (let i = 0; i < (run.isZero ? 1 : run.blocks); i++, at++) {
        commit.block[at] = run.block + i;
        commit.blocks[at] = run.isZero ? run.blocks : 1;
        commit.state[at] = run.isZero ? BlockState.zero : BlockState.data;
        commit.crc[at] = run.crc[i] ?? 0;
        commit.seq[at] = run.seq[i]!;
      }
    }
    const owner: StoreOwner = {
      onCommitted: (_tag, ok) => {
        assert(ok, 'the door of a segment was shut for its only drain');
        this.controller.index.drained(this.segment, this.toSeq);
        this.onEnd('done');
      },
      onLayerCreated: () => undefined,
      onStoreFailed: () => this.onEnd('failed'),
    };
    store.commitDrain(commit, owner, 0);
  }
}
