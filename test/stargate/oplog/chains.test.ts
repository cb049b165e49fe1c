import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { ChainReader } from '../../../src/stargate/oplog/chains.js';
import type { DecodedEntry } from '../../../src/stargate/oplog/codec.js';
import { VdiskTable, type StreamVdiskLog } from '../../../src/stargate/oplog/vdisk-log.js';

const COMMON = { historyId: 1, id0: 1, id1: 2, id2: 3, id3: 4, creationTerm: 2, flags: 0 };

/** Of entry `seq`; `prevHash` is ten times the seq before it, as `hash` is ten times its own. */
const entry = (seq: number): Partial<DecodedEntry> => ({ kind: EntryKind.write, seq, prevHash: 10 * (seq - 1), hash: 10 * seq });
/** A local record stands at the end of the log as it was then. */
const promiseAt = (seq: number): Partial<DecodedEntry> => ({ kind: EntryKind.replicaPromise, seq, prevHash: 10 * seq });
const cutAt = (seq: number, afterSeq: number): Partial<DecodedEntry> => ({
  ...{ kind: EntryKind.cut, seq, prevHash: 10 * seq },
  ...{ offsetBytes: afterSeq, clientSeq: 10 * afterSeq, sessionId: 1 },
});

function read(...entries: readonly Partial<DecodedEntry>[]): StreamVdiskLog {
  const table = new VdiskTable();
  const reader = new ChainReader(table, undefined, () => undefined);
  entries.forEach((one, i) => reader.onEntry({ ...COMMON, lsn: 4096 * (i + 1), ...one } as DecodedEntry));
  return [...table.values()][0]!;
}

describe('the chain of a vdisk in a stream', () => {
  it('begins behind the local record that it begins with', () => {
    const log = read(promiseAt(5), entry(6), entry(7));
    expect([log.broken, log.firstSeq, log.firstPrevHash, log.lastSeq]).toEqual([null, 6, 50, 7]);
  });

  it('lacks nothing of what a cut has taken away: it begins behind the cut', () => {
    const log = read(promiseAt(5), cutAt(5, 3), entry(4), entry(5));
    expect([log.broken, log.firstSeq, log.firstPrevHash, log.lastSeq, log.lastHash]).toEqual([null, 4, 30, 5, 50]);
  });

  it('keeps its beginning where the cut comes behind that', () => {
    const log = read(promiseAt(2), entry(3), entry(4), entry(5), cutAt(5, 3), entry(4));
    expect([log.broken, log.firstSeq, log.firstPrevHash, log.lastSeq]).toEqual([null, 3, 20, 4]);
  });

  it.each([
    ['an entry is missing', [entry(3), entry(5)]],
    ['a local record is not where the log ends', [entry(3), promiseAt(4)]],
    ['a term falls', [entry(3), { ...entry(4), creationTerm: 1 }]],
    ['an entry is of another history', [entry(3), { ...entry(4), historyId: 2 }]],
  ])('is broken where %s', (_, entries) => {
    const log = read(...entries);
    expect([log.broken?.cause, log.lastSeq]).toEqual(['chain', 3]);
  });
});
