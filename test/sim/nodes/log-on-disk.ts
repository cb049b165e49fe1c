import {
  batchSeed,
  decodeBatchHeader,
  DecodedEntry,
  decodeEntryHeader,
  decodeSegmentHeader,
  emptyBatchHeader,
  emptySegmentHeader,
} from '../../../src/stargate/oplog/codec.js';
import {
  batchBytes,
  BatchFlag,
  ENTRIES_IN_FIRST_PAGE,
  entryHeaderAt,
  paddedBytes,
  parseName,
  SEGMENT_DATA_OFFSET,
} from '../../../src/stargate/oplog/layout.js';
import { isLocalRecord, type EntryKind } from '../../../src/stargate/core/ports.js';
import { oplogDirectory } from '../node.js';
import type { ClusterNode } from './cluster-node.js';

const PAGE_BYTES = 4096;

/** An entry as it lies in a file of a log. */
export interface EntryOnDisk {
  readonly seq: number;
  readonly kind: EntryKind;
  readonly isLocal: boolean;
  /** First word of the vdisk's id. */
  readonly id0: number;
  readonly batch: BatchOnDisk;
  /** Place of its payload in the file; -1: it has none. */
  readonly payloadAt: number;
}

export interface BatchOnDisk {
  readonly path: string;
  /** Place in the file of its first page, which has the headers. */
  readonly at: number;
  readonly lsn: number;
  readonly bytes: number;
  readonly entries: EntryOnDisk[];
  readonly isCopies: boolean;
  /** A later batch says that it was durable: what is damaged of it is rot, not torn. */
  wasDurable: boolean;
}

/** What the disk has of a stream, in the order of the log, whoever runs on it or not. */
export function batchesOn(node: ClusterNode, stream: number): BatchOnDisk[] {
  const found: { batch: BatchOnDisk; durableLsn: number }[] = [];
  const directory = oplogDirectory(stream);
  for (const [path] of node.disk.walk())
    if (path.startsWith(`${directory}/`) && parseName(path.slice(directory.length + 1)).kind === 'segment') readSegment(node, path, found);
  found.sort((a, b) => a.batch.lsn - b.batch.lsn);
  const durableLsn = Math.max(0, ...found.map(one => one.durableLsn));
  for (const { batch } of found) batch.wasDurable = batch.lsn + batch.bytes <= durableLsn;
  return found.map(({ batch }) => batch);
}

function readSegment(node: ClusterNode, path: string, found: { batch: BatchOnDisk; durableLsn: number }[]): void {
  const file = node.disk.file(path);
  const bytes = new Uint8Array(file.sizeBytes);
  file.read(bytes, 0);
  const view = new DataView(bytes.buffer);
  const segment = emptySegmentHeader();
  if (decodeSegmentHeader(bytes, view, 0, segment) !== 'ok' || segment.startLsn === 0) return;
  const header = emptyBatchHeader();
  for (let at = SEGMENT_DATA_OFFSET; at < bytes.length;) {
    const lsn = segment.startLsn + at - SEGMENT_DATA_OFFSET;
    if (!decodeBatchHeader(bytes, view, at, segment, batchSeed(segment), lsn, header)) {
      at += PAGE_BYTES;
      continue;
    }
    const length = batchBytes(header.entries, header.payloadBytes);
    const batch: BatchOnDisk = {
      path,
      at,
      lsn,
      bytes: length,
      entries: [],
      isCopies: (header.flags & BatchFlag.copies) !== 0,
      wasDurable: false,
    };
    let payloadAt = at + PAGE_BYTES;
    for (let i = 0; i < Math.min(header.entries, ENTRIES_IN_FIRST_PAGE); i++) {
      const entry = new DecodedEntry();
      if (!decodeEntryHeader(bytes, view, at + entryHeaderAt(i, header.payloadBytes), entry)) break;
      const { seq, kind, id0, payloadBytes } = entry;
      batch.entries.push({ seq, kind, isLocal: isLocalRecord(kind), id0, batch, payloadAt: payloadBytes > 0 ? payloadAt : -1 });
      payloadAt += paddedBytes(payloadBytes);
    }
    found.push({ batch, durableLsn: header.durableLsn });
    at += length;
  }
}

/** The entry, or local record, cannot be read any more. */
export function rotPayload(node: ClusterNode, { batch, payloadAt }: EntryOnDisk): void {
  node.disk.rot(batch.path, payloadAt + 3, 0x5a);
}

/** Nothing of the batch can be read any more, not even what was in it. */
export function rotBatch(node: ClusterNode, { path, at }: BatchOnDisk): void {
  node.disk.rot(path, at + 77, 0x5a);
}
