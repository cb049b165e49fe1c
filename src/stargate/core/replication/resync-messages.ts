import * as z from 'zod';
import { BLOCKS_PER_SEGMENT, BlockState } from '../ports.js';
import { messageCodec } from './message-codec.js';

/**
 * What a controller and a replica that is too far behind for its log say to each other (rule 23). The controller asks, one step at a time; the replica
 * answers each with the same `id` and `step`. Blocks lie beside `blocks`, the session table beside `finish`.
 *
 * begin → drains here have ended · open (a segment) → its drainSeq here · blocks … → written · close (the segment) → durable · finish → the log goes on behind `base`
 */
const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const common = { id: z.string().max(64), step: counter };
const segment = counter;
const block = counter.max(BLOCKS_PER_SEGMENT);
const place = z.object({ seq: counter, hash: counter, term: counter });

/** Neighbouring blocks in one state; of data each has its own seq and checksum. `lost`: nobody knows what they are; nothing lies beside it for them. Older software refuses it. */
const run = z
  .object({
    block,
    blocks: block.min(1),
    state: z.union([z.literal(BlockState.data), z.literal(BlockState.zero), z.literal(BlockState.lost)]),
  })
  .refine(one => one.block + one.blocks <= BLOCKS_PER_SEGMENT);

const request = z.discriminatedUnion('kind', [
  z.object({ ...common, kind: z.literal('begin') }),
  z.object({ ...common, kind: z.literal('open'), segment }),
  z.object({
    ...common,
    kind: z.literal('blocks'),
    runs: z.array(run).max(256),
    /** Per block of all runs, in order. */
    seqs: z.array(counter).max(256),
    crcs: z.array(counter).max(256),
  }),
  z.object({ ...common, kind: z.literal('close'), toSeq: counter }),
  z.object({ ...common, kind: z.literal('finish'), base: place, at: place, sizeBytes: counter }),
]);
export type ResyncRequest = z.infer<typeof request>;
export type ResyncRun = z.infer<typeof run>;

const reply = z.object({ ...common, kind: z.literal('ok'), drainSeq: counter });
export type ResyncReply = z.infer<typeof reply>;

export const { encode: encodeResync, decode: decodeResync } = messageCodec<ResyncRequest | ResyncReply>(z.union([request, reply]));
