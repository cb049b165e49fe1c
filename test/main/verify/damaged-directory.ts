import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { LmdbImage, LmdbMetaAt } from '../../../src/base/lmdb-image.js';
import { verifyDirectory, verifyMemory, type Problem } from '../../../src/main/verify/directory.js';
import {
  batchBytes,
  BatchAt,
  EntryAt,
  entryHeaderAt,
  ENTRY_HEADER_BYTES,
  SEGMENT_DATA_OFFSET,
  SegmentAt,
} from '../../../src/stargate/oplog/layout.js';

/** A data directory of a process that has ended, that is damaged and mended again, byte by byte. */
export class DamagedDirectory {
  readonly #memory = verifyMemory();

  constructor(readonly path: string) {}

  problems(severity: Problem['severity'] = 'error'): Problem[] {
    return verifyDirectory(this.path, () => undefined, this.#memory).problems.filter(problem => problem.severity === severity);
  }

  /** What is found while the byte is another one. */
  withFlipped(file: string, at: number, mask = 0xff): Problem[] {
    return this.whileFlipped(file, at, mask, () => this.problems());
  }

  /** As {@link withFlipped}, by one format's verifier alone. */
  whileFlipped<T>(file: string, at: number, mask: number, verify: () => T): T {
    this.flip(file, at, mask);
    try {
      return verify();
    } finally {
      this.flip(file, at, mask);
    }
  }

  /** What is found while `change` has been at work on the file; then the file is as it was. */
  withChanged(file: string, change: (path: string) => void, severity?: Problem['severity']): Problem[] {
    const path = join(this.path, file);
    const kept = `${this.path}.kept`;
    copyFileSync(path, kept);
    try {
      change(path);
      return this.problems(severity);
    } finally {
      rmSync(path, { force: true });
      renameSync(kept, path);
    }
  }

  /** Two ranges of a file change places. */
  swap(path: string, first: number, second: number, lengthBytes: number): void {
    const [a, b] = [first, second].map(at => readAt(path, at, lengthBytes));
    writeAt(path, first, b!);
    writeAt(path, second, a!);
  }

  truncate(path: string, sizeBytes: number): void {
    truncateSync(path, sizeBytes);
  }

  read(file: string): Buffer {
    return readFileSync(join(this.path, file));
  }

  exists(file: string): boolean {
    return existsSync(join(this.path, file));
  }

  list(folder: string): string[] {
    return readdirSync(join(this.path, folder));
  }

  flip(file: string, at: number, mask: number): void {
    const path = join(this.path, file);
    const bytes = readAt(path, at, 1);
    bytes[0]! ^= mask;
    writeAt(path, at, bytes);
  }

  /** Where the records of an LMDB file lie in it, by key. */
  records(file: string): Map<string, { readonly at: number; readonly lengthBytes: number }> {
    const bytes = this.read(file);
    const image = new LmdbImage((at, length) => bytes.subarray(at, at + length), bytes.length);
    const found = new Map<string, { at: number; lengthBytes: number }>();
    for (const [key, record] of image.range(Buffer.of(0), Buffer.of(0xff))) {
      found.set(Buffer.from(key).toString('latin1'), { at: record.byteOffset - bytes.byteOffset, lengthBytes: record.length });
    }
    return found;
  }

  /** Bytes of the page at the top of an LMDB file's main tree, and of the newer beginning. */
  lmdbPages(file: string): { readonly meta: number; readonly root: number } {
    const bytes = this.read(file);
    const transaction = (page: number): number => Number(bytes.readBigUInt64LE(page * 4096 + LmdbMetaAt.transaction));
    const meta = transaction(1) > transaction(0) ? 4096 : 0;
    return { meta, root: Number(bytes.readBigUInt64LE(meta + LmdbMetaAt.main + 40)) * 4096 };
  }

  /** The batches of the newest segment of a stream that has data; null: none has. */
  batches(stream: string): { readonly file: string; readonly batches: readonly FoundBatch[] } | null {
    const segments = this.list(stream)
      .filter(name => name.endsWith('.seg'))
      .map(name => ({ file: `${stream}/${name}`, head: readAt(join(this.path, stream, name), 0, 4096) }))
      .filter(({ head }) => head.readUInt32LE(SegmentAt.startLsn) > 0)
      .sort((a, b) => b.head.readUInt32LE(SegmentAt.startLsn) - a.head.readUInt32LE(SegmentAt.startLsn));
    for (const { file, head } of segments) {
      const batches = batchesOf(join(this.path, file), head.readUInt32LE(SegmentAt.startLsn));
      if (batches.some(({ entries }) => entries.some(({ payloadBytes }) => payloadBytes >= 4096))) return { file, batches };
    }
    return null;
  }
}

export interface FoundEntry {
  /** In the file. */
  readonly at: number;
  readonly kind: number;
  readonly vdiskId: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly payloadAt: number;
  readonly payloadBytes: number;
}

export interface FoundBatch {
  readonly at: number;
  readonly lengthBytes: number;
  readonly entries: readonly FoundEntry[];
}

function batchesOf(path: string, startLsn: number): FoundBatch[] {
  const bytes = readAt(path, 0, Math.min(statSync(path).size, 24 << 20));
  const found: FoundBatch[] = [];
  for (let at = SEGMENT_DATA_OFFSET; at < bytes.length; at += found.at(-1)!.lengthBytes) {
    const isBatch =
      bytes.toString('latin1', at, at + 4) === 'GPGB' && bytes.readUInt32LE(at + BatchAt.lsn) === startLsn + at - SEGMENT_DATA_OFFSET;
    if (!isBatch) break;
    const [count, payload] = [bytes.readUInt32LE(at + BatchAt.entries), bytes.readUInt32LE(at + BatchAt.payloadBytes)];
    let payloadAt = at + 4096;
    const entries = Array.from({ length: count }, (_, i) => {
      const entry = entryOf(bytes, at + entryHeaderAt(i, payload), payloadAt);
      payloadAt += Math.ceil(entry.payloadBytes / 4096) * 4096;
      return entry;
    });
    found.push({ at, lengthBytes: batchBytes(count, payload), entries });
  }
  return found;
}

function entryOf(bytes: Buffer, at: number, payloadAt: number): FoundEntry {
  const id = bytes.subarray(at + EntryAt.vdisk, at + EntryAt.vdisk + 16).toString('hex');
  return {
    at,
    kind: bytes.readUInt16LE(at + EntryAt.kind),
    vdiskId: [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-'),
    offsetBytes: Number(bytes.readBigUInt64LE(at + EntryAt.offset)),
    lengthBytes: Number(bytes.readBigUInt64LE(at + EntryAt.length)),
    payloadAt,
    payloadBytes: bytes.readUInt32LE(at + EntryAt.payloadBytes),
  };
}

export { ENTRY_HEADER_BYTES };

function readAt(path: string, at: number, lengthBytes: number): Buffer {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(lengthBytes);
  readSync(fd, bytes, 0, lengthBytes, at);
  closeSync(fd);
  return bytes;
}

function writeAt(path: string, at: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}
