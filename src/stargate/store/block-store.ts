import assert from 'node:assert/strict';
import { SieveIndex } from '../../base/sieve-index.js';
import {
  BLOCK_BYTES,
  BLOCKS_PER_SEGMENT,
  BlockState,
  type BlockStates,
  type BlockStorePort,
  type DrainCommit,
  type LayerId,
  type RecordRefill,
  type StoreOwner,
} from '../core/ports.js';
import { assertDrain, assertRefill } from './apply.js';
import { ChunkTable, decodeChunk, placeSeed } from './chunk.js';
import { ifWhole, StoreError } from './errors.js';
import {
  chunkKey,
  decodeLayer,
  decodeSegment,
  fillChunkKey,
  keyAfter,
  layerKey,
  parseKey,
  segmentKey,
  type SegmentRecord,
} from './format.js';
import { CHUNK_BLOCKS, CHUNK_CACHE_SLOTS, CHUNKS_PER_SEGMENT, MAX_PENDING_COMMANDS, MAX_VDISK_ID_BYTES } from './limits.js';
import { LayerCatalogue } from './layer-catalogue.js';
import { copyDrain, type DrainMessage, type StoreCommand, type StoreResult } from './messages.js';
import type { RecordReader } from './records.js';

/** The way to whoever writes: the store thread, or the simulated store. Results come in the order of commands. */
export interface StoreLink {
  send(command: StoreCommand): void;
  onResult(listener: (result: StoreResult) => void): void;
}

interface LayerView {
  deleting: boolean;
  readonly segments: Map<number, SegmentRecord>;
  dataBlocks: number;
}

interface Pending {
  readonly command: StoreCommand;
  readonly owner: StoreOwner;
  readonly tag: number;
}

export interface BlockStoreStatistics {
  readonly chunkHits: number;
  readonly chunkMisses: number;
}

/**
 * One shard's view of the node's block store. Reads go to the records directly, through a cache of decoded chunks; writes go to
 * the one writer. A layer belongs to one shard, so that the shard's own commits are all that its cache has to follow: a commit's
 * chunks leave the cache when its answer comes. Until then a lookup may give the old or the new states.
 */
export class BlockStore implements BlockStorePort {
  readonly #layers = new Map<LayerId, LayerView>();
  readonly #pending = new Map<number, Pending>();
  readonly #index: SieveIndex;
  readonly #table: ChunkTable;
  readonly #key = chunkKey(0, 0, 0);
  readonly #catalogue: LayerCatalogue;
  #nextId = 1;
  #failure: string | null = null;
  #onMended: (layer: LayerId, segment: number) => void = () => undefined;

  constructor(
    readonly reader: RecordReader,
    readonly link: StoreLink,
    chunkCacheSlots = CHUNK_CACHE_SLOTS,
  ) {
    this.#catalogue = new LayerCatalogue(reader);
    this.#index = new SieveIndex(chunkCacheSlots);
    this.#table = new ChunkTable(chunkCacheSlots);
    link.onResult(result => this.#onResult(result));
  }

  /** Hears of segments whose own record was damaged when a drain came: it was written anew from what is known of it here. */
  onMended(listener: (layer: LayerId, segment: number) => void): void {
    this.#onMended = listener;
  }

  lookup(layer: LayerId, segment: number, block: number, blocks: number, out: BlockStates): boolean {
    assert(block >= 0 && block + blocks <= BLOCKS_PER_SEGMENT, 'a lookup within one segment');
    if (!this.#viewOf(layer).segments.has(segment)) {
      out.state.fill(BlockState.absent, 0, blocks);
      out.crc.fill(0, 0, blocks);
      out.seq.fill(0, 0, blocks);
      return true;
    }
    const table = this.#table;
    let missed = false;
    let isKnown = true;
    let to = 0;
    while (to < blocks) {
      const chunk = Math.floor(block / CHUNK_BLOCKS);
      let row = this.#index.find(layer, segment * CHUNKS_PER_SEGMENT + chunk);
      if (row < 0) {
        row = this.#load(layer, segment, chunk);
        missed = true;
      }
      const end = Math.min(blocks, to + CHUNK_BLOCKS - (block % CHUNK_BLOCKS));
      if (row < 0) {
        isKnown = false;
        out.state.fill(BlockState.lost, to, end);
        out.crc.fill(0, to, end);
        out.seq.fill(0, to, end);
        block += end - to;
        to = end;
        continue;
      }
      for (let from = row * CHUNK_BLOCKS + (block % CHUNK_BLOCKS); to < end; to++, from++, block++) {
        const state = table.state[from]!;
        if (state === BlockState.lost) isKnown = false;
        out.state[to] = state;
        out.crc[to] = table.crc[from]!;
        out.seq[to] = table.seq[from]!;
      }
    }
    // Also after damage: a snapshot that is kept would be an old one for the next lookup.
    if (missed) this.reader.release();
    return isKnown;
  }

  nextChanged(layer: LayerId, segment: number, block: number, aboveSeq: number): number {
    const first = Math.floor(block / CHUNK_BLOCKS);
    if (first >= CHUNKS_PER_SEGMENT || !this.#viewOf(layer).segments.has(segment)) return BLOCKS_PER_SEGMENT;
    let next = BLOCKS_PER_SEGMENT;
    for (const [key] of this.reader.range(chunkKey(layer, segment, first), keyAfter(chunkKey(layer, segment, CHUNKS_PER_SEGMENT - 1)))) {
      next = Math.max(block, parseKey(key)!.chunk * CHUNK_BLOCKS);
      break;
    }
    // After the records, and from the store, not from the view: a commit in between that changes the base is seen here.
    const isBaseAbove = this.#isBaseAbove(layer, segment, aboveSeq);
    this.reader.release();
    return isBaseAbove ? block : next;
  }

  /** True for a damaged record, too: a lookup says so. */
  #isBaseAbove(layer: LayerId, segment: number, aboveSeq: number): boolean {
    const record = this.reader.get(segmentKey(layer, segment));
    if (record === undefined) return false;
    const known = ifWhole(() => decodeSegment(layer, segment, record));
    return known === null || (known.baseState !== BlockState.absent && known.baseSeq > aboveSeq);
  }

  drainSeq(layer: LayerId, segment: number): number {
    return this.#viewOf(layer).segments.get(segment)?.drainSeq ?? 0;
  }

  commitDrain(commit: DrainCommit, owner: StoreOwner, tag: number): void {
    const drain = copyDrain(commit, this.#viewOf(commit.layer).segments.get(commit.segment) ?? null);
    assertDrain(drain);
    this.#send({ kind: 'drain', id: this.#nextId++, drain }, owner, tag);
  }

  refill(refill: RecordRefill, owner: StoreOwner, tag: number): void {
    assertRefill(refill);
    this.#viewOf(refill.layer);
    const { state, crc, seq } = refill.states;
    const states = { state: state.slice(0, CHUNK_BLOCKS), crc: crc.slice(0, CHUNK_BLOCKS), seq: seq.slice(0, CHUNK_BLOCKS) };
    this.#send({ kind: 'refill', id: this.#nextId++, refill: { ...refill, states } }, owner, tag);
  }

  createLayer(vdiskId: string, owner: StoreOwner, tag: number): void {
    const bytes = Buffer.byteLength(vdiskId);
    assert(bytes > 0 && bytes <= MAX_VDISK_ID_BYTES, `a vdisk id has 1 to ${MAX_VDISK_ID_BYTES} bytes`);
    this.#send({ kind: 'createLayer', id: this.#nextId++, vdiskId }, owner, tag);
  }

  layersOf(vdiskId: string): readonly LayerId[] {
    return this.#catalogue.layersOf(vdiskId);
  }

  vdiskOf(layer: LayerId): string | null {
    return this.#catalogue.vdiskOf(layer);
  }

  removeLayer(layer: LayerId, owner: StoreOwner, tag: number): void {
    this.#send({ kind: 'removeLayer', id: this.#nextId++, layer }, owner, tag);
  }

  deletingLayers(): readonly LayerId[] {
    return this.#catalogue.deleting();
  }

  damagedLayers(): readonly LayerId[] {
    return this.#catalogue.damaged();
  }

  forgetLayer(layer: LayerId, owner: StoreOwner, tag: number): void {
    this.#send({ kind: 'forgetLayer', id: this.#nextId++, layer }, owner, tag);
  }

  segments(layer: LayerId): readonly { segment: number; drainSeq: number; dataBlocks: number }[] {
    return [...this.#viewOf(layer).segments]
      .map(([segment, { drainSeq, dataBlocks }]) => ({ segment, drainSeq, dataBlocks }))
      .sort((a, b) => a.segment - b.segment);
  }

  allocatedBytes(layer: LayerId): number {
    return this.#viewOf(layer).dataBlocks * BLOCK_BYTES;
  }

  /** Commands whose answer is still to come. */
  get pendingCommands(): number {
    return this.#pending.size;
  }

  statistics(): BlockStoreStatistics {
    return { chunkHits: this.#index.hits, chunkMisses: this.#index.misses };
  }

  #send(command: StoreCommand, owner: StoreOwner, tag: number): void {
    if (this.#failure !== null) {
      owner.onStoreFailed(this.#failure);
      return;
    }
    assert(this.#pending.size < MAX_PENDING_COMMANDS, `more than ${MAX_PENDING_COMMANDS} commits wait for the store thread`);
    this.#pending.set(command.id, { command, owner, tag });
    this.link.send(command);
  }

  #onResult(result: StoreResult): void {
    if (result.kind === 'failed') {
      this.#fail(result.message);
      return;
    }
    const pending = this.#pending.get(result.id);
    assert(pending !== undefined, 'an answer of the store thread to no command');
    this.#pending.delete(result.id);
    const { command, owner, tag } = pending;
    switch (result.kind) {
      case 'full':
        owner.onStoreFull(tag);
        return;
      case 'drain':
        assert(command.kind === 'drain');
        if (result.segment !== null) this.#takeUp(command.drain, result.segment);
        if (result.isMended) this.#onMended(command.drain.layer, command.drain.segment);
        owner.onCommitted(tag, result.segment !== null);
        return;
      case 'refill':
        assert(command.kind === 'refill');
        if (result.segment !== null) this.#takeUpRefill(command.refill, result.segment);
        owner.onCommitted(tag, result.segment !== null);
        return;
      case 'layer':
        this.#layers.set(result.layer, { deleting: false, segments: new Map(), dataBlocks: 0 });
        owner.onLayerCreated(tag, result.layer);
        return;
      case 'done':
        assert(command.kind === 'removeLayer' || command.kind === 'forgetLayer');
        if (result.ok) this.#layers.delete(command.layer);
        if (command.kind === 'forgetLayer') this.#index.removeOwner(command.layer);
        owner.onCommitted(tag, result.ok);
        return;
    }
  }

  /** What a commit changed leaves the cache; the next lookup reads it anew. */
  #takeUp(drain: DrainMessage, record: SegmentRecord): void {
    const { layer, segment } = drain;
    this.#setSegment(layer, segment, record);
    let done = -1;
    for (let run = 0; run < drain.block.length; run++) {
      const first = Math.max(done + 1, Math.floor(drain.block[run]! / CHUNK_BLOCKS));
      const last = Math.floor((drain.block[run]! + drain.blocks[run]! - 1) / CHUNK_BLOCKS);
      if (last < first) continue;
      this.#index.removeRange(layer, segment * CHUNKS_PER_SEGMENT + first, last - first + 1);
      done = last;
    }
  }

  #takeUpRefill({ layer, segment, block }: RecordRefill, record: SegmentRecord): void {
    this.#setSegment(layer, segment, record);
    this.#index.remove(layer, segment * CHUNKS_PER_SEGMENT + block / CHUNK_BLOCKS);
  }

  #setSegment(layer: LayerId, segment: number, record: SegmentRecord): void {
    const view = this.#viewOf(layer);
    view.dataBlocks += record.dataBlocks - (view.segments.get(segment)?.dataBlocks ?? 0);
    view.segments.set(segment, record);
  }

  #fail(message: string): void {
    this.#failure = message;
    const owners = new Set([...this.#pending.values()].map(pending => pending.owner));
    this.#pending.clear();
    for (const owner of owners) owner.onStoreFailed(message);
  }

  /** The row of the cache, or -1: the record is damaged. */
  #load(layer: LayerId, segment: number, chunk: number): number {
    const number = segment * CHUNKS_PER_SEGMENT + chunk;
    const row = this.#index.insert(layer, number);
    try {
      const record = this.reader.get(fillChunkKey(this.#key, layer, segment, chunk));
      if (record !== undefined) decodeChunk(record, record.length, placeSeed(layer, segment, chunk), this.#table, row);
      else {
        // The base comes from the same snapshot as the missing chunk, not from the view, which may be one commit behind.
        const base = this.reader.get(segmentKey(layer, segment));
        const segmentRecord = base === undefined ? null : decodeSegment(layer, segment, base);
        this.#table.fill(row, segmentRecord?.baseState ?? BlockState.absent, segmentRecord?.baseSeq ?? 0);
      }
      return row;
    } catch (error) {
      // A damaged record must not be found in the cache the next time.
      this.#index.remove(layer, number);
      if (!(error instanceof StoreError)) throw error;
      return -1;
    }
  }

  /** The layer's segments, read once. */
  #viewOf(layer: LayerId): LayerView {
    const view = this.#layers.get(layer);
    return view === undefined ? this.#loadLayer(layer) : view;
  }

  #loadLayer(layer: LayerId): LayerView {
    this.reader.release();
    try {
      const record = this.reader.get(layerKey(layer));
      if (record === undefined)
        throw new StoreError('ERR_STORE_RECORD', `layer ${layer} has no record; run the offline verifier on the data directory`);
      const view: LayerView = { deleting: decodeLayer(layer, record).deleting, segments: new Map(), dataBlocks: 0 };
      const prefix = segmentKey(layer, 0).subarray(0, 5);
      for (const [key, value] of this.reader.range(prefix, keyAfter(prefix))) {
        const { segment } = parseKey(key)!;
        const segmentRecord = decodeSegment(layer, segment, value);
        view.segments.set(segment, segmentRecord);
        view.dataBlocks += segmentRecord.dataBlocks;
      }
      this.#layers.set(layer, view);
      return view;
    } finally {
      this.reader.release();
    }
  }
}
