import { crc32c } from '@node-rs/crc32';
import type { Engine } from 'uring-engine';
import { Where } from '../core/block-index.js';
import type { ControllerPorts } from '../core/controller.js';
import type { Drainable } from '../core/drainable.js';
import { MAX_REREADS } from '../core/limits.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates, RECORD_BLOCKS } from '../core/ports.js';
import { SCRUB_BLOCKS, SCRUB_LOOKUPS, SCRUB_REST_NS, SCRUB_RUN_BLOCKS } from './limits.js';

export interface ScrubberOptions {
  readonly engine: Engine;
  readonly ports: Pick<ControllerPorts, 'arena' | 'buffers' | 'extents' | 'store'>;
  /** 0: nothing is read, until {@link Scrubber.setRate}. */
  readonly bytesPerSecond: number;
  /** Those whose extents are what the block store says. Asked again at each step. */
  readonly vdisks: () => readonly Drainable[];
}

export interface ScrubProgress {
  /** Times that all has been read since the start. */
  readonly passes: number;
  /** Of the pass that is under way. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
}

const NS_PER_SECOND = 1e9;
const RUN_BYTES = SCRUB_RUN_BLOCKS * BLOCK_BYTES;

/**
 * Reads all blocks of a shard's extents, again and again, slowly, and holds them against their checksums: so damage is found while another replica has the
 * block whole, and not when that is needed. One run at a time; when the shard has no buffer to spare it waits.
 */
export class Scrubber {
  readonly #client: number;
  readonly #states = newBlockStates(SCRUB_BLOCKS);
  /** Vdisks of the pass that are still to be read, and where in the first one it is. */
  #left: Drainable[] = [];
  #segments: number[] = [];
  #block = 0;
  /** The record that others were asked for last, among those of the vdisk. */
  #refilled = -1;
  #passes = -1;
  #doneBytes = 0;
  #totalBytes = 0;
  #bytesPerSecond: number;
  /** Something is under way that goes on by itself. */
  #isUnderWay = false;
  #isStopped = false;

  constructor(readonly options: ScrubberOptions) {
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#client = options.engine.register({ onCompletion: () => this.#step() });
    this.#after(SCRUB_REST_NS);
  }

  /** Null: it is off. */
  get progress(): ScrubProgress | null {
    const bytesPerSecond = this.#bytesPerSecond;
    if (bytesPerSecond === 0) return null;
    return { passes: Math.max(0, this.#passes), doneBytes: this.#doneBytes, totalBytes: this.#totalBytes, bytesPerSecond };
  }

  /** From the next run on. Off, and on again, it goes on where it was. */
  setRate(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
    if (!this.#isUnderWay) this.#afterRun(1);
  }

  stop(): void {
    this.#isStopped = true;
  }

  #after(ns: number): void {
    this.#isUnderWay = !this.#isStopped && this.#bytesPerSecond > 0;
    if (this.#isUnderWay) this.options.engine.timer(ns, this.#client, 0);
  }

  #afterRun(blocks: number): void {
    this.#after(Math.ceil((blocks * BLOCK_BYTES * NS_PER_SECOND) / this.#bytesPerSecond));
  }

  #step(): void {
    if (this.#isStopped) return;
    const vdisks = this.options.vdisks();
    const current = this.#left[0];
    this.#left = this.#left.filter(one => vdisks.includes(one));
    if (this.#left[0] !== current) this.#beginVdisk();
    if (this.#left.length === 0) return this.#beginPass(vdisks);
    const { buffers } = this.options.ports;
    const offset = buffers.take(RUN_BYTES);
    // Others need them more.
    if (offset < 0) return this.#afterRun(SCRUB_RUN_BLOCKS);
    const vdisk = this.#left[0]!;
    if (!this.#findRun(vdisk, offset)) {
      buffers.give(offset);
      this.#afterRun(1);
    }
  }

  #beginPass(vdisks: readonly Drainable[]): void {
    const { store } = this.options.ports;
    this.#left = [...vdisks];
    this.#passes++;
    this.#doneBytes = 0;
    this.#totalBytes = vdisks.reduce((sum, one) => sum + store.allocatedBytes(one.state.layer), 0);
    this.#beginVdisk();
    this.#after(SCRUB_REST_NS);
  }

  #beginVdisk(): void {
    const vdisk = this.#left[0];
    this.#refilled = -1;
    this.#segments = vdisk === undefined ? [] : this.options.ports.store.segments(vdisk.state.layer).map(one => one.segment);
    this.#block = 0;
  }

  /** Goes on to the next data that is to be read, and reads it. False: none was found so far. */
  #findRun(vdisk: Drainable, offset: number): boolean {
    for (let looks = 0; looks < SCRUB_LOOKUPS; looks++) {
      const segment = this.#segments[0];
      if (segment === undefined) {
        this.#left.shift();
        this.#beginVdisk();
        return false;
      }
      const first = this.#block;
      const within = first % SCRUB_BLOCKS;
      const blocks = SCRUB_BLOCKS - within;
      const isKnown = this.options.ports.store.lookup(vdisk.state.layer, segment, first, blocks, this.#states);
      const from = this.#states.state.subarray(0, blocks).indexOf(BlockState.data);
      const lost = isKnown ? [] : this.#lostBelow(vdisk, segment, first, from < 0 ? blocks : from);
      if (lost.length > 0 && this.#refill(vdisk, segment, first, offset)) return true;
      for (const one of lost) this.#lost(vdisk, segment, one.block, one.blocks);
      let count = 0;
      while (from >= 0 && count < SCRUB_RUN_BLOCKS && from + count < blocks && this.#states.state[from + count] === BlockState.data)
        count++;
      this.#goTo(first + (from < 0 ? blocks : from + count));
      if (count === 0) continue;
      this.#read(
        vdisk,
        segment,
        first + from,
        this.#states.crc.slice(from, from + count),
        this.#states.seq.slice(from, from + count),
        offset,
      );
      return true;
    }
    return false;
  }

  #goTo(block: number): void {
    this.#block = block;
    if (block < BLOCKS_PER_SEGMENT) return;
    this.#segments.shift();
    this.#block = 0;
  }

  /** Ranges of which nobody here knows what they are, and that the log has nothing newer of. */
  #lostBelow(vdisk: Drainable, segment: number, first: number, blocks: number): { block: number; blocks: number }[] {
    const ranges: { block: number; blocks: number }[] = [];
    for (let i = 0; i < blocks; i++) {
      const block = first + i;
      if (this.#states.state[i] !== BlockState.lost || vdisk.index.find(segment * BLOCKS_PER_SEGMENT + block) !== Where.notHere) continue;
      const last = ranges.at(-1);
      if (last !== undefined && last.block + last.blocks === block) last.blocks++;
      else ranges.push({ block, blocks: 1 });
    }
    return ranges;
  }

  /** As long as that brings something. False: it was tried. Then it goes on from the same block. */
  #refill(vdisk: Drainable, segment: number, block: number, offset: number): boolean {
    const { copies } = vdisk.host;
    const number = segment * BLOCKS_PER_SEGMENT + block;
    const record = Math.floor(number / RECORD_BLOCKS);
    if (copies === undefined || this.#refilled === record) return false;
    this.#refilled = record;
    copies.refill(number, 1, isRefilled => {
      if (isRefilled) this.#refilled = -1;
      this.options.ports.buffers.give(offset);
      this.#afterRun(1);
    });
    return true;
  }

  #lost(vdisk: Drainable, segment: number, block: number, blocks: number): void {
    vdisk.host.onBadBlock(vdisk.state.vdiskId, (segment * BLOCKS_PER_SEGMENT + block) * BLOCK_BYTES, 0, blocks * BLOCK_BYTES);
  }

  #read(vdisk: Drainable, segment: number, block: number, crcs: Uint32Array, seqs: Float64Array, offset: number): void {
    const { arena, extents, buffers } = this.options.ports;
    const { length } = crcs;
    const onRead = (_tag: number, result: number): void => {
      this.#doneBytes += length * BLOCK_BYTES;
      const bad: number[] = [];
      for (let i = 0; i < length; i++) {
        const at = offset + i * BLOCK_BYTES;
        if (result < (i + 1) * BLOCK_BYTES || crc32c(arena.bytes.subarray(at, at + BLOCK_BYTES)) !== crcs[i]) bad.push(i);
      }
      const next = (): void => {
        const i = bad.shift();
        if (i !== undefined) return this.#recheck(vdisk, segment, block + i, crcs[i]!, seqs[i]!, offset, 0, next);
        buffers.give(offset);
        this.#afterRun(length);
      };
      next();
    };
    extents.read(vdisk.state.layer, segment, block, length, offset, { onRead }, 0);
  }

  /** Damaged it is only if nothing has changed or is about to, and it reads so again. */
  #recheck(
    vdisk: Drainable,
    segment: number,
    block: number,
    crc: number,
    seq: number,
    offset: number,
    errors: number,
    done: () => void,
  ): void {
    const { arena, extents, store } = this.options.ports;
    const number = segment * BLOCKS_PER_SEGMENT + block;
    const isCurrent = (): boolean =>
      !this.#isStopped &&
      this.options.vdisks().includes(vdisk) &&
      vdisk.index.find(number) === Where.notHere &&
      store.lookup(vdisk.state.layer, segment, block, 1, this.#states) &&
      this.#states.state[0] === BlockState.data &&
      this.#states.seq[0] === seq;
    if (!isCurrent()) return done();
    const onRead = (_tag: number, result: number): void => {
      const isGood = result === BLOCK_BYTES && crc32c(arena.bytes.subarray(offset, offset + BLOCK_BYTES)) === crc;
      if (isGood || !isCurrent()) return done();
      if (errors < MAX_REREADS) return this.#recheck(vdisk, segment, block, crc, seq, offset, errors + 1, done);
      this.#mend(vdisk, number, crc, seq, offset, result < 0 ? -result : 0, done);
    };
    extents.read(vdisk.state.layer, segment, block, 1, offset, { onRead }, 0);
  }

  #mend(vdisk: Drainable, number: number, crc: number, seq: number, offset: number, errno: number, done: () => void): void {
    const { copies } = vdisk.host;
    const lost = (): void => {
      vdisk.host.onBadBlock(vdisk.state.vdiskId, number * BLOCK_BYTES, errno, BLOCK_BYTES);
      done();
    };
    if (copies === undefined) return lost();
    copies.fetch({ block: number, seqs: [seq], crcs: [crc] }, offset, ([isGood]) => {
      if (isGood !== true) return lost();
      copies.repair(number, seq, crc, offset);
      done();
    });
  }
}
