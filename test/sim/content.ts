import type { Arena, Gather } from 'uring-engine';
import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';
import { DAMAGED, UNIT_BYTES, UNITS, type Piece } from './history.js';

const UNIT_WORDS = UNIT_BYTES / 4;

/** Fills the arena with what operation `op` writes from `offsetBytes` of its vdisk on: each unit says in each of its words whose it is. */
export function fillPayload(arena: Arena, at: number, op: number, offsetBytes: number, lengthBytes: number): void {
  const { words } = arena;
  for (let done = 0; done < lengthBytes; done += UNIT_BYTES) {
    const unit = (offsetBytes + done) / UNIT_BYTES;
    for (let i = (at + done) / 4, end = i + UNIT_WORDS; i < end; i += 2) {
      words[i] = op;
      words[i + 1] = unit;
    }
  }
}

/** Values of the pieces of a read, from the arena ranges with its data. A unit that is not of one operation throughout, or of another place, is DAMAGED. */
export function valuesOf(arena: Arena, data: Gather, offsetBytes: number, pieces: readonly Piece[]): number[][] {
  const starts: number[] = [];
  for (let i = 0; i < data.count; i++) {
    for (let done = 0; done < data.lengths[i]!; done += UNIT_BYTES) starts.push(data.offsets[i]! + done);
  }
  return pieces.map(({ block, mask }) => {
    const values: number[] = [];
    for (let unit = 0; unit < UNITS; unit++) {
      const place = (block * BLOCK_BYTES) / UNIT_BYTES + unit;
      const start = (mask & (1 << unit)) === 0 ? undefined : starts[place - offsetBytes / UNIT_BYTES];
      values.push(start === undefined ? DAMAGED : valueOf(arena, start, place));
    }
    return values;
  });
}

function valueOf({ words }: Arena, start: number, place: number): number {
  const first = start / 4;
  const op = words[first]!;
  const second = op === 0 ? 0 : place;
  for (let i = first; i < first + UNIT_WORDS; i += 2) if (words[i] !== op || words[i + 1] !== second) return DAMAGED;
  return op;
}
