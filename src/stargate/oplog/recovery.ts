import { dirname } from 'node:path';
import type { Arena, FileSystem } from 'uring-engine';
import { ChainReader } from './chains.js';
import { OplogError } from './errors.js';
import { FIRST_LSN, parseName, segmentName } from './layout.js';
import type { RecoveryReport, RecoveryVisitor } from './options.js';
import { LogScanner } from './scan.js';
import { openSegment, type Segment } from './segment.js';
import { VdiskTable } from './vdisk-log.js';

export interface RecoverOptions {
  readonly files: FileSystem;
  readonly arena: Arena;
  readonly directory: string;
  /** One page of the arena. */
  readonly headerOffset: number;
  readonly windowOffset: number;
  readonly windowBytes: number;
  /** False: reads only, changes nothing. */
  readonly write: boolean;
  readonly visitor?: RecoveryVisitor | undefined;
  readonly onProgress?: ((readBytes: number, totalBytes: number) => void) | undefined;
  readonly laterBatchMeansRot?: boolean | undefined;
}

export interface Recovered {
  readonly vdisks: VdiskTable;
  /** In the order of the log; the last one is where it ended. Empty: a new stream. */
  readonly live: Segment[];
  /** Ready for use, the ones to use first in front. */
  readonly free: Segment[];
  /** Highest number of a segment file; 0: none. */
  readonly lastNumber: number;
  readonly previousCrc: number;
  readonly report: RecoveryReport;
}

/**
 * Reads the whole log of a stream, synchronously, in the order of positions. Throws {@link OplogError} for a directory that is not ours or of a
 * newer version; damage is reported, not thrown.
 */
export function recover(options: RecoverOptions): Recovered {
  const { used, free, damaged, lastNumber } = openAll(options);
  used.sort((a, b) => a.header.startLsn - b.header.startLsn);
  const tailLsn = used.at(-1)?.header.tailLsn ?? 0;
  const live: Segment[] = [];
  used.forEach((segment, i) => {
    const next = used[i + 1];
    segment.endLsn = next === undefined ? Infinity : next.header.startLsn;
    // What every vdisk had passed when the newest segment was begun is free: nobody needs it read.
    if (segment.endLsn <= tailLsn) free.push(segment);
    else live.push(segment);
  });
  const vdisks = new VdiskTable();
  const { scanner, chains, cutLsn } = scanAll(options, vdisks, live, tailLsn);
  for (const name of damaged) chains.onRotRange(null, cutLsn, Infinity, `${name} has a damaged header: what it held is not known`);
  const { rot, broken } = chains.finish();
  const report: RecoveryReport = {
    clean: scanner.clean && rot.length === 0,
    segments: live.length,
    batches: scanner.batches,
    entries: scanner.entries,
    bytes: scanner.bytes,
    tornBytes: scanner.tornBytes,
    cutLsn,
    durableLsn: Math.max(scanner.durableLsn, live.at(-1)?.header.startLsn ?? 0),
    rot,
    rotRanges: chains.rotRanges,
    broken,
  };
  return { vdisks, live, free, lastNumber, previousCrc: scanner.previousCrc ?? 0, report };
}

function scanAll(options: RecoverOptions, vdisks: VdiskTable, live: readonly Segment[], tailLsn: number) {
  const totalBytes = live.reduce((sum, segment) => sum + segment.header.segmentBytes, 0);
  let readBytes = 0;
  const chains = new ChainReader(vdisks, options.visitor, bytes => {
    readBytes += bytes;
    options.onProgress?.(Math.min(readBytes, totalBytes), totalBytes);
  });
  const { files, arena, windowOffset, windowBytes, laterBatchMeansRot = false } = options;
  const scanner = new LogScanner({ files, arena, windowOffset, windowBytes, laterBatchMeansRot }, chains);
  const first = live[0];
  const missing = (fromLsn: number, toLsn: number): void => {
    chains.onRotRange(null, fromLsn, toLsn, 'a segment file is missing; put it back, or restore the data directory');
    scanner.previousCrc = null;
  };
  if (first !== undefined && tailLsn > 0 && first.header.startLsn > tailLsn) missing(tailLsn, first.header.startLsn);
  let cutLsn = FIRST_LSN;
  live.forEach((segment, i) => {
    const last = i === live.length - 1;
    cutLsn = scanner.scan(segment, last ? null : segment.endLsn);
    if (!last && segment.limitLsn < segment.endLsn) missing(segment.limitLsn, segment.endLsn);
  });
  return { scanner, chains, cutLsn };
}

/** Opens all segment files; removes unfinished ones. */
function openAll(options: RecoverOptions) {
  const { files, directory, write } = options;
  const used: Segment[] = [];
  const free: Segment[] = [];
  const damaged: string[] = [];
  const foreign: string[] = [];
  let lastNumber = 0;
  if (write) files.makeDirectory(directory);
  for (const name of files.list(directory)) {
    const { kind, number } = parseName(name);
    if (kind === 'foreign') {
      foreign.push(name);
      continue;
    }
    lastNumber = Math.max(lastNumber, number);
    if (kind === 'new') {
      if (write) files.remove(`${directory}/${name}`);
      continue;
    }
    const { state, segment } = openSegment(options, number, write);
    if (state === 'ok') (segment.header.startLsn === 0 ? free : used).push(segment);
    else {
      files.close(segment.slot);
      if (state === 'newer') throw newer(`${directory}/${name}`);
      damaged.push(segmentName(number));
    }
  }
  if (used.length + free.length === 0 && damaged.length + foreign.length > 0) throw notOurs(directory, damaged[0] ?? foreign[0]!);
  if (write) {
    // A name that a crash left unsynced would be gone after a power cut, and with it what is about to be built upon: segments, the stream, the folder of all streams.
    files.syncDirectory(directory);
    files.syncDirectory(dirname(directory));
    files.syncDirectory(dirname(dirname(directory)));
  }
  return { used, free, damaged, lastNumber };
}

const newer = (path: string) =>
  new OplogError('ERR_OPLOG_VERSION', `${path} was written by a newer version of Gatepath; start that version, or a newer one`);

const notOurs = (directory: string, name: string) =>
  new OplogError(
    'ERR_OPLOG_FOREIGN',
    `${directory} is no log of Gatepath: "${name}" is none of its files; name an empty directory or one of Gatepath`,
  );
