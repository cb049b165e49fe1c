import type { BlockIndex } from './block-index.js';
import type { SessionOpenRecord } from './head.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, EntryKind } from './ports.js';
import type { AttachMode, SessionTable } from './sessions.js';

/** What an entry of a replicated log says, and where this node has it. */
export interface LogBody {
  readonly kind: EntryKind;
  readonly sessionId: number;
  readonly clientSeq: number;
  readonly part: number;
  readonly parts: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly payloadBytes: number;
  /** Position of its payload in this node's log; -1 until it has one. */
  lsn: number;
  /** CRC32C of each block of a WRITE or FULL_IMAGE; null: its controller applies it from memory. */
  crcs: readonly number[] | null;
  /** Of a SESSION_OPEN. */
  readonly open: SessionOpenRecord | null;
  /** Of an ATTACH_MODE. */
  readonly mode: AttachMode | null;
}

/** A segment that has extents, and how far they have taken up the log. */
export interface DrainedSegment {
  readonly segment: number;
  readonly drainSeq: number;
}

/**
 * A RESIZE that shrinks zeroes what it cuts off (rule 26), wherever there may be something: in the log, or in the extents. What the extents have taken up from behind it
 * stays as it is. Segments that were never written are not touched: there may be millions of them.
 */
export function zeroCutOff(index: BlockIndex, block: number, blocks: number, seq: number, extents: readonly DrainedSegment[]): void {
  const drainSeqs = new Map(extents.map(({ segment, drainSeq }) => [segment, drainSeq]));
  for (const segment of new Set([...index.segments(), ...drainSeqs.keys()])) {
    const start = segment * BLOCKS_PER_SEGMENT;
    const from = Math.max(block, start);
    const to = Math.min(block + blocks, start + BLOCKS_PER_SEGMENT);
    if (from < to && seq > (drainSeqs.get(segment) ?? 0)) index.setSegmentZero(segment, from - start, to - from, seq);
  }
}

/**
 * What the committed entries of a log have made of a vdisk: where its undrained blocks are, its size, and its sessions. Every replica applies the same
 * entries in the same order, so each of them could serve at once (rule 12).
 */
export class AppliedLog {
  constructor(
    readonly index: BlockIndex,
    readonly sessions: SessionTable,
    public sizeBytes: number,
    /** Of its layer here. */
    readonly extents: () => readonly DrainedSegment[],
  ) {}

  applyBlocks(seq: number, { kind, offsetBytes, lengthBytes, lsn, crcs }: LogBody): void {
    const block = offsetBytes / BLOCK_BYTES;
    const blocks = lengthBytes / BLOCK_BYTES;
    if (kind === EntryKind.write || kind === EntryKind.fullImage) {
      for (let i = 0; i < blocks; i++) this.index.setWritten(block + i, seq, lsn + i * BLOCK_BYTES, crcs![i]!);
    } else if (kind === EntryKind.zero || kind === EntryKind.trim) this.index.setZero(block, blocks, seq);
    else if (kind === EntryKind.resize && blocks > 0) zeroCutOff(this.index, block, blocks, seq, this.extents());
  }

  /** After a start: what a segment's extents have taken already, up to its drainSeq, stays as it is there. */
  applyUndrained(seq: number, { kind, offsetBytes, lengthBytes, lsn, crcs }: LogBody, drainSeqOf: (segment: number) => number): void {
    const first = offsetBytes / BLOCK_BYTES;
    const end = (offsetBytes + lengthBytes) / BLOCK_BYTES;
    if (kind === EntryKind.resize && end > first) zeroCutOff(this.index, first, end - first, seq, this.extents());
    const isData = kind === EntryKind.write || kind === EntryKind.fullImage;
    if (!isData && kind !== EntryKind.zero && kind !== EntryKind.trim) return;
    for (let at = first; at < end;) {
      const segment = Math.floor(at / BLOCKS_PER_SEGMENT);
      const stop = Math.min(end, (segment + 1) * BLOCKS_PER_SEGMENT);
      if (seq > drainSeqOf(segment)) {
        if (!isData) this.index.setZero(at, stop - at, seq);
        else for (let i = at; i < stop; i++) this.index.setWritten(i, seq, lsn + (i - first) * BLOCK_BYTES, crcs![i - first]!);
      }
      at = stop;
    }
  }

  /** What a head has in it: sessions and size. */
  applyHead(seq: number, { kind, sessionId, clientSeq, part, parts, offsetBytes, open, mode }: LogBody): void {
    if (kind === EntryKind.resize) this.sizeBytes = offsetBytes;
    else if (kind === EntryKind.sessionOpen) this.sessions.open(seq, open!);
    else if (kind === EntryKind.attachMode) this.sessions.setMode(mode!);
    else if (kind === EntryKind.sessionClose) this.sessions.close(sessionId);
    else if (kind === EntryKind.memoryLost) this.sessions.memoryLost(clientSeq);
    else if (kind === EntryKind.lossHeard) this.sessions.get(sessionId)?.lossHeard();
    else if (sessionId > 0) this.sessions.get(sessionId)?.foundInLog(clientSeq, part, parts);
  }
}
