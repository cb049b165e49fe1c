import { constants } from 'node:os';
import type { EntryList } from '../../../wire/peers.js';
import type { MemberId } from '../../../wire/replicate.js';
import { decodeSessions } from '../../core/head.js';
import { BLOCK_BYTES, BlockState, type DrainCommit } from '../../core/ports.js';
import type { GroupVdisk } from './group-vdisk.js';
import { ComeBlocks } from './come-blocks.js';
import { RESYNC_QUIET_POLL_MS } from './limits.js';
import { encodeResync, type ResyncReply, type ResyncRequest } from '../../core/replication/resync-messages.js';

const ENOSPC = -constants.errno.ENOSPC;
const EIO = -constants.errno.EIO;

/**
 * The side of the replica that is brought up. A crash in the middle leaves segments as they were, or done: the next attempt goes on there. Until the end
 * its log is the old one, and it is a member of nothing.
 */
export class ResyncTarget {
  #segment = -1;
  #fromSeq = 0;
  /** Blocks of the segment that have come: most of one may never have been written. */
  readonly #come = new ComeBlocks();
  /** Highest drainSeq of the extents. */
  aheadSeq = 0;

  constructor(
    readonly group: GroupVdisk,
    readonly from: MemberId,
    readonly term: number,
    readonly id: string,
  ) {}

  onRequest(request: ResyncRequest, list: EntryList): void {
    const { store } = this.group.parts.ports;
    const { layer } = this.group.options;
    switch (request.kind) {
      case 'begin':
        return this.#whenIdle(() => {
          // Before the extents are another log's: from then on a start takes what they have for a sign that this log is committed so far.
          this.group.step({ kind: 'cutTail' });
          this.aheadSeq = store.segments(layer).reduce((seq, one) => Math.max(seq, one.drainSeq), 0);
          this.#whenQuiet(() => this.#ok(request));
        });
      case 'open':
        this.#segment = request.segment;
        this.#fromSeq = store.drainSeq(layer, request.segment);
        this.#come.clear();
        return this.#ok(request);
      case 'blocks':
        return this.#blocks(request, list);
      case 'close':
        return this.#close(request);
      case 'finish':
        return this.#finish(request, list);
    }
  }

  /** Its log is changed while it is known not to take over; if it does, or somebody else has, this resync is over. */
  #whenIdle(go: () => void): void {
    const { isStopped, local, parts, replica } = this.group;
    const { promise } = replica.member;
    if (isStopped || local.isRestarting || promise?.term !== this.term || promise.controller !== this.from) return;
    const office = replica.takeover.state.kind;
    if (office === 'idle') go();
    else if (office === 'reading') parts.after(RESYNC_QUIET_POLL_MS, () => this.#whenIdle(go));
  }

  /** Its own drains end first: from then on the doors stand still. */
  #whenQuiet(go: () => void): void {
    const { parts, repair, hasRecorded } = this.group;
    if (parts.isDraining(this.group) || repair.isBusy || !hasRecorded) parts.after(RESYNC_QUIET_POLL_MS, () => this.#whenQuiet(go));
    else go();
  }

  #ok({ id, step }: ResyncRequest): void {
    const { parts, vdiskId } = this.group;
    const reply: ResyncReply = { kind: 'ok', id, step, drainSeq: this.#fromSeq };
    parts.sender.send(this.from, vdiskId, { kind: 'resync', term: this.term, data: encodeResync(reply) }, null);
  }

  #blocks(request: Extract<ResyncRequest, { kind: 'blocks' }>, list: EntryList): void {
    const { runs, seqs, crcs } = request;
    const { extents, buffers, arena } = this.group.parts.ports;
    const { layer } = this.group.options;
    const bytes = runs.reduce((sum, one) => sum + (one.state === BlockState.data ? one.blocks * BLOCK_BYTES : 0), 0);
    const blocks = runs.reduce((sum, one) => sum + one.blocks, 0);
    const isWhole = blocks === seqs.length && blocks === crcs.length && bytes === list.totalPayloadBytes && this.#segment >= 0;
    if (!isWhole) return this.#say('blocks of a resync do not fit what is said of them');
    // The bytes are gone when this call returns.
    const copy = bytes === 0 ? null : arena.bytes.slice(list.payloadOffset[0], list.payloadOffset[0]! + bytes);
    const segment = this.#segment;
    const write = (offset: number): void => {
      if (copy !== null) arena.bytes.set(copy, offset);
      let pending = 1;
      let worst = 0;
      const landed = (): void => {
        if (--pending > 0) return;
        if (offset >= 0) buffers.reserved.give(offset);
        if (worst < 0) return this.#endFor(worst);
        this.#note(runs, seqs, crcs);
        this.#ok(request);
      };
      const owner = {
        onRead: (_tag: number, result: number) => {
          // Any other error is graver than lack of space.
          if (result < 0 && (worst === 0 || worst === ENOSPC)) worst = result;
          landed();
        },
      };
      let place = offset;
      for (const one of runs) {
        // Whatever lies there: nobody knows whether it is right.
        if (one.state === BlockState.lost) continue;
        pending++;
        if (one.state === BlockState.zero) extents.punch(layer, segment, one.block, one.blocks, owner, 0);
        else {
          extents.write(layer, segment, one.block, one.blocks, place, owner, 0);
          place += one.blocks * BLOCK_BYTES;
        }
      }
      landed();
    };
    if (bytes === 0) return write(-1);
    const offset = buffers.reserved.take(bytes);
    if (offset >= 0) write(offset);
    else buffers.reserved.wait(bytes, { onBuffer: (_tag, given) => write(given) }, 0);
  }

  #note(runs: readonly { block: number; blocks: number; state: number }[], seqs: readonly number[], crcs: readonly number[]): void {
    let n = 0;
    for (const { block, blocks, state } of runs) {
      for (let i = block; i < block + blocks; i++, n++) {
        this.#come.set(i, state, state === BlockState.data ? crcs[n]! : 0, seqs[n]!);
      }
    }
  }

  /** Crash order as in a drain: data and holes, sync, then one transaction that vouches for them and moves the door. */
  #close(request: Extract<ResyncRequest, { kind: 'close' }>): void {
    const { extents, store } = this.group.parts.ports;
    const { layer } = this.group.options;
    const { toSeq } = request;
    const segment = this.#segment;
    if (segment < 0 || toSeq <= this.#fromSeq) return;
    if (!this.#come.isWithin(this.#fromSeq, toSeq)) return this.#say('blocks of a resync are not of the entries it is said to bring');
    const commit = (): void => {
      const owner = {
        onCommitted: (_tag: number, ok: boolean) => {
          if (!ok) return this.#say('a resync ends: the door of a segment was not where it was left');
          this.aheadSeq = Math.max(this.aheadSeq, toSeq);
          this.#segment = -1;
          this.#ok(request);
        },
        onLayerCreated: () => undefined,
        onStoreFull: () => this.#endFor(ENOSPC),
        onStoreFailed: () => this.#endFor(EIO),
      };
      store.commitDrain(this.#commit(segment, toSeq), owner, 0);
    };
    extents.sync(layer, segment, { onRead: (_tag, result) => (result < 0 ? this.#endFor(result) : commit()) }, 0);
  }

  #commit(segment: number, toSeq: number): DrainCommit {
    return { layer: this.group.options.layer, segment, fromSeq: this.#fromSeq, toSeq, ...this.#come.runs() };
  }

  #finish(request: Extract<ResyncRequest, { kind: 'finish' }>, list: EntryList): void {
    const { arena } = this.group.parts.ports;
    const { base, at, sizeBytes } = request;
    try {
      const sessions = decodeSessions(arena.bytes.slice(list.payloadOffset[0], list.payloadOffset[0]! + list.payloadBytes[0]!));
      const { aheadSeq } = this;
      this.#whenIdle(() => this.group.local.restart({ base, at, sizeBytes, sessions, aheadSeq }, () => this.#ok(request)));
    } catch (error) {
      this.#say(`a resync ends: its session table is none: ${String(error)}`);
    }
  }

  /** Without space it is tried again later; a disk that gives errors is written to no more (rule 6). */
  #endFor(result: number): void {
    const { parts, vdiskId } = this.group;
    if (result === ENOSPC) this.#say('a resync ends: the data disk has no room');
    else parts.onDataFailed('bringing up', vdiskId);
  }

  #say(message: string): void {
    this.group.parts.say('error', message, { vdiskId: this.group.vdiskId });
  }
}
