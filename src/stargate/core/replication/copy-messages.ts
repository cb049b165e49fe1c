import * as z from 'zod';
import { MAX_ENTRY_BLOCKS } from '../limits.js';
import { BlockState, RECORD_BLOCKS } from '../ports.js';
import { messageCodec } from './message-codec.js';

/**
 * How a replica comes by entries that are damaged in its log (rule 5): by number and hash, which is that of the whole log up to there. The entries that end with it lie
 * beside `haveEntries`, none where whoever answers has not got it.
 *
 * And how it comes by blocks that are damaged in its own extents or log (rule 24). A block is asked for by its identity: number in the vdisk, seq, checksum.
 * Whoever has exactly that version may answer, whatever its term and office: the content proves itself. Found blocks lie beside `have`, in the order of `good`.
 *
 * And how it learns what the blocks are of which its own record is damaged: `wantStates` names the first of them, how far the segment is drained there, and the history.
 * Only who has everything up to there answers, with the newest version that it has of each. What it does not know itself is `lost`.
 */
const counter = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const id = z.string().min(1).max(64);
const columns = z.array(counter).min(1).max(MAX_ENTRY_BLOCKS);

const want = z
  .object({ kind: z.literal('want'), id, blocks: columns, seqs: columns, crcs: columns })
  .refine(one => one.blocks.length === one.seqs.length && one.blocks.length === one.crcs.length);
/** `good`: places in the lists of `want`, ascending. */
const have = z
  .object({ kind: z.literal('have'), id, good: z.array(counter.max(MAX_ENTRY_BLOCKS - 1)).max(MAX_ENTRY_BLOCKS) })
  .refine(one => one.good.every((place, i) => i === 0 || place > one.good[i - 1]!));

const wantEntries = z.object({ kind: z.literal('wantEntries'), id, seq: counter.min(1), hash: counter.max(0xffff_ffff) });
const haveEntries = z.object({ kind: z.literal('haveEntries'), id });

const wantStates = z.object({
  ...{ kind: z.literal('wantStates'), id, block: counter.multipleOf(RECORD_BLOCKS), drainSeq: counter.min(1), historyId: counter },
});
const states = z.array(counter).length(RECORD_BLOCKS);
const haveStates = z.object({
  ...{ kind: z.literal('haveStates'), id, drainSeq: counter, seqs: states, crcs: z.array(counter.max(0xffff_ffff)).length(RECORD_BLOCKS) },
  states: z.array(counter.max(BlockState.lost)).length(RECORD_BLOCKS),
});

export type WantStates = z.infer<typeof wantStates>;
export type HaveStates = z.infer<typeof haveStates>;
export type WantEntries = z.infer<typeof wantEntries>;
export type HaveEntries = z.infer<typeof haveEntries>;
export type WantCopies = z.infer<typeof want>;
export type HaveCopies = z.infer<typeof have>;

export const { encode: encodeCopies, decode: decodeCopies } = messageCodec<
  WantCopies | HaveCopies | WantEntries | HaveEntries | WantStates | HaveStates
>(z.union([want, have, wantEntries, haveEntries, wantStates, haveStates]));
