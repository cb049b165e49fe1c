import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import type { Segment, SegmentPlace } from '../../../src/stargate/oplog/segment.js';
import { LogSpace, useOf } from '../../../src/stargate/oplog/space.js';

const DATA_BYTES = 128 << 10;

/** Whether an entry may go on in the last segment of a log that is full, of which so much is taken. */
function mayTake(kind: EntryKind, share: number): boolean {
  const tail = { limitLsn: DATA_BYTES, dataBytes: DATA_BYTES } as Segment;
  const space = new LogSpace({} as SegmentPlace, 4, { live: [tail], free: [], lastNumber: 1 });
  return space.allows(useOf(kind), false, share * DATA_BYTES);
}

describe('the last segment of a log that is full', () => {
  it.each([
    ['data', EntryKind.write, 0, false],
    ['a trim, in its first quarter', EntryKind.trim, 0.25, true],
    ['a trim behind it', EntryKind.trim, 0.26, false],
    ['a session, in its first half', EntryKind.sessionOpen, 0.5, true],
    ['a session behind it', EntryKind.sessionOpen, 0.51, false],
    ['a head or a promise, but in its last eighth', EntryKind.replicaHead, 0.875, true],
    ['a head there', EntryKind.replicaHead, 0.88, false],
    ['a promise there', EntryKind.replicaPromise, 0.88, false],
    // It may be of the vdisk that holds all of the log: without it nothing would ever free it.
    ['a reset, to its end', EntryKind.replicaReset, 1, true],
  ])('%s', (_what, kind, share, may) => {
    expect(mayTake(kind, share)).toBe(may);
  });
});
