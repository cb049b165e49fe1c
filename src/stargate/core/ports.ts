import type { Gather } from 'uring-engine';
import { BLOCK_BYTES } from '../../base/size.js';

/**
 * What the controller needs from the mechanisms of its node. The core decides, a mechanism does: the oplog, the
 * extents, the block store and the cache implement these interfaces, in production and under the simulator alike
 * (there the same mechanisms run over the faulty disk).
 *
 * Numbers: `seq`, `term`, `lsn`, offsets and lengths are exact integers below 2^53. Blocks are 4 KiB.
 */

// ---------------------------------------------------------------- oplog

/** Kinds of log entries (replication: "The log"). The numbers are on disk. */
export const EntryKind = {
  write: 1,
  zero: 2,
  trim: 3,
  fullImage: 4,
  sessionOpen: 5,
  sessionClose: 6,
  resize: 7,
  snapshot: 8,
  attachMode: 9,
  head: 10,
  cut: 11,
  promise: 12,
  /** Records of one replica, not entries of the replicated log: they have no seq of their own, and nothing follows them in the chain. */
  replicaHead: 13,
  replicaPromise: 14,
  /** The replica's log goes on behind another's: what came before it is in the extents. */
  replicaReset: 15,
  /** Changes nothing: whoever sees it committed knows that its controller still is one (rule 17). */
  confirm: 16,
  /** What members of the vdisk held in memory alone may be lost: all sessions are to hear of it (rule 27). `clientSeq`: the record's `lossTerm`. */
  memoryLost: 17,
  /** The session has heard so. */
  lossHeard: 18,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** The table of sessions, or the size, is another one when it is committed: a HEAD that does not know of it would be wrong. */
export function changesHead(kind: EntryKind): boolean {
  if (kind === EntryKind.resize || kind === EntryKind.memoryLost || kind === EntryKind.lossHeard) return true;
  return kind === EntryKind.sessionOpen || kind === EntryKind.sessionClose || kind === EntryKind.attachMode;
}

/** A node's own record at a place of its log: `seq` is that of the entry before it. */
export function isLocalRecord(kind: EntryKind): boolean {
  return kind === EntryKind.cut || (kind >= EntryKind.replicaHead && kind <= EntryKind.replicaReset);
}

/**
 * One entry about to be appended. One draft object is reused; the log copies it and its payload during `append`.
 * WRITE, ZERO and TRIM are in whole blocks (the controller has merged partial blocks into full images before). Of a RESIZE `offsetBytes` is the new size,
 * `lengthBytes` what is cut off behind it.
 */
export interface EntryDraft {
  kind: EntryKind;
  /** Contiguous per vdisk; the log asserts it. Of a local record: that of the last entry. */
  seq: number;
  creationTerm: number;
  /** 0: none */
  sessionId: number;
  clientSeq: number;
  part: number;
  parts: number;
  offsetBytes: number;
  lengthBytes: number;
  /** WRITE and FULL_IMAGE: the data, `lengthBytes` in all. Control kinds: the encoded record, any length up to the log's limit. Else empty. */
  payload: Gather;
}

/** One vdisk's log inside a stream. Its identity and chain state live here; created by recovery or `openVdisk`. */
export interface VdiskLog {
  readonly vdiskId: string;
  readonly historyId: number;
  readonly lastSeq: number;
  /** Header checksum of the last entry, 0 for none: what the next one names as its predecessor. */
  readonly lastHash: number;
}

/** Why the log does not take an entry: `busy` for a moment, `full` until drains have freed a part of it. */
export const NoRoom = { busy: -1, full: -2 } as const;

export interface OplogPort {
  /**
   * Adds an entry to the open batch. Returns the position (lsn) of the payload's first byte in the log, for
   * {@link OplogPort.readPayload}, or {@link NoRoom.busy} or {@link NoRoom.full}: `onLogSpace` is called when it has room again.
   * Later, when the entry and all before it in the stream are on stable storage, `owner.onDurable(tag, payloadOffset, payloadCrc)`.
   */
  append(log: VdiskLog, draft: EntryDraft, owner: LogOwner, tag: number): number;
  /**
   * Reads payload bytes (position from `append` or recovery) into the arena. The log space is pinned until the read completes. The bytes are as the device gave them:
   * the caller checks the block's CRC. What is not on stable storage yet is copied from memory, and `onRead` called, during this call.
   */
  readPayload(lsn: number, lengthBytes: number, arenaOffset: number, owner: ReadOwner, tag: number): void;
  /** The vdisk needs nothing below `lsn` any more (rule 21: only after a HEAD that says so is committed). Frees segments when the slowest vdisk has passed. */
  truncate(log: VdiskLog, oldestNeededLsn: number): void;
  readonly usage: OplogUsage;
}

export interface OplogUsage {
  readonly capacityBytes: number;
  readonly usedBytes: number;
  /** LSN at which the oldest kept segment ends: vdisks that need something below it hold it back. */
  readonly oldestSegmentEndLsn: number;
  readonly endLsn: number;
  readonly durableLsn: number;
}

export interface LogOwner {
  /**
   * An owner for which it is enough that its entry is in the log's memory: told so in the order of `append`, each entry once, at the end of the turn and before
   * `onDurable`, with the same arguments. What is in memory alone is gone when the process ends.
   */
  readonly onHeld?: ((tag: number, payloadOffset: number, payloadCrc: number) => void) | undefined;
  /** In the order of `append` over the stream. `payloadOffset`: arena offset of the payload in the batch, readable during this call only; `payloadCrc`: CRC32C of the payload. */
  onDurable(tag: number, payloadOffset: number, payloadCrc: number): void;
  /** The disk failed (rule 6): nothing more of this stream will become durable. */
  onLogFailed(errno: number): void;
  /** After an append was refused: try again. */
  onLogSpace(): void;
}

export interface ReadOwner {
  /** `result`: bytes read or -errno */
  onRead(tag: number, result: number): void;
}

// ---------------------------------------------------------------- extents and their state

/** State of a 4 KiB block in a layer's segment. The numbers are on disk. `lost`: the record that said it was damaged, and nobody here knows any more. */
export const BlockState = { absent: 0, data: 1, zero: 2, lost: 3 } as const;
export type BlockState = (typeof BlockState)[keyof typeof BlockState];

/** Node-local number of a layer, given by the block store when the layer is created, never reused. */
export type LayerId = number;

export interface ExtentPort {
  /** Reads whole blocks of one segment into the arena. Blocks never written read as anything: ask the store first. */
  read(layer: LayerId, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void;
  /** Writes whole blocks, not yet durable. Creates the segment's file where missing. `onRead(tag, bytes or -errno)`. */
  write(layer: LayerId, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void;
  /** Gives the space of the blocks back (punch hole). */
  punch(layer: LayerId, segment: number, block: number, blocks: number, owner: ReadOwner, tag: number): void;
  /** Makes the segment's completed writes and its name durable. */
  sync(layer: LayerId, segment: number, owner: ReadOwner, tag: number): void;
  /** Deletes all files of a layer in the background; `onRead(tag, 0)` when their names are durably gone. Idempotent: after a restart do it again for `BlockStorePort.deletingLayers()`. */
  removeLayer(layer: LayerId, owner: LayerFilesOwner, tag: number): void;
}

/** Hears how the removal of a layer's files goes on. */
export interface LayerFilesOwner extends ReadOwner {
  /** Once, before the first goes: segments whose files are there. */
  onFilesFound?(tag: number, segments: readonly number[]): void;
  onFileRemoved?(tag: number, segment: number): void;
}

/** One segment's change by one drain: committed as a whole (rule 20). Reused. */
export interface DrainCommit {
  layer: LayerId;
  segment: number;
  /** The door: applied only if the segment's drainSeq equals it. */
  fromSeq: number;
  toSeq: number;
  count: number;
  /** Per entry i < count, ascending, not overlapping: a run of blocks with one state. */
  readonly block: Int32Array;
  /** 1 for data (each block has its own CRC), any for zero. */
  readonly blocks: Int32Array;
  readonly state: Uint8Array;
  readonly crc: Uint32Array;
  readonly seq: Float64Array;
}

/** Blocks whose states the block store keeps in one record. */
export const RECORD_BLOCKS = 64;

/** The blocks of one record as they are in the entries up to `drainSeq`. A block that is `lost` is said nothing of. */
export interface RecordRefill {
  readonly layer: LayerId;
  readonly segment: number;
  /** First of them in the segment, a multiple of RECORD_BLOCKS. */
  readonly block: number;
  /** The door: applied only if the segment's drainSeq equals it. */
  readonly drainSeq: number;
  /** RECORD_BLOCKS of each. */
  readonly states: BlockStates;
}

export interface BlockStorePort {
  /** Synchronous. Fills `out` for `blocks` blocks from `block`. False: some are `lost`: a record is damaged, or was when a drain changed it. */
  lookup(layer: LayerId, segment: number, block: number, blocks: number, out: BlockStates): boolean;
  /** The first block from `block` on that may have been changed after `aboveSeq`; BLOCKS_PER_SEGMENT: none has. Passes over what was never written without looking at it. */
  nextChanged(layer: LayerId, segment: number, block: number, aboveSeq: number): number;
  /** 0 for a segment never drained. */
  drainSeq(layer: LayerId, segment: number): number;
  /** Durable when `owner.onCommitted(tag, ok)` is called; `ok` false: the door was shut (fromSeq differs). A lookup may see it before. */
  commitDrain(commit: DrainCommit, owner: StoreOwner, tag: number): void;
  /**
   * What the blocks of a record are that are lost here, from another replica (rule 24). Durable when `owner.onCommitted(tag, ok)` is called; `ok` false: the segment's
   * drainSeq is not the one that is named, or its record is damaged, too. A record that has lost nothing stays as it is.
   */
  refill(refill: RecordRefill, owner: StoreOwner, tag: number): void;
  /** A new empty layer of the vdisk: `owner.onLayerCreated(tag, layer)` when it is durable. */
  createLayer(vdiskId: string, owner: StoreOwner, tag: number): void;
  /** Layers of the vdisk that are not being deleted, oldest first. */
  layersOf(vdiskId: string): readonly LayerId[];
  /** Marks the layer for deletion: `owner.onCommitted(tag, true)` when that is durable. Then delete its files (`ExtentPort.removeLayer`), then `forgetLayer`. */
  removeLayer(layer: LayerId, owner: StoreOwner, tag: number): void;
  /** Whose layer it is, or was; null: its record is damaged, or gone. */
  vdiskOf(layer: LayerId): string | null;
  /** Layers marked for deletion and not yet forgotten: the owner of the store goes on with them after a start. */
  deletingLayers(): readonly LayerId[];
  /** Layers whose record is damaged: nobody knows whose they are. */
  damagedLayers(): readonly LayerId[];
  /** Forgets all states of a layer marked for deletion, its files being gone; in the background. `owner.onCommitted(tag, true)` when nothing of it is left. */
  forgetLayer(layer: LayerId, owner: StoreOwner, tag: number): void;
  /** Segments that exist, ascending, with drainSeq and count of data blocks. */
  segments(layer: LayerId): readonly { segment: number; drainSeq: number; dataBlocks: number }[];
  allocatedBytes(layer: LayerId): number;
}

export interface BlockStates {
  readonly state: Uint8Array;
  readonly crc: Uint32Array;
  readonly seq: Float64Array;
}

/** Of so many blocks: all absent. */
export function newBlockStates(blocks: number): BlockStates {
  return { state: new Uint8Array(blocks), crc: new Uint32Array(blocks), seq: new Float64Array(blocks) };
}

export interface StoreOwner {
  onCommitted(tag: number, ok: boolean): void;
  /** Answer to `createLayer`. */
  onLayerCreated(tag: number, layer: LayerId): void;
  /** The file system is full: nothing was changed, and it may be asked again later. */
  onStoreFull(tag: number): void;
  /** The store's disk failed (rule 6). */
  onStoreFailed(message: string): void;
}

/** Neighbouring blocks that are wanted in exactly these versions. */
export interface WantedBlocks {
  /** The first one's number in the vdisk. */
  readonly block: number;
  /** Per block, at most MAX_ENTRY_BLOCKS. */
  readonly seqs: readonly number[];
  readonly crcs: readonly number[];
}

/** Good copies of damaged blocks, from other nodes that hold the vdisk (rule 24). */
export interface CopyPort {
  /** Puts block i at `arenaOffset` + i × BLOCK_BYTES, with `done(good)`, perhaps before this call returns. A block that is not good is left there as anything. */
  fetch(wanted: WantedBlocks, arenaOffset: number, done: (good: readonly boolean[]) => void): void;
  /** Learns what the blocks of records are that are damaged here. `done(true)`: it is worth while to look them up again. Perhaps before this call returns. */
  refill(block: number, blocks: number, done: (isRefilled: boolean) => void): void;
  /** Its content is at `arenaOffset`, and is copied: it is written into the extents again, if this version is still theirs. */
  repair(block: number, seq: number, crc: number, arenaOffset: number): void;
}

// ---------------------------------------------------------------- cache

/** Cached 4 KiB pages, keyed by (owner, block). One instance per shard, one owner number per vdisk. */
export interface CachePort {
  /** Arena offset of the page, or -1. Marks it as used. Does not pin. */
  find(owner: number, block: number): number;
  /** Pins a page found: it stays where it is and is not reused until `unpin`. */
  pin(pageOffset: number): void;
  unpin(pageOffset: number): void;
  /** A page for this block (the old one is replaced; a pinned old one lives on until unpinned); the caller fills it at once. -1 when everything is pinned. */
  insert(owner: number, block: number): number;
  drop(owner: number, block: number, blocks: number): void;
  dropOwner(owner: number): void;
}

/** Memory for transfers that do not fit the cache's pages: contiguous, page-aligned, bounded. */
export interface BufferPort extends BufferAccess {
  /**
   * The same buffers, with the reserve: for drains. Everybody else may hold a buffer until a client has read its answer, or until the log has room again, which
   * only drains make; drains wait for nobody.
   */
  readonly reserved: BufferAccess;
}

export interface BufferAccess {
  /** A buffer of at least `bytes` (up to MAX_IO_BYTES), or -1: none is free, or others wait: use `wait`. */
  take(bytes: number): number;
  /** Queues for a buffer, first come first served per size class: `waiter.onBuffer(tag, offset)` hands it over, never during this call. */
  wait(bytes: number, waiter: BufferWaiter, tag: number): void;
  give(offset: number): void;
}

export interface BufferWaiter {
  onBuffer(tag: number, offset: number): void;
}

export { BLOCK_BYTES };
export const SEGMENT_BYTES = 1 << 30;
export const BLOCKS_PER_SEGMENT = SEGMENT_BYTES / BLOCK_BYTES;
