import { crc32c } from '@node-rs/crc32';
import type { Arena } from 'uring-engine';
import { BlockIndex } from '../core/block-index.js';
import {
  decodeAttachMode,
  decodeHead,
  decodePromise,
  decodeReplicaHead,
  decodeSessionOpen,
  type HeadRecord,
  type PromiseRecord,
  type ReplicaHeadRecord,
} from '../core/head.js';
import { zeroCutOff } from '../core/applied.js';
import type { Entry } from '../core/replication/entry.js';
import { RoundEnds } from '../core/round-ends.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, EntryKind, type BlockStorePort, type LayerId } from '../core/ports.js';
import { SessionTable } from '../core/sessions.js';
import { EntryFlag, type RecoveredEntry, type RecoveryVisitor, type StreamVdiskLog } from '../oplog/index.js';
import { replicatedEntry } from './group/entries.js';

/** What the log says of one vdisk. */
export interface RecoveredVdisk {
  readonly index: BlockIndex;
  readonly sessions: SessionTable;
  /** The last one, or null. */
  head: HeadRecord | null;
  /** By the last head or RESIZE; null: there is none. */
  sizeBytes: number | null;
  /** Why it cannot be served, or ''. What is wrong with one vdisk must not keep the others away. */
  problem: string;
  /** Its log is a replica's: what is committed of it is not known yet, so nothing of it is in `index` and `sessions`. */
  replica: RecoveredReplica | null;
  readonly layer: LayerId | null;
  readonly roundEnds: RoundEnds;
  /** Its last entry is a HEAD: no change was answered that is not in the log (rule 27). */
  endsInHead: boolean;
}

/** The records of a replica, and the entries behind what its last head has drained. */
export interface RecoveredReplica {
  head: ReplicaHeadRecord | null;
  promise: PromiseRecord | null;
  /** By seq; where the log has two, the one that was written last. Some may be missing, or be none of this log: see {@link ChainWalk}. */
  readonly entries: Map<number, Entry>;
}

/**
 * Rebuilds the vdisks of a stream from its entries, in order. What a segment's extents have taken up already (seq ≤ its drainSeq) stays out of the index: that
 * is decided by the block store alone, so a crash anywhere in a drain costs only another drain.
 */
export class RecoveryCollector implements RecoveryVisitor {
  readonly vdisks = new Map<string, RecoveredVdisk>();

  constructor(
    readonly arena: Arena,
    readonly store: Pick<BlockStorePort, 'layersOf' | 'drainSeq' | 'segments'>,
    /** Of the log, between two ends of drain rounds. */
    readonly roundBytes = Infinity,
  ) {}

  onEntry(log: StreamVdiskLog, entry: RecoveredEntry): void {
    const vdisk = this.#vdisk(log.vdiskId);
    if (vdisk.problem !== '') return;
    try {
      this.#take(vdisk, entry);
    } catch (error) {
      vdisk.problem = `entry ${entry.seq} of its log cannot be taken up: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  onNewHistory(log: StreamVdiskLog): void {
    this.vdisks.delete(log.vdiskId);
  }

  #take(vdisk: RecoveredVdisk, entry: RecoveredEntry): void {
    if ((entry.flags & EntryFlag.replicated) !== 0)
      return this.#takeReplicated((vdisk.replica ??= { head: null, promise: null, entries: new Map() }), entry);
    vdisk.roundEnds.passed(entry.seq, entry.hash, entry.lsn);
    vdisk.endsInHead = entry.kind === EntryKind.head;
    const session = entry.sessionId > 0 ? vdisk.sessions.get(entry.sessionId) : undefined;
    switch (entry.kind) {
      case EntryKind.write:
      case EntryKind.fullImage:
        this.#written(vdisk, entry);
        break;
      case EntryKind.zero:
      case EntryKind.trim:
        this.#zeroed(vdisk, entry);
        break;
      case EntryKind.sessionOpen:
        vdisk.sessions.open(entry.seq, decodeSessionOpen(this.#payload(entry)));
        return;
      case EntryKind.attachMode:
        vdisk.sessions.setMode(decodeAttachMode(this.#payload(entry)));
        return;
      case EntryKind.sessionClose:
        vdisk.sessions.close(entry.sessionId);
        return;
      case EntryKind.head:
        vdisk.head = decodeHead(this.#payload(entry));
        vdisk.sessions.restore(vdisk.head.sessions);
        vdisk.sizeBytes = vdisk.head.sizeBytes;
        return;
      case EntryKind.resize:
        this.#resized(vdisk, entry);
        return;
      default:
        return;
    }
    session?.foundInLog(entry.clientSeq, entry.part, entry.parts);
  }

  #takeReplicated(replica: RecoveredReplica, entry: RecoveredEntry): void {
    switch (entry.kind) {
      case EntryKind.replicaPromise:
        replica.promise = decodePromise(this.#payload(entry));
        return;
      case EntryKind.replicaReset:
        replica.entries.clear();
        this.#takeHead(replica, entry);
        return;
      case EntryKind.replicaHead:
        this.#takeHead(replica, entry);
        for (const seq of replica.entries.keys()) if (seq <= replica.head!.drained.seq) replica.entries.delete(seq);
        return;
      case EntryKind.cut:
        for (const seq of replica.entries.keys()) if (seq > entry.offsetBytes) replica.entries.delete(seq);
        return;
      default:
        replica.entries.set(entry.seq, replicatedEntry(entry, this.arena));
    }
  }

  /** What stood before it may have been given up: the promise's own record, too. */
  #takeHead(replica: RecoveredReplica, entry: RecoveredEntry): void {
    replica.head = decodeReplicaHead(this.#payload(entry));
    if ((replica.head.promise?.term ?? 0) >= (replica.promise?.term ?? 0)) replica.promise = replica.head.promise;
  }

  #written(vdisk: RecoveredVdisk, entry: RecoveredEntry): void {
    const first = entry.offsetBytes / BLOCK_BYTES;
    const blocks = entry.lengthBytes / BLOCK_BYTES;
    for (let i = 0; i < blocks; i++) {
      if (this.#isDrained(vdisk, Math.floor((first + i) / BLOCKS_PER_SEGMENT), entry.seq)) continue;
      const from = entry.payloadOffset + i * BLOCK_BYTES;
      const crc = crc32c(this.arena.bytes.subarray(from, from + BLOCK_BYTES));
      vdisk.index.setWritten(first + i, entry.seq, entry.lsn + i * BLOCK_BYTES, crc);
    }
  }

  #zeroed(vdisk: RecoveredVdisk, entry: RecoveredEntry): void {
    const end = (entry.offsetBytes + entry.lengthBytes) / BLOCK_BYTES;
    for (let at = entry.offsetBytes / BLOCK_BYTES; at < end;) {
      const segment = Math.floor(at / BLOCKS_PER_SEGMENT);
      const stop = Math.min(end, (segment + 1) * BLOCKS_PER_SEGMENT);
      if (!this.#isDrained(vdisk, segment, entry.seq)) {
        vdisk.index.setSegmentZero(segment, at - segment * BLOCKS_PER_SEGMENT, stop - at, entry.seq);
      }
      at = stop;
    }
  }

  #resized(vdisk: RecoveredVdisk, { seq, offsetBytes, lengthBytes }: RecoveredEntry): void {
    vdisk.sizeBytes = offsetBytes;
    if (lengthBytes === 0) return;
    const extents = vdisk.layer === null ? [] : this.store.segments(vdisk.layer);
    zeroCutOff(vdisk.index, offsetBytes / BLOCK_BYTES, lengthBytes / BLOCK_BYTES, seq, extents);
  }

  #isDrained(vdisk: RecoveredVdisk, segment: number, seq: number): boolean {
    return vdisk.layer !== null && seq <= this.store.drainSeq(vdisk.layer, segment);
  }

  #payload(entry: RecoveredEntry): Uint8Array {
    return this.arena.bytes.slice(entry.payloadOffset, entry.payloadOffset + entry.payloadBytes);
  }

  #vdisk(vdiskId: string): RecoveredVdisk {
    let vdisk = this.vdisks.get(vdiskId);
    if (vdisk === undefined) {
      const layer = this.store.layersOf(vdiskId).at(-1) ?? null;
      const nothing = { head: null, sizeBytes: null, problem: '', replica: null, endsInHead: false };
      vdisk = { index: new BlockIndex(), sessions: new SessionTable(), layer, roundEnds: new RoundEnds(this.roundBytes), ...nothing };
      this.vdisks.set(vdiskId, vdisk);
    }
    return vdisk;
  }
}
