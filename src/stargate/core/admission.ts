import assert from 'node:assert/strict';
import { Gather } from 'uring-engine';
import { IoOp, type PathRequest } from '../../wire/path.js';
import { IoStatus } from '../../wire/status.js';
import type { Controller } from './controller.js';
import { MAX_WAITING_REQUESTS } from './limits.js';
import type { ControllerPath } from './path.js';
import { BLOCK_BYTES, EntryKind, NoRoom, type EntryDraft } from './ports.js';
import { RequestState } from './sessions.js';
import { SpaceCheck, type Lack } from './space-check.js';

/** A change that has not got its place in the log. `request` null: its path is gone, and the change with it. */
interface Waiting {
  request: PathRequest | null;
  path: ControllerPath | null;
}

/** The parts of a change: a partly covered block in front, whole blocks, a partly covered block behind. Any may be missing. */
interface Plan {
  /** Part that comes next. */
  part: number;
  /** The parts before it are in the log at this seq or below; 0: there are none. */
  lastSeq: number;
  parts: number;
  hasFront: boolean;
  hasMiddle: boolean;
  hasBack: boolean;
  firstBlock: number;
  middleBlock: number;
  middleBlocks: number;
  backBlock: number;
}

/** A change that is given up, and whose parts in the log are not committed yet. */
interface GivenUp {
  readonly request: PathRequest;
  readonly path: ControllerPath;
  readonly status: IoStatus;
  readonly lastSeq: number;
}

/** A partly covered block on its way to a full image: 4 KiB of the arena. */
interface Merge {
  state: 'waiting' | 'ready' | 'failed';
  offset: number;
  readonly block: number;
}

/** What lacks space is held up, and some of what comes behind it is not. */
interface Held {
  readonly by: PathRequest;
  readonly lack: Lack;
  /** What waits is to be looked through for changes that may pass. */
  isDue: boolean;
}

/** The queue's used-up front is cut off now and then. */
const COMPACT_AT = 1024;

/**
 * The order of changes: first come, first in the log. The first one that cannot go on (no room in the log, a block to merge with) holds
 * the others back; where it lacks space, those alone that need space. A partly covered block is merged with its newest content into a full image, when no earlier change of it is in flight.
 */
export class Admission {
  readonly #waiting: Waiting[] = [];
  #first = 0;
  readonly #plan: Plan = {
    part: 0,
    lastSeq: 0,
    parts: 0,
    hasFront: false,
    hasMiddle: false,
    hasBack: false,
    firstBlock: 0,
    middleBlock: 0,
    middleBlocks: 0,
    backBlock: 0,
  };
  #planned = false;
  /** In order of their seqs; as many as paths have requests outstanding. */
  #givenUp: GivenUp[] = [];
  /** The block that is merged: 4 KiB of the arena, once it is read. */
  #merge: Merge | null = null;
  readonly #slice = new Gather(1024);
  readonly #one = new Gather(1);
  #going = false;
  /** Why the change that comes next has no place in the log, and not only for the moment. */
  #lack: Lack = 'none';
  #held: Held | null = null;
  readonly #space: SpaceCheck;

  constructor(readonly controller: Controller) {
    this.#space = new SpaceCheck(controller);
  }

  add(request: PathRequest, path: ControllerPath): void {
    if (this.#first === this.#waiting.length && this.#mayBeAppendedAtOnce(request) && this.#takeWhole(request, path)) return;
    assert(this.#waiting.length - this.#first < MAX_WAITING_REQUESTS, 'a session sends more than its window');
    const one = { request, path };
    this.#waiting.push(one);
    if (this.#waiting.length - this.#first === 1) this.go();
    else if (this.#held !== null) {
      if (this.#going) this.#held.isDue = true;
      else this.#letPass(one, this.#held);
    }
  }

  /** A request that is in flight came again on a new path: this one is answered in its stead. */
  adopt(request: PathRequest, path: ControllerPath): void {
    const { flights } = this.controller;
    for (let seq = flights.firstSeq; seq < flights.nextSeq; seq++) {
      const at = flights.at(seq);
      if (flights.session[at] !== path.session || flights.clientSeq[at] !== request.clientSeq) continue;
      if (flights.path[at] !== null) break;
      flights.request[at] = request;
      flights.path[at] = path;
      return;
    }
    // Its first submission, on this same path, is still to be answered: a fault of the sender.
    this.controller.answer(request, IoStatus.invalid);
  }

  /** Goes on with what waits: something was committed, read, or freed. */
  go(): void {
    if (this.#going) return;
    this.#going = true;
    this.#answerGivenUp();
    while (this.#first < this.#waiting.length) {
      const { request, path } = this.#waiting[this.#first]!;
      if (request === null) this.#dropPlan();
      else if (request.clientSeq < path!.session.lowWater) this.#refuse(request, path!, IoStatus.closed);
      else if (!this.controller.resizes.isInside(request)) this.#refuse(request, path!, beyondEnd(request.op));
      else if (!this.#advance(request, path!)) {
        if (!this.#space.isRefused(request, this.#lack)) {
          this.#hold(request, this.#lack);
          break;
        }
        this.#refuse(request, path!, IoStatus.noSpace);
      }
      this.#held = null;
      this.#first++;
      if (this.#first === this.#waiting.length) {
        this.#waiting.length = 0;
        this.#first = 0;
      } else if (this.#first === COMPACT_AT) {
        this.#waiting.splice(0, COMPACT_AT);
        this.#first = 0;
      }
    }
    this.#going = false;
  }

  /** The first of those that wait is held up. Where it lacks space, what takes none goes on. */
  #hold(by: PathRequest, lack: Lack): void {
    if (lack === 'none') {
      this.#held = null;
      return;
    }
    if (this.#held?.by !== by || this.#held.lack !== lack) this.#held = { by, lack, isDue: true };
    const held = this.#held;
    if (!held.isDue) return;
    held.isDue = false;
    for (let i = this.#first + 1; i < this.#waiting.length; i++) this.#letPass(this.#waiting[i]!, held);
  }

  #letPass(one: Waiting, held: Held): void {
    const { request, path } = one;
    if (request === null || request.clientSeq < path!.session.lowWater || !this.controller.resizes.isInside(request)) return;
    if (!this.#space.mayPass(request, held.lack)) return;
    const block = Math.ceil(request.offsetBytes / BLOCK_BYTES);
    const blocks = Math.floor((request.offsetBytes + request.lengthBytes) / BLOCK_BYTES) - block;
    // What is merged already would undo it.
    if (this.#merge !== null && this.#merge.block >= block && this.#merge.block < block + blocks) return;
    if (this.#appendPassing(request, path!, block, blocks)) one.request = one.path = null;
    else held.isDue = true;
  }

  #appendPassing(request: PathRequest, path: ControllerPath, block: number, blocks: number): boolean {
    if (request.op === IoOp.write) return this.#appendWhole(request, path);
    const draft = this.#prepare(request, path, request.op === IoOp.trim ? EntryKind.trim : EntryKind.zero, 0, 1);
    draft.offsetBytes = block * BLOCK_BYTES;
    draft.lengthBytes = blocks * BLOCK_BYTES;
    draft.payload = this.#slice;
    this.#slice.clear();
    return this.#append(request, path, block, blocks, true);
  }

  /** The path is closed: what of it has no place in the log yet is as if it had never come. */
  forget(path: ControllerPath): void {
    for (let i = this.#first; i < this.#waiting.length; i++) {
      const one = this.#waiting[i]!;
      if (one.path !== path) continue;
      path.session.set(one.request!.clientSeq, RequestState.unknown);
      one.request = one.path = null;
    }
    if (this.#givenUp.length > 0) this.#givenUp = this.#givenUp.filter(one => one.path !== path);
    this.go();
  }

  /** Changes of sessions that end have no place in the log any more. */
  dropEnding(): void {
    for (let i = this.#first; i < this.#waiting.length; i++) {
      const one = this.#waiting[i]!;
      if (one.path?.session.isEnding === true) one.request = one.path = null;
    }
    this.go();
  }

  // ---------------------------------------------------------------- one change

  #mayBeAppendedAtOnce(request: PathRequest): boolean {
    return this.#isWhole(request) && this.controller.resizes.isInside(request);
  }

  #isWhole({ op, offsetBytes, lengthBytes }: PathRequest): boolean {
    return op === IoOp.write && offsetBytes % BLOCK_BYTES === 0 && lengthBytes % BLOCK_BYTES === 0;
  }

  #takeWhole(request: PathRequest, path: ControllerPath): boolean {
    const takenBytes = this.#space.take(request);
    if (takenBytes < 0) {
      this.#lack = 'quota';
      return false;
    }
    if (this.#appendWhole(request, path)) return true;
    this.#space.giveBack(takenBytes);
    return false;
  }

  /** A write of whole blocks, the common case: one entry, payload straight from the request. */
  #appendWhole(request: PathRequest, path: ControllerPath): boolean {
    const draft = this.#prepare(request, path, EntryKind.write, 0, 1);
    draft.offsetBytes = request.offsetBytes;
    draft.lengthBytes = request.lengthBytes;
    draft.payload = request.payload;
    return this.#append(request, path, request.offsetBytes / BLOCK_BYTES, request.lengthBytes / BLOCK_BYTES, true);
  }

  /** True when the change is in the log as a whole, or is answered. */
  #advance(request: PathRequest, path: ControllerPath): boolean {
    this.#lack = 'none';
    if (this.#isWhole(request)) return this.#takeWhole(request, path);
    if (!this.#planned && this.#space.take(request) < 0) {
      this.#lack = 'quota';
      return false;
    }
    const plan = this.#planned ? this.#plan : this.#makePlan(request, path);
    if (plan.part > 0 && plan.part >= plan.parts) {
      // Other than what came under this number before: a fault of the sender.
      this.#refuse(request, path, IoStatus.invalid);
      return true;
    }
    while (plan.part < plan.parts) {
      const front = plan.hasFront && plan.part === 0;
      const back = plan.hasBack && plan.part === plan.parts - 1 && !front;
      const done = front
        ? this.#appendMerged(request, path, plan.firstBlock)
        : back
          ? this.#appendMerged(request, path, plan.backBlock)
          : this.#appendMiddle(request, path);
      if (done === 'failed') {
        this.#refuse(request, path, IoStatus.corrupt);
        return true;
      }
      if (!done) return false;
      plan.lastSeq = this.controller.lastSeq;
      path.session.partsInLog(request.clientSeq, ++plan.part, plan.parts);
    }
    if (plan.parts === 0) {
      // A trim of less than a block changes nothing.
      path.session.set(request.clientSeq, RequestState.committed);
      this.controller.answer(request, IoStatus.ok);
    }
    this.#planned = false;
    return true;
  }

  /** The request is given up. What of it is in the log stays there, and takes effect before the answer: after it nothing changes any more. */
  #refuse(request: PathRequest, path: ControllerPath, status: IoStatus): void {
    const lastSeq = this.#planned ? this.#plan.lastSeq : path.session.partsBefore(request.clientSeq) > 0 ? this.controller.lastSeq : 0;
    path.session.set(request.clientSeq, RequestState.unknown);
    this.#dropPlan();
    if (lastSeq < this.controller.flights.firstSeq) this.controller.answer(request, status);
    else this.#givenUp.push({ request, path, status, lastSeq });
  }

  #answerGivenUp(): void {
    while (this.#givenUp.length > 0 && this.#givenUp[0]!.lastSeq < this.controller.flights.firstSeq) {
      const { request, status } = this.#givenUp.shift()!;
      this.controller.answer(request, status);
    }
  }

  #makePlan({ op, offsetBytes, lengthBytes, clientSeq }: PathRequest, { session }: ControllerPath): Plan {
    const end = offsetBytes + lengthBytes;
    const firstBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    const backBlock = Math.floor(end / BLOCK_BYTES);
    const middleBlock = Math.ceil(offsetBytes / BLOCK_BYTES);
    const plan = this.#plan;
    plan.firstBlock = firstBlock;
    plan.backBlock = backBlock;
    plan.middleBlock = middleBlock;
    plan.middleBlocks = Math.max(0, backBlock - middleBlock);
    plan.hasMiddle = plan.middleBlocks > 0;
    // A trim is a hint: blocks that it covers partly stay as they are.
    plan.hasFront = op !== IoOp.trim && offsetBytes % BLOCK_BYTES !== 0;
    plan.hasBack = op !== IoOp.trim && end % BLOCK_BYTES !== 0 && !(plan.hasFront && backBlock === firstBlock);
    plan.parts = Number(plan.hasFront) + Number(plan.hasMiddle) + Number(plan.hasBack);
    // An earlier path of it went while it was only partly in the log: those parts are applied once.
    plan.part = session.partsBefore(clientSeq);
    plan.lastSeq = plan.part > 0 ? this.controller.lastSeq : 0;
    this.#planned = true;
    return plan;
  }

  #appendMiddle(request: PathRequest, path: ControllerPath): boolean {
    const { part, parts, middleBlock, middleBlocks } = this.#plan;
    const kind = request.op === IoOp.write ? EntryKind.write : request.op === IoOp.trim ? EntryKind.trim : EntryKind.zero;
    const draft = this.#prepare(request, path, kind, part, parts);
    draft.offsetBytes = middleBlock * BLOCK_BYTES;
    draft.lengthBytes = middleBlocks * BLOCK_BYTES;
    draft.payload = this.#slice;
    this.#slice.clear();
    if (kind === EntryKind.write) slice(request.payload, draft.offsetBytes - request.offsetBytes, draft.lengthBytes, this.#slice);
    return this.#append(request, path, middleBlock, middleBlocks, part === parts - 1);
  }

  #appendMerged(request: PathRequest, path: ControllerPath, block: number): boolean | 'failed' {
    if (this.#merge === null && !this.#startMerge(block)) return false;
    const merge = this.#merge!;
    if (merge.state === 'failed') return 'failed';
    if (merge.state !== 'ready') return false;
    this.#overlay(request, merge);
    const { part, parts } = this.#plan;
    const draft = this.#prepare(request, path, EntryKind.fullImage, part, parts);
    draft.offsetBytes = block * BLOCK_BYTES;
    draft.lengthBytes = BLOCK_BYTES;
    draft.payload = this.#one;
    this.#one.clear();
    this.#one.add(merge.offset, BLOCK_BYTES);
    if (!this.#append(request, path, block, 1, part === parts - 1)) return false;
    this.#endMerge(merge);
    return true;
  }

  /** Reads the block's newest content. False: an earlier change of it is in flight, its commit comes back here. */
  #startMerge(block: number): boolean {
    if (this.controller.flights.overlaps(block, 1)) return false;
    const merge: Merge = { state: 'waiting', offset: -1, block };
    this.#merge = merge;
    const { buffers } = this.controller.ports;
    const offset = buffers.take(BLOCK_BYTES);
    if (offset >= 0) this.#readMerge(merge, offset);
    else buffers.wait(BLOCK_BYTES, { onBuffer: (_tag, given) => this.#readMerge(merge, given) }, 0);
    return true;
  }

  #readMerge(merge: Merge, offset: number): void {
    merge.offset = offset;
    if (this.#merge !== merge) return this.#endMerge(merge);
    this.controller.reads.readBlock(merge.block, offset, ok => {
      merge.state = ok ? 'ready' : 'failed';
      // The request may have gone meanwhile: then nobody else gives the buffer back.
      if (this.#merge === merge) this.go();
      else this.#endMerge(merge);
    });
  }

  #endMerge(merge: Merge): void {
    this.controller.ports.buffers.give(merge.offset);
    if (this.#merge === merge) this.#merge = null;
  }

  /** The first request's path went in the middle of it: what is in the log stays, the rest is dropped. */
  #dropPlan(): void {
    this.#planned = false;
    const merge = this.#merge;
    this.#merge = null;
    if (merge !== null && merge.state !== 'waiting') this.#endMerge(merge);
  }

  #overlay(request: PathRequest, { block, offset }: Merge): void {
    const { bytes } = this.controller.ports.arena;
    const from = Math.max(request.offsetBytes, block * BLOCK_BYTES);
    const to = Math.min(request.offsetBytes + request.lengthBytes, (block + 1) * BLOCK_BYTES);
    const target = offset + (from - block * BLOCK_BYTES);
    if (request.op !== IoOp.write) {
      bytes.fill(0, target, target + (to - from));
      return;
    }
    this.#slice.clear();
    slice(request.payload, from - request.offsetBytes, to - from, this.#slice);
    for (let i = 0, at = target; i < this.#slice.count; i++) {
      bytes.copyWithin(at, this.#slice.offsets[i]!, this.#slice.offsets[i]! + this.#slice.lengths[i]!);
      at += this.#slice.lengths[i]!;
    }
  }

  #prepare(request: PathRequest, path: ControllerPath, kind: EntryKind, part: number, parts: number): EntryDraft {
    const draft = this.controller.draft;
    draft.kind = kind;
    draft.sessionId = path.session.id;
    draft.clientSeq = request.clientSeq;
    draft.part = part;
    draft.parts = parts;
    return draft;
  }

  #append(request: PathRequest, path: ControllerPath, block: number, blocks: number, last: boolean): boolean {
    const { controller } = this;
    const at = controller.append(block, blocks);
    if (at < 0) {
      if (at === NoRoom.full) this.#lack = 'log';
      return false;
    }
    if (controller.mutations.indexBeforeDurable) controller.applier.applyEarly(at);
    if (!last) return true;
    controller.flights.session[at] = path.session;
    controller.flights.request[at] = request;
    controller.flights.path[at] = path;
    return true;
  }
}

/** As the specification of NBD has it: what would write there finds no space; a trim is wrong. */
function beyondEnd(op: IoOp): IoStatus {
  return op === IoOp.trim ? IoStatus.invalid : IoStatus.noSpace;
}

/** Adds the bytes [from, from + length) of a gather list to another. */
function slice(source: Gather, from: number, length: number, target: Gather): void {
  let skip = from;
  let left = length;
  for (let i = 0; i < source.count && left > 0; i++) {
    const available = source.lengths[i]! - skip;
    if (available <= 0) {
      skip -= source.lengths[i]!;
      continue;
    }
    const taken = Math.min(available, left);
    target.add(source.offsets[i]! + skip, taken);
    left -= taken;
    skip = 0;
  }
}
