import type { Gather } from 'uring-engine';
import type { Mailbox } from '../shard/mailbox.js';
import { MESSAGE_CELLS } from '../shard/limits.js';

/**
 * Lists of numbers in mailbox messages: what does not fit the first message follows in more of them, each full of values. An arena
 * range is one number: offset × 2^21 + length (offsets below 2^32, lengths below 2^21).
 */
const LENGTH_LIMIT = 2 ** 21;
/** An extent is one number: length × 4 + flags. */
const FLAG_LIMIT = 4;

/** Values in a message of the "more" kinds: all but its kind. */
const MORE_VALUES = MESSAGE_CELLS - 1;

export type ValueOf<T> = (list: T, index: number) => number;

export const rangeOf: ValueOf<Gather> = (gather, index) => gather.offsets[index]! * LENGTH_LIMIT + gather.lengths[index]!;
export const extentOf: ValueOf<Float64Array> = (extents, index) => extents[2 * index]! * FLAG_LIMIT + extents[2 * index + 1]!;

export function addRange(gather: Gather, value: number): void {
  const lengthBytes = value % LENGTH_LIMIT;
  gather.add((value - lengthBytes) / LENGTH_LIMIT, lengthBytes);
}

export function setExtent(extents: Float64Array, index: number, value: number): void {
  const flags = value % FLAG_LIMIT;
  extents[2 * index] = (value - flags) / FLAG_LIMIT;
  extents[2 * index + 1] = flags;
}

/**
 * Writes `count` values from cell `first` of the message at `at` on, and posts as many messages of kind `more` as the rest needs.
 */
export function putValues<T>(
  mailbox: Mailbox,
  to: number,
  at: number,
  first: number,
  more: number,
  list: T,
  count: number,
  valueOf: ValueOf<T>,
): void {
  let cells = mailbox.cellsFor(to);
  let cell = at + first;
  let end = at + MESSAGE_CELLS;
  for (let i = 0; i < count; i++) {
    if (cell === end) {
      const next = mailbox.post(to, more);
      cells = mailbox.cellsFor(to);
      cell = next + 1;
      end = next + 1 + MORE_VALUES;
    }
    cells[cell++] = valueOf(list, i);
  }
}
