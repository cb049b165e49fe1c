import { constants } from 'node:os';
import { crc32c } from '@node-rs/crc32';
import { Where } from '../../core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates, type CopyPort, type WantedBlocks } from '../../core/ports.js';
import type { GroupVdisk } from './group-vdisk.js';
import { MAX_REPAIRS } from './limits.js';

const ENOSPC = -constants.errno.ENOSPC;

interface Repair {
  readonly block: number;
  readonly seq: number;
  readonly crc: number;
  readonly content: Uint8Array;
}

/**
 * Writes blocks that others had whole into the extents again (rule 24). The block store vouches for the same version before and after, so nothing but the
 * content changes, and a crash leaves damage or the block. Nothing may replace the version meanwhile: no drain and no resync of the replica begins, and a
 * drain that is under way does not concern the block, since its newer version would be in the index.
 */
export class BlockRepair implements CopyPort {
  readonly #queue: Repair[] = [];
  readonly #found = newBlockStates(1);
  #isStopped = false;
  /** No drain and no resync begins. */
  isBusy = false;

  constructor(readonly group: GroupVdisk) {}

  fetch(wanted: WantedBlocks, arenaOffset: number, done: (good: readonly boolean[]) => void): void {
    const { rot } = this.group.parts;
    rot.damagedBlocks += wanted.seqs.length;
    this.group.copies.fetch(wanted, arenaOffset, good => {
      for (const isGood of good) if (isGood) rot.fetchedBlocks++;
      done(good);
    });
  }

  refill(block: number, blocks: number, done: (isRefilled: boolean) => void): void {
    this.group.copies.records.refill(block, blocks, done);
  }

  repair(block: number, seq: number, crc: number, arenaOffset: number): void {
    // One that finds no place is found again, by the next read or the scrubber.
    if (this.#isStopped || this.#queue.length >= MAX_REPAIRS || this.#queue.some(one => one.block === block)) return;
    const { arena } = this.group.parts.ports;
    this.#queue.push({ block, seq, crc, content: arena.bytes.slice(arenaOffset, arenaOffset + BLOCK_BYTES) });
    if (this.isBusy) return;
    this.isBusy = true;
    this.#next();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #next(): void {
    const { group } = this;
    // A resync brings whole blocks, newer ones perhaps.
    if (this.#isStopped || group.resyncs.isTarget || group.local.isRestarting) this.#queue.length = 0;
    const repair = this.#queue.shift();
    if (repair === undefined) return void (this.isBusy = false);
    const { buffers } = group.parts.ports;
    const write = (offset: number): void => this.#write(repair, offset);
    const offset = buffers.reserved.take(BLOCK_BYTES);
    if (offset >= 0) write(offset);
    else buffers.reserved.wait(BLOCK_BYTES, { onBuffer: (_tag, given) => write(given) }, 0);
  }

  /** Whether this version is what the extents are to have: newer ones wait in the log, or were drained meanwhile. */
  #isWanted({ block, seq, crc }: Repair): boolean {
    const { group } = this;
    const found = this.#found;
    if (this.#isStopped || group.local.index.find(block) !== Where.notHere) return false;
    const isKnown = group.parts.ports.store.lookup(
      group.options.layer,
      Math.floor(block / BLOCKS_PER_SEGMENT),
      block % BLOCKS_PER_SEGMENT,
      1,
      found,
    );
    return isKnown && found.state[0] === BlockState.data && found.seq[0] === seq && found.crc[0] === crc;
  }

  #write(repair: Repair, offset: number): void {
    const { parts, options, vdiskId } = this.group;
    const { arena, extents, buffers } = parts.ports;
    const segment = Math.floor(repair.block / BLOCKS_PER_SEGMENT);
    const block = repair.block % BLOCKS_PER_SEGMENT;
    const offsetBytes = repair.block * BLOCK_BYTES;
    const end = (isGood: boolean): void => {
      buffers.reserved.give(offset);
      if (isGood) parts.rot.repairedBlocks++;
      this.group.events.repaired(offsetBytes, isGood);
      this.#next();
    };
    if (!this.#isWanted(repair)) {
      buffers.reserved.give(offset);
      return this.#next();
    }
    const check = (): void => {
      const onRead = (_tag: number, result: number): void =>
        end(result === BLOCK_BYTES && crc32c(arena.bytes.subarray(offset, offset + BLOCK_BYTES)) === repair.crc);
      arena.bytes.fill(0, offset, offset + BLOCK_BYTES);
      extents.read(options.layer, segment, block, 1, offset, { onRead }, 0);
    };
    const failed = (result: number): void => {
      end(false);
      // It has written over what had its place already: only another error than lack of space says something of the disk (rule 6).
      if (result !== ENOSPC) parts.onDataFailed('mending a block of', vdiskId);
    };
    const sync = (): void => extents.sync(options.layer, segment, { onRead: (_tag, result) => (result < 0 ? failed(result) : check()) }, 0);
    arena.bytes.set(repair.content, offset);
    const onWritten = (_tag: number, result: number): void => (result < 0 ? failed(result) : sync());
    extents.write(options.layer, segment, block, 1, offset, { onRead: onWritten }, 0);
  }
}
