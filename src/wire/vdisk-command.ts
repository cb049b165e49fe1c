import * as z from 'zod';
import { BLOCK_BYTES, MAX_SIZE_BYTES } from '../base/size.js';

/** What the management asks of a vdisk's controller, on whichever node that is, and what it is answered. Rare: as JSON, or in msgpack between nodes. */
const bytes = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const size = z.number().int().positive().multipleOf(BLOCK_BYTES).max(MAX_SIZE_BYTES);

/** Sizes are whole blocks. */
export const vdiskCommand = z.discriminatedUnion('kind', [
  /** `fromBytes`: as whoever asks knows it: of two that ask, the second one learns of the first. */
  z.object({ kind: z.literal('resize'), fromBytes: size, toBytes: size }),
  /** What is allocated in a range, as far as one answer goes; of length 0: the size alone. */
  z.object({ kind: z.literal('map'), offsetBytes: bytes, lengthBytes: bytes }),
]);
export type VdiskCommand = z.infer<typeof vdiskCommand>;

/** As NBD's base:allocation has them: NBD_STATE_HOLE 1, NBD_STATE_ZERO 2. `zero` was written to, and holds zeroes. */
export const MapFlags = { data: 0, zero: 2, hole: 3 } as const;

export const vdiskAnswer = z.discriminatedUnion('kind', [
  /** No controller is there: at `node`, perhaps. */
  z.object({
    kind: z.literal('refused'),
    reason: z.enum(['not-served', 'closed', 'busy', 'moved']),
    message: z.string(),
    node: z.string().nullable(),
  }),
  /** The entry is committed, or the size was that already. */
  z.object({ kind: z.literal('resized'), sizeBytes: bytes }),
  /** It is another one than `fromBytes`. */
  z.object({ kind: z.literal('changed'), sizeBytes: bytes }),
  /** Another change of the size is in the log, or the log takes nothing for the moment. */
  z.object({ kind: z.literal('busy'), sizeBytes: bytes }),
  /** The log is full until there is space again. */
  z.object({ kind: z.literal('full'), sizeBytes: bytes }),
  /** The controller ceased to be one: what was asked may have been done. */
  z.object({ kind: z.literal('not-served'), sizeBytes: bytes }),
  /** Pairs of length and MapFlags from the beginning of the range on; it may end before the range does. */
  z.object({ kind: z.literal('map'), sizeBytes: bytes, extents: z.array(z.tuple([bytes, z.number().int()])) }),
  /** A record of the block store is damaged. */
  z.object({ kind: z.literal('damaged') }),
]);
export type VdiskAnswer = z.infer<typeof vdiskAnswer>;
