import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import type { Gather } from 'uring-engine';
import { IoOp, MAX_IO_BYTES, type PathRequest } from '../../wire/path.js';
import { IoStatus } from '../../wire/status.js';
import type { Controller } from './controller.js';
import { MAX_MISS_READS, MAX_REREADS, MAX_WAITING_REQUESTS } from './limits.js';
import { MissRead } from './miss-read.js';
import type { ControllerPath } from './path.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates, type CopyPort, type WantedBlocks } from './ports.js';
import { Where } from './block-index.js';

/** Blocks that one request touches at most: a megabyte that starts inside a block. */
export const MAX_READ_BLOCKS = MAX_IO_BYTES / BLOCK_BYTES + 1;

/**
 * Reads of one vdisk. What is in the cache goes from its pages, pinned until they are sent. A request that misses any block is
 * gathered in a transfer buffer: cached blocks are copied, others come from the log or the extents in runs, each block's checksum is verified.
 */
export class ReadPath {
  readonly #misses: MissRead[] = [];
  readonly #free: MissRead[] = [];
  /** Misses under way: a commit has to tell them that their blocks are old. */
  readonly #active = new Set<MissRead>();
  readonly #queue: { request: PathRequest; path: ControllerPath }[] = [];
  readonly #states = newBlockStates(MAX_READ_BLOCKS);

  constructor(readonly controller: Controller) {}

  get isIdle(): boolean {
    return this.#active.size === 0 && this.#queue.length === 0;
  }

  start(request: PathRequest, path: ControllerPath): void {
    const first = Math.floor(request.offsetBytes / BLOCK_BYTES);
    const last = Math.floor((request.offsetBytes + request.lengthBytes - 1) / BLOCK_BYTES);
    const blocks = last - first + 1;
    if (request.op === IoOp.read && request.data.capacity - request.data.count >= blocks && this.#fromCache(request, first, last)) {
      request.pathTag = 0;
      return this.controller.answer(request, IoStatus.ok);
    }
    if (request.op === IoOp.prefetch && blocks > MAX_READ_BLOCKS - 1) {
      // A hint for more than a transfer holds: taken as done.
      return this.controller.answer(request, IoStatus.ok);
    }
    const miss = this.#take();
    if (miss === null) {
      assert(this.#queue.length < MAX_WAITING_REQUESTS, 'sessions send more than their windows');
      this.#queue.push({ request, path });
    } else this.#startMiss(miss, request, path, first, blocks);
  }

  /** One block into 4 KiB of the arena, for a merge. Only while no change of the block is in flight. */
  readBlock(block: number, offset: number, done: (ok: boolean) => void): void {
    const miss = this.#take() ?? new MissRead(-1, this);
    miss.begin(null, null, block, 1, this.controller.ports.clock.nowNs);
    miss.done = done;
    miss.setBuffer(0, offset);
    this.#active.add(miss);
    this.#fill(miss);
  }

  /** The reader is done with what `request.data` names. */
  release(request: PathRequest): void {
    const { buffers } = this.controller.ports;
    if (request.pathTag > 0) {
      const miss = this.#misses[request.pathTag - 1]!;
      for (const offset of miss.buffers) if (offset >= 0) buffers.give(offset);
      this.#recycle(miss);
    } else this.#unpin(request.data);
  }

  #unpin(data: Gather): void {
    const { cache } = this.controller.ports;
    for (let i = 0; i < data.count; i++) {
      const start = data.offsets[i]!;
      const end = start + data.lengths[i]!;
      for (let page = Math.floor(start / BLOCK_BYTES) * BLOCK_BYTES; page < end; page += BLOCK_BYTES) cache.unpin(page);
    }
  }

  /** The blocks are about to change: what is being read of them is old and must not enter the cache. */
  overtake(block: number, blocks: number): void {
    for (const miss of this.#active) miss.overtake(block, blocks);
  }

  forget(path: ControllerPath): void {
    for (const miss of this.#active) if (miss.path === path) miss.request = miss.path = null;
    for (let i = this.#queue.length - 1; i >= 0; i--) if (this.#queue[i]!.path === path) this.#queue.splice(i, 1);
  }

  // ---------------------------------------------------------------- hits

  #fromCache(request: PathRequest, first: number, last: number): boolean {
    const { cache } = this.controller.ports;
    const { cacheOwner } = this.controller;
    const { data } = request;
    const end = request.offsetBytes + request.lengthBytes;
    for (let block = first; block <= last; block++) {
      const page = cache.find(cacheOwner, block);
      if (page < 0) {
        this.#unpin(data);
        data.clear();
        return false;
      }
      cache.pin(page);
      const start = block * BLOCK_BYTES;
      const from = Math.max(request.offsetBytes, start);
      data.add(page + (from - start), Math.min(end, start + BLOCK_BYTES) - from);
    }
    return true;
  }

  // ---------------------------------------------------------------- misses

  #startMiss(miss: MissRead, request: PathRequest, path: ControllerPath, first: number, blocks: number): void {
    miss.begin(request, path, first, blocks, this.controller.ports.clock.nowNs);
    this.#active.add(miss);
    this.#nextBuffer(miss);
  }

  /** A transfer buffer for each 256 blocks; then the read starts. */
  #nextBuffer(miss: MissRead): void {
    const { buffers } = this.controller.ports;
    for (let i = 0; i < miss.bufferCount; i++) {
      if (miss.buffers[i]! >= 0) continue;
      const bytes = miss.bufferBlocks(i) * BLOCK_BYTES;
      const offset = buffers.take(bytes);
      if (offset < 0) {
        buffers.wait(bytes, { onBuffer: (_tag, given) => (miss.setBuffer(i, given), this.#nextBuffer(miss)) }, 0);
        return;
      }
      miss.setBuffer(i, offset);
    }
    miss.startedNs = this.controller.ports.clock.nowNs;
    this.#fill(miss);
  }

  /** Finds each block that is still wanted, and starts the runs that have to be read. */
  #fill(miss: MissRead): void {
    // Its path has gone: what it would read may be no more.
    if (miss.request === null && miss.done === null) return this.#finish(miss, IoStatus.fenced);
    miss.pending = 1;
    for (let i = 0; i < miss.blocks;) i += miss.wanted[i] === 1 ? this.#fillRun(miss, i) : 1;
    this.#landed(miss);
  }

  /** Block i of the miss, and those behind it that come from the same place. Returns how many. */
  #fillRun(miss: MissRead, i: number): number {
    const { controller } = this;
    const { arena, cache, log } = controller.ports;
    const block = miss.block + i;
    const page = cache.find(controller.cacheOwner, block);
    if (page >= 0) {
      arena.bytes.copyWithin(miss.offsetOf(i), page, page + BLOCK_BYTES);
      miss.wanted[i] = 0;
      return 1;
    }
    const where = controller.index.find(block);
    if (where === Where.notHere) return this.#fillFromExtents(miss, i);
    if (where === Where.zero) {
      this.#fillZero(miss, i);
      return 1;
    }
    const { lsn } = controller.index.found;
    miss.crc[i] = controller.index.found.crc;
    miss.seq[i] = controller.index.found.seq;
    let run = 1;
    const limit = Math.min(miss.blocks, miss.bufferEnd(i)) - i;
    while (run < limit && miss.wanted[i + run] === 1 && cache.find(controller.cacheOwner, block + run) < 0) {
      if (controller.index.find(block + run) !== Where.log || controller.index.found.lsn !== lsn + run * BLOCK_BYTES) break;
      miss.crc[i + run] = controller.index.found.crc;
      miss.seq[i + run] = controller.index.found.seq;
      run++;
    }
    miss.pending++;
    miss.runBlocks[i] = run;
    log.readPayload(lsn, run * BLOCK_BYTES, miss.offsetOf(i), miss, i);
    return run;
  }

  #fillFromExtents(miss: MissRead, i: number): number {
    const { controller } = this;
    const { cache, store, extents } = controller.ports;
    const block = miss.block + i;
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    const inSegment = block % BLOCKS_PER_SEGMENT;
    let limit = Math.min(miss.blocks - i, miss.bufferEnd(i) - i, BLOCKS_PER_SEGMENT - inSegment);
    for (let n = 1; n < limit; n++) {
      const here =
        miss.wanted[i + n] === 1 && cache.find(controller.cacheOwner, block + n) < 0 && controller.index.find(block + n) === Where.notHere;
      if (!here) limit = n;
    }
    const { layer } = controller.state;
    store.lookup(layer, segment, inSegment, limit, this.#states);
    const { state } = this.#states;
    const isData = state[0] === BlockState.data;
    const isLost = state[0] === BlockState.lost;
    let run = 0;
    while (run < limit && (state[run] === BlockState.data) === isData && (state[run] === BlockState.lost) === isLost) {
      if (isData) {
        miss.crc[i + run] = this.#states.crc[run]!;
        miss.seq[i + run] = this.#states.seq[run]!;
      } else if (isLost) {
        // Nobody here knows what the block is: it stays wanted.
        miss.seq[i + run] = 0;
      } else this.#fillZero(miss, i + run);
      run++;
    }
    if (isData) {
      miss.pending++;
      miss.runBlocks[i] = run;
      extents.read(layer, segment, inSegment, run, miss.offsetOf(i), miss, i);
    }
    return run;
  }

  #fillZero(miss: MissRead, i: number): void {
    const offset = miss.offsetOf(i);
    this.controller.ports.arena.bytes.fill(0, offset, offset + BLOCK_BYTES);
    miss.wanted[i] = 0;
  }

  /** A run of a miss has come: blocks i and on. */
  onRun(miss: MissRead, i: number, result: number): void {
    const { arena } = this.controller.ports;
    const run = miss.runBlocks[i]!;
    for (let n = i; n < i + run; n++) {
      const offset = miss.offsetOf(n);
      const good = result >= (n - i + 1) * BLOCK_BYTES && crc32c(arena.bytes.subarray(offset, offset + BLOCK_BYTES)) === miss.crc[n];
      miss.errno[n] = Math.max(0, -result);
      if (!good) continue;
      miss.wanted[n] = 0;
      if (miss.overtaken[n] === 0) this.#enterCache(miss.block + n, offset);
    }
    this.#landed(miss);
  }

  #enterCache(block: number, offset: number): void {
    const { cache, arena } = this.controller.ports;
    const { cacheOwner } = this.controller;
    if (cache.find(cacheOwner, block) >= 0) return;
    const page = cache.insert(cacheOwner, block);
    if (page >= 0) arena.bytes.copyWithin(page, offset, offset + BLOCK_BYTES);
  }

  #landed(miss: MissRead): void {
    if (--miss.pending > 0) return;
    if (miss.firstWanted() < 0) return this.#finish(miss, IoStatus.ok);
    if (++miss.rounds <= MAX_REREADS) return this.#fill(miss);
    const { copies } = this.controller.host;
    if (copies !== undefined && miss.rounds === MAX_REREADS + 1) return this.#fetchCopies(miss, copies);
    // Meanwhile there may be a newer version here, which is why nobody has the old one.
    if (copies !== undefined && miss.rounds === MAX_REREADS + 2) return this.#fill(miss);
    this.#reportBad(miss);
    this.#finish(miss, IoStatus.corrupt);
  }

  /** Rule 24: what is damaged here is whole elsewhere, as a rule. */
  #fetchCopies(miss: MissRead, copies: CopyPort): void {
    miss.pending = 1;
    if (!miss.isRefilled) this.#refill(miss, copies);
    for (let i = 0; i < miss.blocks; i++) {
      const limit = Math.min(miss.blocks, miss.bufferEnd(i));
      let end = i;
      while (end < limit && miss.wanted[end] === 1 && miss.seq[end]! > 0) end++;
      if (end === i) continue;
      miss.pending++;
      const first = i;
      const wanted = { block: miss.block + i, seqs: [...miss.seq.subarray(i, end)], crcs: [...miss.crc.subarray(i, end)] };
      copies.fetch(wanted, miss.offsetOf(i), good => this.#onCopies(miss, first, good, wanted, copies));
      i = end - 1;
    }
    this.#landed(miss);
  }

  /** What the blocks are that are lost here. Then all begins once more: their content may be damaged, too. */
  #refill(miss: MissRead, copies: CopyPort): void {
    const isLost = (i: number): boolean => miss.wanted[i] === 1 && miss.seq[i] === 0;
    for (let i = 0; i < miss.blocks; i++) {
      const from = i;
      while (i < miss.blocks && isLost(i)) i++;
      if (i === from) continue;
      miss.isRefilled = true;
      miss.pending++;
      copies.refill(miss.block + from, i - from, isRefilled => {
        if (isRefilled) miss.rounds = 0;
        this.#landed(miss);
      });
    }
  }

  #onCopies(miss: MissRead, first: number, good: readonly boolean[], { seqs, crcs }: WantedBlocks, copies: CopyPort): void {
    for (let n = 0; n < good.length; n++) {
      if (!good[n]) continue;
      const i = first + n;
      const offset = miss.offsetOf(i);
      miss.wanted[i] = 0;
      copies.repair(miss.block + i, seqs[n]!, crcs[n]!, offset);
      if (miss.overtaken[i] === 0) this.#enterCache(miss.block + i, offset);
    }
    this.#landed(miss);
  }

  /** Each range of neighbours that end alike. */
  #reportBad(miss: MissRead): void {
    const { host, state } = this.controller;
    for (let i = 0; i < miss.blocks; i++) {
      if (miss.wanted[i] === 0) continue;
      const from = i;
      while (i + 1 < miss.blocks && miss.wanted[i + 1] === 1 && miss.errno[i + 1] === miss.errno[from]) i++;
      host.onBadBlock(state.vdiskId, (miss.block + from) * BLOCK_BYTES, miss.errno[from]!, (i + 1 - from) * BLOCK_BYTES);
    }
  }

  #finish(miss: MissRead, status: IoStatus): void {
    this.#active.delete(miss);
    const { probes, clock } = this.controller.ports;
    probes['read-miss'].record(miss.blocks * BLOCK_BYTES, miss.startedNs - miss.beganNs, clock.nowNs - miss.startedNs);
    const { request, path, done } = miss;
    if (done !== null) {
      this.#recycle(miss);
      done(status === IoStatus.ok);
      return this.#startQueued();
    }
    if (request === null || !path!.isOpen || status !== IoStatus.ok || request.op !== IoOp.read) {
      for (const offset of miss.buffers) if (offset >= 0) this.controller.ports.buffers.give(offset);
      this.#recycle(miss);
      if (request !== null && path!.isOpen) this.controller.answer(request, status);
      return;
    }
    const end = request.offsetBytes + request.lengthBytes;
    for (let i = 0; i < miss.bufferCount; i++) {
      const start = (miss.block + i * (MAX_READ_BLOCKS - 1)) * BLOCK_BYTES;
      const from = Math.max(request.offsetBytes, start);
      const to = Math.min(end, start + miss.bufferBlocks(i) * BLOCK_BYTES);
      request.data.add(miss.buffers[i]! + (from - start), to - from);
    }
    request.pathTag = miss.index + 1;
    this.controller.answer(request, IoStatus.ok);
  }

  #take(): MissRead | null {
    const miss = this.#free.pop();
    if (miss !== undefined) return miss;
    if (this.#misses.length === MAX_MISS_READS) return null;
    const made = new MissRead(this.#misses.length, this);
    this.#misses.push(made);
    return made;
  }

  #recycle(miss: MissRead): void {
    miss.end();
    if (miss.index >= 0) this.#free.push(miss);
    this.#startQueued();
  }

  #startQueued(): void {
    while (this.#queue.length > 0) {
      const miss = this.#take();
      if (miss === null) return;
      const { request, path } = this.#queue.shift()!;
      const first = Math.floor(request.offsetBytes / BLOCK_BYTES);
      const last = Math.floor((request.offsetBytes + request.lengthBytes - 1) / BLOCK_BYTES);
      this.#startMiss(miss, request, path, first, last - first + 1);
    }
  }
}
