import { EngineError, errno, type FileSystem, type Slot } from 'uring-engine';
import type { ExportRequest } from '../export.js';

/** What a metadata context says of data and of holes. */
export interface ExtentFlags {
  readonly data: number;
  readonly hole: number;
}

/** base:allocation: a hole is one, and reads as zeroes (NBD_STATE_HOLE, NBD_STATE_ZERO). */
export const ALLOCATION_FLAGS: ExtentFlags = { data: 0, hole: 3 };
/** qemu:allocation-depth: a file is one layer. */
export const DEPTH_FLAGS: ExtentFlags = { data: 1, hole: 0 };

/**
 * Answers a BLOCK_STATUS by what the file system says. Extents are multiples of the minimum block (proto.md, "Metadata querying"): a block that is
 * data in part is data. Returns 0, or a positive errno.
 */
export function addFileExtents(
  files: Pick<FileSystem, 'nextData' | 'nextHole'>,
  slot: Slot,
  request: Pick<ExportRequest, 'offsetBytes' | 'lengthBytes' | 'addExtent'>,
  minimumBytes: number,
  flags: ExtentFlags,
): number {
  const end = request.offsetBytes + request.lengthBytes;
  try {
    for (let at = request.offsetBytes; at < end;) {
      const found = Math.max(at, files.nextData(slot, at));
      const data = Math.max(at, Math.min(end, roundDown(found, minimumBytes)));
      if (data > at && !request.addExtent(data - at, flags.hole)) return 0;
      if (data === end) return 0;
      // What lies behind the end of a file that somebody has cut short is no hole: reading it fails.
      const hole = roundDown(files.nextHole(slot, found) + minimumBytes - 1, minimumBytes);
      at = hole > data ? Math.min(end, hole) : end;
      if (!request.addExtent(at - data, flags.data)) return 0;
    }
    return 0;
  } catch (error) {
    return errnoOfEngine(error);
  }
}

/** The positive errno of what a synchronous call of the engine throws. */
export function errnoOfEngine(error: unknown): number {
  if (!(error instanceof EngineError)) throw error;
  return (errno as Readonly<Record<string, number>>)[error.code] ?? errno.EIO;
}

function roundDown(bytes: number, toBytes: number): number {
  return bytes - (bytes % toBytes);
}
