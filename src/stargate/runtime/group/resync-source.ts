import { randomUUID } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { EntryList } from '../../../wire/peers.js';
import type { MemberId } from '../../../wire/replicate.js';
import { encodeSessions, type PlaceRecord } from '../../core/head.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates } from '../../core/ports.js';
import type { GroupVdisk } from './group-vdisk.js';
import { RESYNC_BLOCKS, RESYNC_DRAIN_POLL_MS, RESYNC_HOLD_FILL, RESYNC_REREADS, RESYNC_SHRINK, RESYNC_TIMEOUT_MS } from './limits.js';
import { encodeResync, type ResyncReply, type ResyncRequest, type ResyncRun } from '../../core/replication/resync-messages.js';

/** How far a replica has been brought up. `share`: of the segments, 0 to 1; `leftMs` goes on as fast as it went so far; null: not known yet. */
export interface ResyncProgress {
  readonly member: MemberId;
  readonly sentBlocks: number;
  readonly share: number;
  readonly leftMs: number | null;
}

/** Too little to tell from it how long the rest takes. */
const MIN_SHARE = 0.01;
/** Done, when all segments have been gone over once and some were drained meanwhile. */
const LATER_SHARE = 0.99;

/** A data block that could not be read whole. */
interface BadBlock {
  /** Among all blocks of the runs. */
  readonly n: number;
  /** In its segment. */
  readonly block: number;
  /** Of its content in the arena. */
  readonly place: number;
}

type Wish = ResyncRequest extends infer R ? (R extends ResyncRequest ? Omit<R, 'id' | 'step'> : never) : never;

/**
 * Gives a replica that is too far behind for the log what it lacks of the extents: of each segment the blocks that were changed after it was drained there
 * last. Drains go on meanwhile: a segment is gone over again until none has come between. The log is kept from where it was drained to at the beginning, so that the replica finds in it
 * what comes after its extents; where that becomes too much, it is let go, and after this sweep over the segments comes another one, from where the log is drained to by then. One question
 * at a time; silence ends it, and the next attempt goes on where the replica is.
 */
export class ResyncSource {
  /** All segments have everything up to here when this sweep over them is done. */
  #base: PlaceRecord;
  /** The log is kept behind it. */
  #isHolding = true;
  /** Not once the replica has been told behind what its log is to begin. */
  #mayLetGo = true;
  #sweepBeganMs: number;
  #lastSweepMs = Infinity;
  readonly #id = randomUUID();
  readonly #list = new EntryList();
  readonly #states = newBlockStates(RESYNC_BLOCKS);
  #step = 0;
  #askedMs: number;
  #then: ((reply: ResyncReply) => void) | null = null;
  #buffer = -1;
  #isOver = false;
  sentBlocks = 0;
  readonly #startedMs: number;
  /** Segments to go over, those that are done, and the furthest block in the one after them: it may be gone over again. */
  #segments = 0;
  #segmentsDone = 0;
  #furthestBlock = 0;

  constructor(
    readonly group: GroupVdisk,
    readonly member: MemberId,
    readonly term: number,
    readonly onEnd: (isDone: boolean) => void,
  ) {
    this.#base = group.local.drained;
    this.#askedMs = this.#startedMs = this.#sweepBeganMs = group.parts.nowMs;
  }

  /** The log is kept from behind this entry on. */
  get holdSeq(): number {
    return this.#isHolding ? this.#base.seq : Infinity;
  }

  /** Of the first sweep: those behind it bring what was drained meanwhile, and nobody knows how much that will be. */
  get progress(): ResyncProgress {
    const { member, sentBlocks } = this;
    if (this.#lastSweepMs < Infinity) return { member, sentBlocks, share: LATER_SHARE, leftMs: null };
    const share = this.#segments === 0 ? 0 : Math.min(1, (this.#segmentsDone + this.#furthestBlock / BLOCKS_PER_SEGMENT) / this.#segments);
    const tookMs = this.group.parts.nowMs - this.#startedMs;
    return { member, sentBlocks, share, leftMs: share < MIN_SHARE ? null : Math.round((tookMs * (1 - share)) / share) };
  }

  start(): void {
    const { buffers } = this.group.parts.ports;
    const begin = (offset: number): void => {
      this.#buffer = offset;
      if (this.#isOver) return this.#giveBuffer();
      this.#ask({ kind: 'begin' }, 0, () => this.#sweep());
    };
    const offset = buffers.take(RESYNC_BLOCKS * BLOCK_BYTES);
    if (offset >= 0) begin(offset);
    else buffers.wait(RESYNC_BLOCKS * BLOCK_BYTES, { onBuffer: (_tag, given) => begin(given) }, 0);
  }

  onReply(reply: ResyncReply): void {
    const then = this.#then;
    if (this.#isOver || then === null || reply.id !== this.#id || reply.step !== this.#step) return;
    this.#then = null;
    then(reply);
  }

  onTick(nowMs: number): void {
    if (this.#then !== null && nowMs - this.#askedMs > RESYNC_TIMEOUT_MS) return this.end(false);
    const { usedBytes, capacityBytes } = this.group.stream.usage;
    if (!this.#isHolding || !this.#mayLetGo || usedBytes <= capacityBytes * RESYNC_HOLD_FILL) return;
    this.#isHolding = false;
    this.group.local.forget();
  }

  end(isDone: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // While blocks are being read into it, the buffer is not given back: then its last read does.
    if (this.#reading === 0) this.#giveBuffer();
    this.onEnd(isDone);
  }

  #reading = 0;

  #giveBuffer(): void {
    if (this.#buffer >= 0) this.group.parts.ports.buffers.give(this.#buffer);
    this.#buffer = -1;
  }

  #ask(wish: Wish, payloadBytes: number, then: (reply: ResyncReply) => void): void {
    if (this.#isOver) return;
    const { parts, vdiskId } = this.group;
    const data = encodeResync({ ...wish, id: this.#id, step: ++this.#step });
    this.#list.clear();
    if (payloadBytes > 0) this.#list.add(parts.headers.baseOffset, this.#buffer, payloadBytes);
    this.#then = then;
    this.#askedMs = parts.nowMs;
    parts.sender.send(this.member, vdiskId, { kind: 'resync', term: this.term, data }, this.#list);
  }

  // ---------------------------------------------------------------- segments

  /** Over all segments that there are by now. */
  #sweep(): void {
    const segments = this.group.parts.ports.store.segments(this.group.options.layer).map(one => one.segment);
    this.#segments = segments.length;
    this.#nextSegment(segments, 0);
  }

  #sweepEnded(): void {
    if (this.#isHolding) return this.#finish();
    const { nowMs } = this.group.parts;
    const tookMs = nowMs - this.#sweepBeganMs;
    this.#mayLetGo = tookMs <= this.#lastSweepMs * RESYNC_SHRINK;
    this.#lastSweepMs = tookMs;
    this.#sweepBeganMs = nowMs;
    this.#base = this.group.local.drained;
    this.#isHolding = true;
    this.#sweep();
  }

  #nextSegment(segments: readonly number[], i: number): void {
    const segment = segments[i];
    this.#segmentsDone = i;
    this.#furthestBlock = 0;
    if (segment === undefined) return this.#sweepEnded();
    this.#ask({ kind: 'open', segment }, 0, ({ drainSeq }) => {
      this.#pass(segment, drainSeq, drainSeq, () => this.#nextSegment(segments, i + 1));
    });
  }

  /** Everything above `aboveSeq`; and again what drains have brought meanwhile. `thereSeq`: where the replica's door is. */
  #pass(segment: number, aboveSeq: number, thereSeq: number, done: () => void): void {
    const { store } = this.group.parts.ports;
    const toSeq = store.drainSeq(this.group.options.layer, segment);
    // It may be further than this one is: it drains for itself.
    if (toSeq <= thereSeq) return done();
    const end = (): void => {
      if (this.#isOver) return;
      const nowSeq = store.drainSeq(this.group.options.layer, segment);
      // A drain whose answer is still to come shows in what was looked up already.
      if (nowSeq < this.#seenSeq) return this.group.parts.after(RESYNC_DRAIN_POLL_MS, end);
      if (nowSeq > toSeq) return this.#pass(segment, toSeq, thereSeq, done);
      this.#ask({ kind: 'close', toSeq }, 0, done);
    };
    this.#seenSeq = this.#passSeq = toSeq;
    this.#refilledAt = -1;
    this.#chunk(segment, 0, aboveSeq, end);
  }

  /** Where the door was when this pass began. */
  #passSeq = 0;
  /** Others were asked what the blocks from here on are: their record is damaged. */
  #refilledAt = -1;

  #refill(segment: number, block: number, then: () => void): void {
    this.#refilledAt = block;
    this.group.repair.refill(segment * BLOCKS_PER_SEGMENT + block, RESYNC_BLOCKS, () => {
      if (!this.#isOver) then();
    });
  }

  /** Nobody knows what they are, nor how old: they go as that. Everything else of the vdisk has to be brought up. */
  #nameLost(): void {
    const { state, seq } = this.#states;
    for (let i = 0; i < RESYNC_BLOCKS; i++) if (state[i] === BlockState.lost && seq[i] === 0) seq[i] = this.#passSeq;
  }

  /** Highest seq of a block in this pass. */
  #seenSeq = 0;

  #chunk(segment: number, block: number, aboveSeq: number, done: () => void): void {
    const { store } = this.group.parts.ports;
    const { layer } = this.group.options;
    const states = this.#states;
    this.#furthestBlock = Math.max(this.#furthestBlock, block);
    let at = block;
    for (; at < BLOCKS_PER_SEGMENT; at += RESYNC_BLOCKS) {
      // Most of a segment may never have been written.
      const next = store.nextChanged(layer, segment, at, aboveSeq);
      if (next >= BLOCKS_PER_SEGMENT) return done();
      at = next - (next % RESYNC_BLOCKS);
      if (!store.lookup(layer, segment, at, RESYNC_BLOCKS, states)) {
        if (this.#refilledAt !== at) return this.#refill(segment, at, () => this.#chunk(segment, at, aboveSeq, done));
        this.#nameLost();
      }
      if (states.seq.some((seq, i) => seq > aboveSeq && states.state[i] !== BlockState.absent)) break;
    }
    if (at >= BLOCKS_PER_SEGMENT) return done();
    const { runs, seqs, crcs } = this.#runsAbove(at, aboveSeq);
    this.#read(segment, runs, crcs, bad => {
      // A drain has come between, or the disk gives errors: what is there now is found by looking again.
      if (bad.length > 0 && ++this.#rereads <= RESYNC_REREADS) return this.#chunk(segment, at, aboveSeq, done);
      this.#rereads = 0;
      this.#mend(segment, bad, seqs, crcs, () => {
        this.sentBlocks += seqs.length;
        const dataBlocks = runs.reduce((sum, one) => sum + (one.state === BlockState.data ? one.blocks : 0), 0);
        this.#ask({ kind: 'blocks', runs, seqs, crcs }, dataBlocks * BLOCK_BYTES, () =>
          this.#chunk(segment, at + RESYNC_BLOCKS, aboveSeq, done),
        );
      });
    });
  }

  /** What is damaged here may be whole at others. What nobody has goes as it is, under its true checksum: everything else of the vdisk has to be brought up. */
  #mend(segment: number, bad: readonly BadBlock[], seqs: readonly number[], crcs: readonly number[], done: () => void): void {
    const { repair } = this.group;
    let pending = 1;
    this.#reading++;
    const landed = (): void => {
      if (--pending === 0) this.#landed(done);
    };
    for (const { n, block, place } of bad) {
      pending++;
      const wanted = { block: segment * BLOCKS_PER_SEGMENT + block, seqs: [seqs[n]!], crcs: [crcs[n]!] };
      repair.fetch(wanted, place, ([isGood]) => {
        if (isGood === true) repair.repair(wanted.block, seqs[n]!, crcs[n]!, place);
        landed();
      });
    }
    landed();
  }

  /** Of what uses the buffer, one has ended. */
  #landed(done: () => void): void {
    if (--this.#reading > 0) return;
    if (this.#isOver) this.#giveBuffer();
    else done();
  }

  #rereads = 0;

  #runsAbove(first: number, aboveSeq: number): { runs: ResyncRun[]; seqs: number[]; crcs: number[] } {
    const { state, seq, crc } = this.#states;
    const runs: ResyncRun[] = [];
    const seqs: number[] = [];
    const crcs: number[] = [];
    for (let i = 0; i < RESYNC_BLOCKS; i++) {
      if (state[i] === BlockState.absent || seq[i]! <= aboveSeq) continue;
      const last = runs.at(-1);
      const own = state[i] as ResyncRun['state'];
      if (last?.state === own && last.block + last.blocks === first + i) last.blocks++;
      else runs.push({ block: first + i, blocks: 1, state: own });
      seqs.push(seq[i]!);
      this.#seenSeq = Math.max(this.#seenSeq, seq[i]!);
      crcs.push(crc[i]!);
    }
    return { runs, seqs, crcs };
  }

  /** The data of the runs, one behind the other in the buffer. */
  #read(segment: number, runs: readonly ResyncRun[], crcs: readonly number[], done: (bad: readonly BadBlock[]) => void): void {
    const { extents, arena } = this.group.parts.ports;
    let place = this.#buffer;
    let n = 0;
    const bad: BadBlock[] = [];
    this.#reading++;
    const landed = (): void => this.#landed(() => done(bad));
    for (const { block, blocks, state } of runs) {
      const [from, first] = [place, n];
      n += blocks;
      if (state !== BlockState.data) continue;
      place += blocks * BLOCK_BYTES;
      this.#reading++;
      const onRead = (_tag: number, result: number): void => {
        for (let i = 0; i < blocks; i++) {
          const at = from + i * BLOCK_BYTES;
          const isGood = result >= (i + 1) * BLOCK_BYTES && crc32c(arena.bytes.subarray(at, at + BLOCK_BYTES)) === crcs[first + i];
          if (!isGood) bad.push({ n: first + i, block: block + i, place: at });
        }
        landed();
      };
      extents.read(this.group.options.layer, segment, block, blocks, from, { onRead }, 0);
    }
    landed();
  }

  // ---------------------------------------------------------------- the end

  #finish(): void {
    this.#mayLetGo = false;
    const { arena } = this.group.parts.ports;
    const { at, sizeBytes, sessions } = this.group.local.headRecord();
    const bytes = encodeSessions(sessions);
    arena.bytes.set(bytes, this.#buffer);
    this.#ask({ kind: 'finish', base: this.#base, at, sizeBytes }, bytes.length, () => this.end(true));
  }
}
