import { BlockIndex, Where } from '../core/block-index.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, EntryKind, type LayerId } from '../core/ports.js';
import type { StreamVdiskLog } from '../oplog/index.js';
import { decodeLayer, decodeSegment, KeyKind, keyAfter, parseKey, type SegmentRecord } from '../store/format.js';
import { StoreError } from '../store/errors.js';
import type { RecordReader } from '../store/records.js';
import { bodyOf } from './group/entries.js';
import { replicaDamage } from './group/open.js';
import type { RecoveredVdisk } from './recovery.js';
import { damageOf, type StoreFacts } from './vdisks.js';

/** What the offline verifier reads of the block store once, and asks again and again. Damaged records are passed over. */
export class RecordFacts implements StoreFacts {
  /** Vdisk of each layer that is not being deleted. */
  readonly vdiskOf = new Map<LayerId, string>();
  readonly #segments = new Map<LayerId, Map<number, SegmentRecord>>();
  readonly #damaged: LayerId[] = [];

  constructor(records: RecordReader) {
    const end = keyAfter(Buffer.from([KeyKind.segment]));
    for (const [key, record] of records.range(Buffer.from([KeyKind.layer]), end)) {
      const place = parseKey(key);
      if (place === null) continue;
      try {
        if (place.kind === KeyKind.layer) this.#takeLayer(place.layer, record);
        else this.#segmentsOf(place.layer).set(place.segment, decodeSegment(place.layer, place.segment, record));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (place.kind === KeyKind.layer) this.#damaged.push(place.layer);
      }
    }
    records.release();
  }

  layersOf(vdiskId: string): LayerId[] {
    return [...this.vdiskOf].filter(([, id]) => id === vdiskId).map(([layer]) => layer);
  }

  drainSeq(layer: LayerId, segment: number): number {
    return this.#segments.get(layer)?.get(segment)?.drainSeq ?? 0;
  }

  segments(layer: LayerId): { segment: number; drainSeq: number; dataBlocks: number }[] {
    const segments = [...(this.#segments.get(layer) ?? [])];
    return segments.map(([segment, { drainSeq, dataBlocks }]) => ({ segment, drainSeq, dataBlocks }));
  }

  damagedLayers(): readonly LayerId[] {
    return this.#damaged;
  }

  #takeLayer(layer: LayerId, record: Uint8Array): void {
    const { vdiskId, deleting } = decodeLayer(layer, record);
    if (!deleting) this.vdiskOf.set(layer, vdiskId);
  }

  #segmentsOf(layer: LayerId): Map<number, SegmentRecord> {
    let segments = this.#segments.get(layer);
    if (segments === undefined) this.#segments.set(layer, (segments = new Map()));
    return segments;
  }
}

export interface LogProblem {
  readonly code: 'log-unfit' | 'log-behind' | 'store-behind';
  /** -1: of the vdisk as a whole. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly message: string;
}

/** Whether the log of a vdisk, the block store and the extents go together: what a start would refuse, and what one would not see. */
export function verifyLog(log: StreamVdiskLog, vdisk: RecoveredVdisk | undefined, store: StoreFacts): LogProblem[] {
  const layer = vdisk?.layer ?? store.layersOf(log.vdiskId).at(-1) ?? null;
  const replica = vdisk?.replica ?? null;
  const damage =
    replica === null ? damageOf(log, vdisk, layer, store) : vdisk!.problem || replicaDamage(log, replica, layer, log.historyId);
  if (damage != null && damage !== '') return [whole('log-unfit', damage)];
  if (layer === null) return [];
  const newest = Math.max(0, ...store.segments(layer).map(({ drainSeq }) => drainSeq));
  const problems: LogProblem[] = [];
  if (newest > log.lastSeq) {
    const message = `its log ends at entry ${log.lastSeq}, its extents have taken up entry ${newest}: the log is older than they are`;
    problems.push(whole('log-behind', message));
  }
  const drained = replica?.head?.drained.seq ?? vdisk?.head?.drainedSeq ?? 0;
  for (const [block, blocks] of undrainedBelow(vdisk?.index, drained)) {
    problems.push({
      code: 'store-behind',
      offsetBytes: block * BLOCK_BYTES,
      lengthBytes: blocks * BLOCK_BYTES,
      message: `its log says that entry ${drained} is in the extents, the block store does not have it: the store is older than the log`,
    });
  }
  return problems;
}

/** What a start takes from the log though a head says that it is in the extents, in runs. */
function* undrainedBelow(index: BlockIndex | undefined, drained: number): Generator<readonly [block: number, blocks: number]> {
  if (index === undefined || drained === 0) return;
  for (const segment of index.segments()) {
    let run = 0;
    for (let i = 0; i <= BLOCKS_PER_SEGMENT; i++) {
      const block = segment * BLOCKS_PER_SEGMENT + i;
      const isBelow = i < BLOCKS_PER_SEGMENT && index.find(block) !== Where.notHere && index.found.seq <= drained;
      if (isBelow) run++;
      else if (run > 0) {
        yield [block - run, run];
        run = 0;
      }
    }
  }
}

/** Of a replica: blocks whose newest content may be in the log alone, committed or not. */
export function pendingOf(vdisk: RecoveredVdisk, store: StoreFacts): BlockIndex {
  const { replica, layer } = vdisk;
  if (replica === null || layer === null) return vdisk.index;
  const index = new BlockIndex();
  for (const entry of replica.entries.values()) {
    const { kind, offsetBytes, lengthBytes } = bodyOf(entry);
    if (kind > EntryKind.fullImage) continue;
    const end = (offsetBytes + lengthBytes) / BLOCK_BYTES;
    for (let at = offsetBytes / BLOCK_BYTES; at < end;) {
      const segment = Math.floor(at / BLOCKS_PER_SEGMENT);
      const stop = Math.min(end, (segment + 1) * BLOCKS_PER_SEGMENT);
      if (entry.seq > store.drainSeq(layer, segment))
        index.setSegmentZero(segment, at - segment * BLOCKS_PER_SEGMENT, stop - at, entry.seq);
      at = stop;
    }
  }
  return index;
}

function whole(code: LogProblem['code'], message: string): LogProblem {
  return { code, offsetBytes: -1, lengthBytes: -1, message };
}
