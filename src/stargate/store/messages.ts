import assert from 'node:assert/strict';
import type { WakeHandle } from 'uring-engine';
import type { DrainCommit, RecordRefill } from '../core/ports.js';
import type { SegmentRecord } from './format.js';
import { MAX_DRAIN_RUNS } from './limits.js';

/** What a shard asks the store thread to write. `id` is answered once. */
export type StoreCommand =
  | { readonly kind: 'drain'; readonly id: number; readonly drain: DrainMessage }
  | { readonly kind: 'refill'; readonly id: number; readonly refill: RecordRefill }
  | { readonly kind: 'createLayer'; readonly id: number; readonly vdiskId: string }
  | { readonly kind: 'removeLayer'; readonly id: number; readonly layer: number }
  | { readonly kind: 'forgetLayer'; readonly id: number; readonly layer: number };

/** What the store thread answers, all of it durable. */
export type StoreResult =
  | { readonly kind: 'drain'; readonly id: number; readonly segment: SegmentRecord | null; readonly isMended: boolean }
  | { readonly kind: 'refill'; readonly id: number; readonly segment: SegmentRecord | null }
  | { readonly kind: 'layer'; readonly id: number; readonly layer: number }
  | { readonly kind: 'done'; readonly id: number; readonly ok: boolean }
  /** Nothing was changed. */
  | { readonly kind: 'full'; readonly id: number }
  /** Rule 6: nothing of this store will become durable any more. */
  | { readonly kind: 'failed'; readonly message: string };

/** First message of a shard on its port: how to wake it. */
export interface StoreHello {
  readonly kind: 'hello';
  readonly wake: WakeHandle;
}

/** A drain commit on its way: its own arrays, `count` long. */
export interface DrainMessage {
  readonly layer: number;
  readonly segment: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly block: Int32Array;
  readonly blocks: Int32Array;
  readonly state: Uint8Array;
  readonly crc: Uint32Array;
  readonly seq: Float64Array;
  /** What the shard knows of the segment, null: that there is none. Its record is written anew from that where it is damaged. */
  readonly known: SegmentRecord | null;
}

/** A copy of the commit, with its invariants checked: the planner's bugs end here, not on disk. */
export function copyDrain(commit: DrainCommit, known: SegmentRecord | null): DrainMessage {
  const { count } = commit;
  assert(count >= 0 && count <= MAX_DRAIN_RUNS, `a drain of ${count} runs`);
  return {
    layer: commit.layer,
    segment: commit.segment,
    fromSeq: commit.fromSeq,
    toSeq: commit.toSeq,
    block: commit.block.slice(0, count),
    blocks: commit.blocks.slice(0, count),
    state: commit.state.slice(0, count),
    crc: commit.crc.slice(0, count),
    seq: commit.seq.slice(0, count),
    known,
  };
}
