import { BlockState } from '../core/ports.js';
import { ChunkTable, decodeChunk, placeSeed } from './chunk.js';
import { StoreError } from './errors.js';
import {
  checkFormat,
  counterKey,
  decodeCounter,
  decodeLayer,
  decodeSegment,
  formatKey,
  KeyKind,
  parseKey,
  type LayerRecord,
  type SegmentRecord,
} from './format.js';
import { CHUNK_BLOCKS, CHUNKS_PER_SEGMENT } from './limits.js';
import type { RecordReader } from './records.js';

/** What the offline verifiers found wrong. Numbers that do not apply are -1. `notice`: what a crash may leave, harmless. */
export interface Finding {
  readonly severity: 'error' | 'notice';
  readonly code: string;
  readonly layer: number;
  readonly segment: number;
  readonly block: number;
  readonly message: string;
}

/** Checks that every record of the store is well-formed and agrees with the others. Offline: nobody writes meanwhile. */
export function verifyStore(reader: RecordReader): Finding[] {
  const verifier = new StoreVerifier();
  reader.release();
  const format = reader.get(formatKey);
  if (format === undefined) return [error('store-format', -1, -1, -1, 'the store has no format record')];
  verifier.guard('store-format', -1, -1, () => checkFormat(format));
  const counter = reader.get(counterKey);
  if (counter !== undefined) verifier.guard('store-counter', -1, -1, () => (verifier.nextLayer = decodeCounter(Buffer.from(counter))));
  // Keys sort by kind: layers come before their segments, segments before their chunks.
  for (const [key, record] of reader.range(Buffer.from([KeyKind.format]), Buffer.from([0xff]))) verifier.take(key, record);
  reader.release();
  return verifier.end();
}

/** What is wrong with the record by itself, chunks left out; null: nothing. */
export function recordProblem(key: Uint8Array, record: Uint8Array): string | null {
  const place = parseKey(key);
  if (place === null) return "a key that is none of the store's";
  try {
    if (place.kind === KeyKind.layer) decodeLayer(place.layer, record);
    if (place.kind === KeyKind.segment) decodeSegment(place.layer, place.segment, record);
    return null;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const segment = place.kind === KeyKind.segment ? `, segment ${place.segment}` : '';
    return `the record of layer ${place.layer}${segment}: ${error.message}`;
  }
}

class StoreVerifier {
  nextLayer = 1;
  readonly #findings: Finding[] = [];
  readonly #layers = new Map<number, LayerRecord>();
  readonly #segments = new Map<string, SegmentRecord & { counted: number }>();
  readonly #table = new ChunkTable(1);

  take(key: Uint8Array, record: Uint8Array): void {
    const parsed = parseKey(key);
    if (parsed === null) {
      this.#findings.push(error('store-key', -1, -1, -1, `a key that is none of the store's: ${Buffer.from(key).toString('hex')}`));
      return;
    }
    const { layer, segment, chunk } = parsed;
    if (parsed.kind === KeyKind.layer) this.guard('store-layer', layer, -1, () => this.#takeLayer(layer, record));
    if (parsed.kind === KeyKind.segment) this.guard('store-segment', layer, segment, () => this.#takeSegment(layer, segment, record));
    if (parsed.kind === KeyKind.chunk)
      this.guard('store-chunk', layer, segment, () => this.#takeChunk(layer, segment, chunk, record), chunk * CHUNK_BLOCKS);
  }

  end(): Finding[] {
    for (const [place, { dataBlocks, counted }] of this.#segments) {
      const [layer, segment] = place.split('/').map(Number);
      // A layer being forgotten has lost some of its chunks.
      if (dataBlocks === counted || this.#layers.get(layer!)?.deleting === true) continue;
      this.#findings.push(
        error('store-count', layer!, segment!, -1, `the segment counts ${dataBlocks} data blocks, its chunks have ${counted}`),
      );
    }
    return this.#findings;
  }

  guard(code: string, layer: number, segment: number, check: () => void, block = -1): void {
    try {
      check();
    } catch (thrown) {
      if (!(thrown instanceof StoreError)) throw thrown;
      this.#findings.push(error(code, layer, segment, block, thrown.message));
    }
  }

  #takeLayer(layer: number, record: Uint8Array): void {
    this.#layers.set(layer, decodeLayer(layer, record));
    if (layer >= this.nextLayer) throw bad(`layer ${layer} exists, but the counter stands at ${this.nextLayer}`);
  }

  #takeSegment(layer: number, segment: number, record: Uint8Array): void {
    const decoded = decodeSegment(layer, segment, record);
    this.#segments.set(`${layer}/${segment}`, { ...decoded, counted: 0 });
    if (!this.#layers.has(layer)) throw bad('the segment is of a layer without a record');
    if (decoded.baseState === BlockState.data || decoded.baseState > BlockState.zero) throw bad(`base state ${decoded.baseState}`);
    if (decoded.baseSeq > decoded.drainSeq) throw bad(`base seq ${decoded.baseSeq} above drainSeq ${decoded.drainSeq}`);
  }

  #takeChunk(layer: number, segment: number, chunk: number, record: Uint8Array): void {
    const owner = this.#segments.get(`${layer}/${segment}`);
    if (owner === undefined) {
      // A layer is forgotten chunks first, so its segments outlive their chunks, never the reverse.
      throw bad('the chunk is of a segment without a record');
    }
    if (chunk >= CHUNKS_PER_SEGMENT) throw bad(`chunk ${chunk} lies behind the segment's end`);
    decodeChunk(record, record.length, placeSeed(layer, segment, chunk), this.#table, 0);
    owner.counted += this.#table.dataBlocks(0);
    const lost = this.#table.count(0, BlockState.lost);
    if (lost > 0) {
      const message = `of ${lost} of the 64 blocks from here on nobody knows what they are: the record that said it was damaged`;
      this.#findings.push(error('store-lost', layer, segment, chunk * CHUNK_BLOCKS, message));
    }
    const newest = this.#table.seq.reduce((a, b) => Math.max(a, b));
    if (newest > owner.drainSeq) throw bad(`seq ${newest} above the segment's drainSeq ${owner.drainSeq}`);
  }
}

function bad(message: string): StoreError {
  return new StoreError('ERR_STORE_RECORD', message);
}

function error(code: string, layer: number, segment: number, block: number, message: string): Finding {
  return { severity: 'error', code, layer, segment, block, message };
}
