import { crc32c } from '@node-rs/crc32';
import type { Controller } from './controller.js';
import { BLOCK_BYTES, EntryKind } from './ports.js';
import { zeroCutOff } from './applied.js';

/**
 * Applies committed changes of a vdisk that is served here, from memory: the index says where they are, the cache holds them, and reads that are under way
 * hear that they are overtaken. A replica applies what is in its log: applied.ts.
 */
export class Applier {
  constructor(readonly controller: Controller) {}

  /** The change becomes readable. `payloadCrc` is that of a single block, too: the common case needs no second pass over it. */
  apply(at: number, seq: number, payloadOffset: number, payloadCrc: number): void {
    const { flights, index, reads, cacheOwner, ports, state } = this.controller;
    const { arena, cache } = ports;
    const block = flights.block[at]!;
    const blocks = flights.blocks[at]!;
    reads.overtake(block, blocks);
    if (flights.kind[at] !== EntryKind.write && flights.kind[at] !== EntryKind.fullImage) {
      if (flights.kind[at] === EntryKind.resize) zeroCutOff(index, block, blocks, seq, ports.store.segments(state.layer));
      else index.setZero(block, blocks, seq);
      cache.drop(cacheOwner, block, blocks);
      return;
    }
    const lsn = flights.lsn[at]!;
    for (let i = 0; i < blocks; i++) {
      const from = payloadOffset + i * BLOCK_BYTES;
      const crc = blocks === 1 ? payloadCrc : crc32c(arena.bytes.subarray(from, from + BLOCK_BYTES));
      index.setWritten(block + i, seq, lsn + i * BLOCK_BYTES, crc);
      const page = cache.insert(cacheOwner, block + i);
      if (page >= 0) arena.bytes.copyWithin(page, from, from + BLOCK_BYTES);
    }
  }

  /** The planted bug of ControllerMutations.indexBeforeDurable. */
  applyEarly(at: number): void {
    const { draft, lastSeq, ports } = this.controller;
    const from = draft.payload.offsets[0]!;
    this.apply(at, lastSeq, from, crc32c(ports.arena.bytes.subarray(from, from + BLOCK_BYTES)));
  }
}
