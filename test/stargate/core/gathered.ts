import type { Arena, Gather } from 'uring-engine';

/** The bytes of the arena that the list names, one after the other. */
export function gathered(arena: Arena, gather: Gather): Uint8Array {
  const bytes = new Uint8Array(gather.totalBytes);
  let at = 0;
  for (let i = 0; i < gather.count; i++) {
    bytes.set(arena.bytes.subarray(gather.offsets[i], gather.offsets[i]! + gather.lengths[i]!), at);
    at += gather.lengths[i]!;
  }
  return bytes;
}
