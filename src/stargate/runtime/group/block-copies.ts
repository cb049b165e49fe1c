import { crc32c } from '@node-rs/crc32';
import { MAX_APPEND_ENTRIES } from '../../../wire/limits.js';
import { EntryList } from '../../../wire/peers.js';
import type { MemberId, ReplicaMessage } from '../../../wire/replicate.js';
import { Where } from '../../core/block-index.js';
import { MAX_REREADS } from '../../core/limits.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates, type WantedBlocks } from '../../core/ports.js';
import { decodeCopies, encodeCopies, type HaveCopies, type WantCopies, type WantEntries } from '../../core/replication/copy-messages.js';
import type { Entry } from '../../core/replication/entry.js';
import { giveEntries } from './entry-copies.js';
import type { GroupVdisk } from './group-vdisk.js';
import { RecordRefills } from './record-refills.js';
import { COPY_PATIENCE_MS, COPY_TIMEOUT_MS, MAX_COPY_ANSWERS, MAX_COPY_ASKS } from './limits.js';

/** Blocks that are wanted from others. */
interface Ask {
  readonly id: string;
  readonly wanted: WantedBlocks;
  readonly arenaOffset: number;
  readonly good: boolean[];
  readonly done: (good: readonly boolean[]) => void;
  readonly startedMs: number;
  /** Who has said what it has. */
  readonly answered: Set<MemberId>;
  /** Places in `wanted` that were asked for last. */
  left: readonly number[];
  askedMs: number;
  turn: number;
}

/** Gets blocks of one vdisk that are damaged here from other replicas, and gives others what they ask for. */
export class BlockCopies {
  readonly #asks = new Map<string, Ask>();
  /** Those that wait their turn: as many as there are reads, drains and resyncs under way. */
  readonly #waiting: Ask[] = [];
  readonly #list = new EntryList();
  readonly #found = newBlockStates(1);
  readonly records: RecordRefills;
  #answering = 0;
  #isStopped = false;

  constructor(readonly group: GroupVdisk) {
    this.records = new RecordRefills(group, () => this.#sources());
  }

  /** The same as {@link CopyPort.fetch}. As long as a replica has not answered, and is none that has been given up, the blocks are waited for. */
  fetch(wanted: WantedBlocks, arenaOffset: number, done: (good: readonly boolean[]) => void): void {
    const { parts } = this.group;
    const good = wanted.seqs.map(() => false);
    const { nowMs } = parts;
    const common = { id: parts.newNonce(), startedMs: nowMs, answered: new Set<MemberId>(), left: [], askedMs: nowMs, turn: 0 };
    const ask: Ask = { ...common, wanted, arenaOffset, good, done };
    if (this.#isStopped) return done(good);
    if (this.#asks.size >= MAX_COPY_ASKS) return void this.#waiting.push(ask);
    this.#asks.set(ask.id, ask);
    this.#next(ask);
  }

  onMessage(from: MemberId, { data }: Extract<ReplicaMessage, { kind: 'copies' }>, list: EntryList): void {
    const message = decodeCopies(data);
    if (message === null) return this.group.parts.say('warn', 'a message about copies is none', { vdiskId: this.group.vdiskId, from });
    if (message.kind === 'want') this.#answer(from, message);
    else if (message.kind === 'have') this.#take(from, message, list);
    else if (message.kind === 'wantStates') this.records.onWanted(from, message);
    else if (message.kind === 'haveStates') this.records.onHave(from, message);
    else if (message.kind === 'wantEntries') giveEntries(this.group, this.group.senderTo(from), message, this.#entriesTo(message));
  }

  /** Those that end with the one that is wanted, if the log here is the one that has it, durably. */
  #entriesTo({ seq, hash }: WantEntries): readonly Entry[] {
    const { log, durableSeq } = this.group.replica.member;
    const isHere = seq > log.base.seq && seq <= durableSeq && log.holds(seq, hash);
    return isHere ? log.slice(seq + 1 - MAX_APPEND_ENTRIES, seq) : [];
  }

  onTick(nowMs: number): void {
    for (const ask of [...this.#asks.values()]) if (nowMs - ask.askedMs >= COPY_TIMEOUT_MS) this.#next(ask);
    this.records.onTick(nowMs);
  }

  /** Nobody is asked any more. */
  stop(): void {
    this.#isStopped = true;
    this.records.stop();
    for (const ask of [...this.#asks.values(), ...this.#waiting.splice(0)]) this.#end(ask);
  }

  /** Who may have them: all that follow the controller here, or the controller. */
  #sources(): readonly MemberId[] {
    const { replica, self } = this.group;
    const { leader } = replica.takeover;
    if (leader !== null) return leader.peerIds;
    const { promise } = replica.member;
    return promise === null || promise.controller === self ? [] : [promise.controller];
  }

  /** Asks the next one, until each has answered. */
  #next(ask: Ask): void {
    const { parts, vdiskId, replica } = this.group;
    const sources = this.#sources().filter(member => !ask.answered.has(member));
    const left = ask.good.flatMap((isGood, i) => (isGood ? [] : [i]));
    if (left.length === 0 || sources.length === 0 || parts.nowMs - ask.startedMs >= COPY_PATIENCE_MS) return this.#end(ask);
    const { block, seqs, crcs } = ask.wanted;
    ask.left = left;
    ask.askedMs = parts.nowMs;
    const data = encodeCopies({
      ...{ kind: 'want', id: ask.id },
      blocks: left.map(i => block + i),
      seqs: left.map(i => seqs[i]!),
      crcs: left.map(i => crcs[i]!),
    });
    const term = replica.member.promise?.term ?? 0;
    // One that cannot be reached now is asked again, after the others.
    parts.sender.send(sources[ask.turn++ % sources.length]!, vdiskId, { kind: 'copies', term, data }, null);
  }

  #end(ask: Ask): void {
    if (this.#asks.delete(ask.id)) this.#startWaiting();
    ask.done(ask.good);
  }

  #startWaiting(): void {
    const next = this.#isStopped ? undefined : this.#waiting.shift();
    if (next === undefined) return;
    this.#asks.set(next.id, next);
    this.#next(next);
  }

  /** What another one has. A block counts by its checksum alone. */
  #take(from: MemberId, { id, good }: HaveCopies, list: EntryList): void {
    const ask = this.#asks.get(id);
    if (ask === undefined || good.length * BLOCK_BYTES !== list.totalPayloadBytes) return;
    const { bytes } = this.group.parts.ports.arena;
    good.forEach((place, n) => {
      const i = ask.left[place];
      const at = list.payloadOffset[0]! + n * BLOCK_BYTES;
      if (i === undefined || crc32c(bytes.subarray(at, at + BLOCK_BYTES)) !== ask.wanted.crcs[i]) return;
      bytes.copyWithin(ask.arenaOffset + i * BLOCK_BYTES, at, at + BLOCK_BYTES);
      ask.good[i] = true;
    });
    ask.answered.add(from);
    this.#next(ask);
  }

  // ---------------------------------------------------------------- answers

  /** Whoever gets no answer asks again. */
  #answer(to: MemberId, want: WantCopies): void {
    const { buffers } = this.group.parts.ports;
    if (this.#isStopped || this.#answering >= MAX_COPY_ANSWERS) return;
    this.#answering++;
    const bytes = want.blocks.length * BLOCK_BYTES;
    const read = (offset: number): void => this.#readAll(to, want, offset);
    const offset = buffers.take(bytes);
    if (offset >= 0) read(offset);
    else buffers.wait(bytes, { onBuffer: (_tag, given) => read(given) }, 0);
  }

  #readAll(to: MemberId, want: WantCopies, offset: number): void {
    const { parts, vdiskId, replica } = this.group;
    const { arena, buffers } = parts.ports;
    const isGood = want.blocks.map(() => false);
    let pending = 1;
    const landed = (): void => {
      if (--pending > 0) return;
      const good = isGood.flatMap((one, i) => (one ? [i] : []));
      good.forEach((i, n) => arena.bytes.copyWithin(offset + n * BLOCK_BYTES, offset + i * BLOCK_BYTES, offset + (i + 1) * BLOCK_BYTES));
      this.#list.clear();
      if (good.length > 0) this.#list.add(parts.headers.baseOffset, offset, good.length * BLOCK_BYTES);
      const term = replica.member.promise?.term ?? 0;
      const data = encodeCopies({ kind: 'have', id: want.id, good });
      if (!this.#isStopped) parts.sender.send(to, vdiskId, { kind: 'copies', term, data }, this.#list);
      buffers.give(offset);
      this.#answering--;
    };
    want.blocks.forEach((block, i) => {
      pending++;
      this.#readOne(block, want.seqs[i]!, want.crcs[i]!, offset + i * BLOCK_BYTES, 0, found => {
        isGood[i] = found;
        landed();
      });
    });
    landed();
  }

  /** Exactly this version, from the log or the extents of this replica. A drain may move it from the one to the other meanwhile. */
  #readOne(block: number, seq: number, crc: number, at: number, tries: number, done: (isGood: boolean) => void): void {
    const { group } = this;
    const { arena, store, extents } = group.parts.ports;
    const { layer } = group.options;
    const { sizeBytes } = group.local.applied;
    const onRead = (_tag: number, result: number): void => {
      const isGood = result === BLOCK_BYTES && crc32c(arena.bytes.subarray(at, at + BLOCK_BYTES)) === crc;
      if (isGood || tries >= MAX_REREADS) return done(isGood);
      this.#readOne(block, seq, crc, at, tries + 1, done);
    };
    if (this.#isStopped || block * BLOCK_BYTES >= sizeBytes) return done(false);
    const { index } = group.local;
    const where = index.find(block);
    if (where !== Where.notHere) {
      if (where === Where.zero || index.found.seq !== seq || index.found.crc !== crc) return done(false);
      return group.stream.readPayload(index.found.lsn, BLOCK_BYTES, at, { onRead }, 0);
    }
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    const found = this.#found;
    const isKnown = store.lookup(layer, segment, block % BLOCKS_PER_SEGMENT, 1, found);
    if (!isKnown || found.state[0] !== BlockState.data || found.seq[0] !== seq || found.crc[0] !== crc) return done(false);
    extents.read(layer, segment, block % BLOCKS_PER_SEGMENT, 1, at, { onRead }, 0);
  }
}
