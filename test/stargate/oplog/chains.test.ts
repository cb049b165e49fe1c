import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { ChainReader } from '../../../src/stargate/oplog/chains.js';
import type { DecodedEntry } from '../../../src/stargate/oplog/codec.js';
import { EntryFlag } from '../../../src/stargate/oplog/layout.js';
import type { Segment } from '../../../src/stargate/oplog/segment.js';
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
  return readDamaged(entries).log;
}

/** What nobody can read; an entry whose payload is damaged; one that stands where its number says. */
type Piece = Partial<DecodedEntry> | 'hole' | { readonly rot: Partial<DecodedEntry> } | { readonly copy: Partial<DecodedEntry> };
const HOLE = 'hole';

function readDamaged(pieces: readonly Piece[], flags: number = COMMON.flags): { log: StreamVdiskLog; seqs: number[]; concerned: boolean } {
  const table = new VdiskTable();
  const seqs: number[] = [];
  const reader = new ChainReader(table, { onEntry: (_log, { seq }) => void seqs.push(seq) }, () => undefined);
  const segment = { number: 1 } as Segment;
  pieces.forEach((piece, i) => {
    const lsn = 4096 * (i + 1);
    const whole = (one: Partial<DecodedEntry>): DecodedEntry => ({ ...COMMON, flags, lsn, payloadBytes: 0, ...one }) as DecodedEntry;
    if (piece === HOLE) reader.onRotRange(segment, lsn, lsn + 4096, 'damaged');
    else if ('rot' in piece) reader.onRotEntry(segment, whole(piece.rot), false);
    else if ('copy' in piece) reader.onEntry(whole(piece.copy), true);
    else reader.onEntry(whole(piece), false);
  });
  const { rot } = reader.finish();
  return { log: [...table.values()][0]!, seqs, concerned: rot.some(({ vdisks }) => vdisks.length > 0) };
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

describe('the chain of a replica in a damaged stream', () => {
  const damaged = (...pieces: readonly Piece[]): ReturnType<typeof readDamaged> => readDamaged(pieces, EntryFlag.replicated);
  const resetAt = (seq: number): Partial<DecodedEntry> => ({ ...promiseAt(seq), kind: EntryKind.replicaReset });

  it('goes on behind a hole with whatever comes there, and what was in front of it is kept', () => {
    const { log, seqs, concerned } = damaged(entry(3), entry(4), HOLE, entry(7), entry(8));
    expect([log.broken, log.gap?.lsn, log.lastSeq, log.lastHash, concerned]).toEqual([null, 3 * 4096, 8, 80, true]);
    expect(seqs).toEqual([3, 4, 7, 8]);
  });

  it('knows from a local record behind the hole where it ended there', () => {
    const { log, seqs } = damaged(entry(3), HOLE, promiseAt(6), entry(7));
    expect([log.broken, log.gap !== null, log.lastSeq]).toEqual([null, true, 7]);
    expect(seqs).toEqual([3, 6, 7]);
  });

  it('may go on in front of where it was: a cut is in the hole', () => {
    const { log } = damaged(entry(3), entry(4), entry(5), HOLE, { ...entry(5), prevHash: 41, hash: 51 });
    expect([log.broken, log.lastSeq, log.lastHash]).toEqual([null, 5, 51]);
  });

  it('keeps the place of an entry whose payload is damaged', () => {
    const { log, seqs } = damaged(entry(3), { rot: { ...entry(4), offsetBytes: 4096, lengthBytes: 8192 } }, entry(5));
    expect([log.broken, log.gap?.message, log.lastSeq]).toEqual([null, 'the payload of entry 4 is damaged, 4096+8192 of the vdisk', 5]);
    expect([seqs, log.mayLackPromise]).toEqual([[3, 5], false]);
  });

  it('gives copies to whoever reads it, and does not end with them', () => {
    const { log, seqs } = damaged(entry(3), HOLE, entry(5), { copy: entry(4) }, entry(6));
    expect([log.broken, log.lastSeq, seqs]).toEqual([null, 6, [3, 5, 4, 6]]);
  });

  it.each<[string, boolean, readonly Piece[]]>([
    ['lacks a promise that a hole may have had, also where all entries are there', true, [entry(3), HOLE, entry(4)]],
    ['lacks one whose payload is damaged', true, [entry(3), { rot: promiseAt(3) }, entry(4)]],
    ['lacks none when a later one is known', false, [entry(3), HOLE, entry(4), promiseAt(4), entry(5)]],
    ['lacks none without damage', false, [entry(3), entry(4)]],
  ])('%s', (_, expected, pieces) => {
    const { log } = damaged(...pieces);
    expect([log.broken, log.mayLackPromise]).toEqual([null, expected]);
  });

  it('is broken where nothing comes behind the hole: nobody can say how far it went', () => {
    const { log, seqs } = damaged(entry(3), entry(4), HOLE);
    expect([log.broken?.cause, seqs]).toEqual(['rot', [3, 4]]);
  });

  it('needs nothing of what is in front of a new beginning, damaged or not', () => {
    const { log } = damaged(entry(3), HOLE, entry(6), entry(9), resetAt(20), entry(21));
    expect([log.broken, log.gap, log.mayLackPromise, log.lastSeq]).toEqual([null, null, false, 21]);
  });

  it('is broken where entries are missing and nothing is damaged', () => {
    const { log } = damaged(HOLE, entry(3), entry(5));
    expect([log.broken?.cause, log.lastSeq]).toEqual(['chain', 3]);
  });

  it('of a vdisk that one node holds alone ends at the hole: nobody else has it', () => {
    const { log, seqs } = readDamaged([entry(3), HOLE, entry(5)]);
    expect([log.broken !== null, seqs]).toEqual([true, [3]]);
  });
});
