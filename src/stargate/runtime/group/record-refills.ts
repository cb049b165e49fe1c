import type { MemberId } from '../../../wire/replicate.js';
import { Where } from '../../core/block-index.js';
import {
  BLOCK_BYTES,
  BLOCKS_PER_SEGMENT,
  BlockState,
  newBlockStates,
  RECORD_BLOCKS,
  type BlockStates,
  type StoreOwner,
} from '../../core/ports.js';
import { encodeCopies, type HaveStates, type WantStates } from '../../core/replication/copy-messages.js';
import type { GroupVdisk } from './group-vdisk.js';
import { COPY_PATIENCE_MS, COPY_TIMEOUT_MS, MAX_COPY_ASKS, REFILL_RETRIES } from './limits.js';

/** A record of which blocks are lost here. */
interface Ask {
  readonly id: string;
  /** First block of the record, in the vdisk. */
  readonly block: number;
  readonly dones: ((isRefilled: boolean) => void)[];
  readonly startedMs: number;
  /** How far the segment is drained here: what others say is as of there. */
  drainSeq: number;
  /** What has come so far. */
  readonly come: BlockStates;
  readonly answered: Set<MemberId>;
  tries: number;
  askedMs: number;
  turn: number;
  /** The store is writing what has come. */
  isWriting: boolean;
}

/**
 * Learns from other replicas what the blocks are of which this one's own record is damaged (rule 24), and writes the record anew. The version of a block as of the segment's
 * drainSeq is the same at every replica: who has everything up to there says its newest version of it, and if that is not newer than the drainSeq, it is the one. Where it is
 * newer, the log here has the newer one too: nobody looks the block up in the record until that is drained, and it stays lost till then.
 *
 * The store applies it only while the drainSeq is still what was asked for, and only to blocks that are lost. What the extents hold is then read by its checksum, as ever:
 * blocks that are damaged as well are the {@link BlockRepair}'s.
 */
export class RecordRefills {
  /** By block. */
  readonly #asks = new Map<number, Ask>();
  readonly #waiting: Ask[] = [];
  readonly #own: BlockStates = newBlockStates(RECORD_BLOCKS);
  #isStopped = false;

  constructor(
    readonly group: GroupVdisk,
    /** Who may know them. */
    readonly sources: () => readonly MemberId[],
  ) {}

  /** All records of the range. */
  refill(block: number, blocks: number, done: (isRefilled: boolean) => void): void {
    const last = Math.floor((block + blocks - 1) / RECORD_BLOCKS);
    let pending = 1;
    let isRefilled = false;
    const landed = (isOne: boolean): void => {
      isRefilled ||= isOne;
      if (--pending === 0) done(isRefilled);
    };
    for (let record = Math.floor(block / RECORD_BLOCKS); record <= last; record++) {
      pending++;
      this.#start(record * RECORD_BLOCKS, landed);
    }
    landed(false);
  }

  onTick(nowMs: number): void {
    for (const ask of [...this.#asks.values()]) if (!ask.isWriting && nowMs - ask.askedMs >= COPY_TIMEOUT_MS) this.#next(ask);
  }

  /** Nobody is asked any more. What the store is writing is answered when it is there. */
  stop(): void {
    this.#isStopped = true;
    for (const ask of [...this.#asks.values(), ...this.#waiting.splice(0)]) if (!ask.isWriting) this.#end(ask, false);
  }

  #start(block: number, done: (isRefilled: boolean) => void): void {
    if (this.#isStopped) return done(false);
    // Somebody else has had it refilled, or it is one beside those that are damaged.
    if (this.#isKnown(block)) return done(true);
    const known = this.#asks.get(block) ?? this.#waiting.find(one => one.block === block);
    if (known !== undefined) return void known.dones.push(done);
    const { nowMs, newNonce } = this.group.parts;
    const common = {
      drainSeq: -1,
      come: newBlockStates(RECORD_BLOCKS),
      answered: new Set<MemberId>(),
      tries: 0,
      turn: 0,
      isWriting: false,
    };
    const ask: Ask = { id: newNonce(), block, dones: [done], startedMs: nowMs, askedMs: nowMs, ...common };
    if (this.#asks.size >= MAX_COPY_ASKS) return void this.#waiting.push(ask);
    this.#asks.set(block, ask);
    this.#next(ask);
  }

  #isKnown(block: number): boolean {
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    const { parts, options } = this.group;
    return parts.ports.store.lookup(options.layer, segment, block % BLOCKS_PER_SEGMENT, RECORD_BLOCKS, this.#own);
  }

  /** Whether something is said of a block that was lost at the last look. */
  #isNews({ state }: BlockStates): boolean {
    return state.some((one, i) => one !== BlockState.lost && this.#own.state[i] === BlockState.lost);
  }

  #next(ask: Ask): void {
    const { parts, vdiskId, replica, log } = this.group;
    const drainSeq = this.#drainSeqOf(ask);
    if (drainSeq !== ask.drainSeq) {
      ask.drainSeq = drainSeq;
      ask.come.state.fill(BlockState.lost);
      ask.answered.clear();
    }
    ask.askedMs = parts.nowMs;
    const sources = this.sources().filter(member => !ask.answered.has(member));
    // Nothing is drained: there is no record to refill.
    if (drainSeq === 0 || this.#isWhole(ask) || sources.length === 0 || parts.nowMs - ask.startedMs >= COPY_PATIENCE_MS)
      return this.#write(ask);
    const data = encodeCopies({ kind: 'wantStates', id: ask.id, block: ask.block, drainSeq, historyId: log.historyId });
    const term = replica.member.promise?.term ?? 0;
    // One that cannot answer now is asked again, after the others.
    parts.sender.send(sources[ask.turn++ % sources.length]!, vdiskId, { kind: 'copies', term, data }, null);
  }

  #drainSeqOf({ block }: Ask): number {
    return this.group.parts.ports.store.drainSeq(this.group.options.layer, Math.floor(block / BLOCKS_PER_SEGMENT));
  }

  /** What is still lost is in the log here, newer. */
  #isWhole({ block, come }: Ask): boolean {
    const { index } = this.group.local;
    return come.state.every((state, i) => state !== BlockState.lost || index.find(block + i) !== Where.notHere);
  }

  onHave(from: MemberId, { id, drainSeq, states, seqs, crcs }: HaveStates): void {
    const ask = [...this.#asks.values()].find(one => one.id === id);
    if (ask === undefined || ask.isWriting || ask.drainSeq !== drainSeq) return;
    const { state, seq, crc } = ask.come;
    const { index } = this.group.local;
    let isAhead = false;
    for (let i = 0; i < RECORD_BLOCKS; i++) {
      if (seqs[i]! > drainSeq) isAhead ||= index.find(ask.block + i) === Where.notHere;
      if (state[i] !== BlockState.lost || seqs[i]! > drainSeq) continue;
      state[i] = states[i]!;
      seq[i] = seqs[i]!;
      crc[i] = crcs[i]!;
    }
    // What it has newer comes here by the log, in a moment: then it is asked again.
    if (isAhead) return;
    ask.answered.add(from);
    this.#next(ask);
  }

  #write(ask: Ask): void {
    const { parts, options, vdiskId, events } = this.group;
    const { block, drainSeq, come } = ask;
    if (this.#isStopped || this.#isKnown(block) || !this.#isNews(come)) return this.#end(ask, false);
    ask.isWriting = true;
    const owner: StoreOwner = {
      onCommitted: (_tag, ok) => {
        ask.isWriting = false;
        // A drain has come between: what was asked for is as of before it.
        if (!ok && !this.#isStopped && ++ask.tries <= REFILL_RETRIES) return this.#next(ask);
        if (ok) {
          parts.rot.refilledRecords++;
          events.refilled(block * BLOCK_BYTES);
        }
        this.#end(ask, ok);
      },
      onLayerCreated: () => undefined,
      onStoreFull: () => this.#end(ask, false),
      onStoreFailed: () => {
        this.#end(ask, false);
        parts.onDataFailed('mending a record of', vdiskId);
      },
    };
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    parts.ports.store.refill({ layer: options.layer, segment, block: block % BLOCKS_PER_SEGMENT, drainSeq, states: come }, owner, 0);
  }

  #end(ask: Ask, isRefilled: boolean): void {
    const wasAsking = this.#asks.delete(ask.block);
    for (const done of ask.dones) done(isRefilled);
    const next = wasAsking && !this.#isStopped ? this.#waiting.shift() : undefined;
    if (next === undefined) return;
    this.#asks.set(next.block, next);
    this.#next(next);
  }

  // ---------------------------------------------------------------- answers

  /** One that lacks something up to there, or is being brought up, does not answer: it is asked again. */
  onWanted(from: MemberId, { id, block, drainSeq, historyId }: WantStates): void {
    const { parts, vdiskId, local, resyncs, replica, log } = this.group;
    const isSure =
      !local.isBehind && !local.isRestarting && !resyncs.isTarget && local.appliedSeq >= drainSeq && log.historyId === historyId;
    if (this.#isStopped || !isSure) return;
    const { state, seq, crc } = this.#newest(block);
    const data = encodeCopies({ kind: 'haveStates', id, drainSeq, states: [...state], seqs: [...seq], crcs: [...crc] });
    parts.sender.send(from, vdiskId, { kind: 'copies', term: replica.member.promise?.term ?? 0, data }, null);
  }

  /** Of each block, from the log or the store. */
  #newest(block: number): BlockStates {
    const { parts, options, local } = this.group;
    const own = this.#own;
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    parts.ports.store.lookup(options.layer, segment, block % BLOCKS_PER_SEGMENT, RECORD_BLOCKS, own);
    for (let i = 0; i < RECORD_BLOCKS; i++) {
      const where = local.index.find(block + i);
      const { found } = local.index;
      if (where === Where.notHere || (own.state[i] !== BlockState.lost && own.seq[i]! > found.seq)) continue;
      own.state[i] = where === Where.zero ? BlockState.zero : BlockState.data;
      own.seq[i] = found.seq;
      own.crc[i] = where === Where.zero ? 0 : found.crc;
    }
    return own;
  }
}
