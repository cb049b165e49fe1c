import type { EventDraft } from '../../base/events.js';
import { SEGMENT_BYTES } from '../core/ports.js';

const OF_THE_DISK = { vdiskId: null } as const;

export const DISK_FULL: EventDraft = {
  ...OF_THE_DISK,
  kind: 'disk-full',
  severity: 'error',
  cause: 'the disk is full: data stays in the log, and when that is full, too, writes are refused; reads, trims and deletions go on',
  action: 'make space on the file system of the data directory, or delete vdisks; it goes on by itself',
};

export const DISK_SPACE_BACK: EventDraft = {
  ...OF_THE_DISK,
  kind: 'disk-space-back',
  severity: 'info',
  cause: 'the disk has space again: the log is emptied into the extents',
};

export function segmentMended(vdiskId: string | null, segment: number): EventDraft {
  const cause = 'a damaged record of the block store, of a segment of 1 GiB, was written anew: what runs knew what it said';
  return { vdiskId, kind: 'rot-mended', severity: 'warn', cause, details: { offsetBytes: segment * SEGMENT_BYTES } };
}
