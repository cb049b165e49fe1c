import { errno } from 'uring-engine';
import { OplogError } from './errors.js';
import { MAX_BATCH_BYTES } from './layout.js';
import {
  BATCH_BUFFERS,
  DEFAULT_SEGMENT_BYTES,
  MAX_SEGMENT_BYTES,
  MAX_SEGMENTS,
  MIN_SEGMENT_BYTES,
  MIN_SEGMENTS,
  PAGE_BYTES,
  PREPARE_CHUNK_BYTES,
  RESERVED_SEGMENTS,
} from './limits.js';
import type { OplogOptions, RecoveryReport } from './options.js';
import { errnoOf } from './preparer.js';
import { recover } from './recovery.js';
import { writeHeader, type SegmentPlace } from './segment.js';
import { LogSpace } from './space.js';
import type { VdiskTable } from './vdisk-log.js';

export interface OplogMemory {
  /** Batch buffers; recovery reads through them. */
  readonly windowOffset: number;
  readonly zeroesOffset: number;
  readonly headerOffset: number;
  readonly prepareOffset: number;
}

export interface OpenedLog {
  readonly space: LogSpace;
  readonly vdisks: VdiskTable;
  readonly report: RecoveryReport;
  readonly memory: OplogMemory;
  readonly previousCrc: number;
  /** Position up to which the log says durably that it is durable. */
  readonly recordedLsn: number;
}

/** Recovers the log and makes ready the segment it goes on in. All synchronous. */
export function openLog(options: OplogOptions): OpenedLog {
  const { engine, directory, mutations = {} } = options;
  const memory = memoryOf(options.memoryOffset);
  const segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
  const maxSegments = Math.floor(options.capacityBytes / segmentBytes);
  checkOptions(options, segmentBytes, maxSegments);
  const { files, arena } = engine;
  const recovered = recover({
    files,
    arena,
    directory,
    headerOffset: memory.headerOffset,
    windowOffset: memory.windowOffset,
    windowBytes: BATCH_BUFFERS * MAX_BATCH_BYTES,
    write: true,
    visitor: options.visitor,
    onProgress: options.onProgress,
    laterBatchMeansRot: mutations.laterBatchMeansRot,
  });
  // No more of it is ever written at once.
  arena.bytes.fill(0, memory.zeroesOffset, memory.zeroesOffset + Math.min(segmentBytes, PREPARE_CHUNK_BYTES));
  const fillRandom = options.fillRandom ?? (words => void globalThis.crypto.getRandomValues(words));
  const { zeroesOffset, headerOffset } = memory;
  const place: SegmentPlace = { files, arena, directory, segmentBytes, zeroesOffset, headerOffset, fillRandom };
  const space = new LogSpace(place, maxSegments, recovered);
  const { report } = recovered;
  const goOn = report.clean && report.cutLsn < space.tail.limitLsn;
  try {
    writeAgain(space, memory.windowOffset, report, mutations.trustsReads === true);
    if (!goOn) goOnInFreshSegment(space, report.cutLsn, mutations.cutNotDurable === true);
    makeReserve(space, goOn);
  } catch (error) {
    throw noSpace(directory, error);
  }
  // The header of a fresh segment records that everything before it is durable.
  return { space, vdisks: recovered.vdisks, report, memory, previousCrc: recovered.previousCrc, recordedLsn: report.cutLsn };
}

/**
 * What lies behind the last position that the log knows to be durable is written again, as it was read. A process that was killed may have left it in the disk's cache; and
 * where a sync has failed, to one before this, it can be read until the power goes, and no later sync writes it: for the system it is clean. (PostgreSQL, 2018: fsync's errors.)
 */
function writeAgain(space: LogSpace, windowOffset: number, { durableLsn, cutLsn }: RecoveryReport, trustsReads: boolean): void {
  const last = space.live.at(-1);
  if (last === undefined || durableLsn >= cutLsn) return;
  const { files } = space.place;
  if (!trustsReads) {
    writeHeader(space.place, last);
    for (let lsn = durableLsn; lsn < cutLsn; lsn += MAX_BATCH_BYTES) {
      const bytes = Math.min(MAX_BATCH_BYTES, cutLsn - lsn);
      files.read(last.slot, windowOffset, bytes, last.fileOffset(lsn));
      files.write(last.slot, windowOffset, bytes, last.fileOffset(lsn));
    }
  }
  files.sync(last.slot);
}

/**
 * Crash order: (1) what was read is durable: {@link writeAgain}; (2) the header of a segment that
 * starts at the cut, synced: the durable record of the cut. What lies behind the cut in the old segment is no log any more. A crash before (2) finds
 * the same log and cuts at the same place.
 */
function goOnInFreshSegment(space: LogSpace, cutLsn: number, cutNotDurable: boolean): void {
  const { place } = space;
  const last = space.live.at(-1);
  if (last !== undefined && last.header.startLsn === cutLsn) {
    // Nothing was kept of it: it starts anew, so that a process which crashes at once each time uses up no space.
    last.reuse(cutLsn, space.live[0]!.header.startLsn);
  } else {
    if (space.free.length === 0) space.make();
    space.turn(cutLsn);
  }
  writeHeader(place, space.tail);
  if (!cutNotDurable) place.files.sync(space.tail.slot);
}

/**
 * Data is taken at once, not when the first segment has been made in the background. In a log that was full at its end there has to be
 * room for the HEADs that free it: beyond the capacity, until they have. In a full file system the fresh segment has to do.
 */
function makeReserve(space: LogSpace, goOn: boolean): void {
  try {
    while (space.free.length < RESERVED_SEGMENTS) space.make();
  } catch (error) {
    if (goOn || !isNoSpace(error)) throw error;
  }
}

function memoryOf(memoryOffset: number): OplogMemory {
  const windowOffset = memoryOffset;
  const zeroesOffset = windowOffset + BATCH_BUFFERS * MAX_BATCH_BYTES;
  const headerOffset = zeroesOffset + PREPARE_CHUNK_BYTES;
  return { windowOffset, zeroesOffset, headerOffset, prepareOffset: headerOffset + PAGE_BYTES };
}

function checkOptions(options: OplogOptions, segmentBytes: number, maxSegments: number): void {
  const wrong = (message: string): never => {
    throw new OplogError('ERR_OPLOG_OPTIONS', message);
  };
  if (options.memoryOffset % PAGE_BYTES !== 0) wrong(`the log's memory must start at a page, not at ${options.memoryOffset}`);
  if (segmentBytes % PAGE_BYTES !== 0 || segmentBytes < MIN_SEGMENT_BYTES || segmentBytes > MAX_SEGMENT_BYTES) {
    wrong(`segments of ${segmentBytes} bytes: give a multiple of ${PAGE_BYTES} from ${MIN_SEGMENT_BYTES} to ${MAX_SEGMENT_BYTES}`);
  }
  if (!(maxSegments >= MIN_SEGMENTS && maxSegments <= MAX_SEGMENTS)) {
    wrong(
      `a log of ${options.capacityBytes} bytes: give at least ${MIN_SEGMENTS * segmentBytes} and at most ${MAX_SEGMENTS * segmentBytes}`,
    );
  }
}

function isNoSpace(error: unknown): boolean {
  const result = errnoOf(error);
  return result === -errno.ENOSPC || result === -errno.EDQUOT;
}

function noSpace(directory: string, error: unknown): unknown {
  if (!isNoSpace(error)) return error;
  return new OplogError('ERR_OPLOG_SPACE', `no room for the log in ${directory}: make space in the file system and start again`, {
    cause: error,
  });
}
