import { createArena } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { encodeRecord, type PromiseRecord } from '../../../src/stargate/core/head.js';
import { EntryKind, type BlockStorePort } from '../../../src/stargate/core/ports.js';
import { EntryFlag } from '../../../src/stargate/oplog/layout.js';
import type { RecoveredEntry, StreamVdiskLog } from '../../../src/stargate/oplog/index.js';
import { RecoveryCollector } from '../../../src/stargate/runtime/recovery.js';

const promiseOf = (term: number): PromiseRecord => ({ term, controller: 'node-1/store/1', nonce: `n${term}` });
const place = (seq: number): { seq: number; hash: number; term: number } => ({ seq, hash: 1, term: 1 });

const headRecord = (drainedSeq: number, promisedTerm: number): Uint8Array =>
  encodeRecord({
    ...{ version: 1, sizeBytes: 4096, layer: 1, at: place(drainedSeq), drained: place(drainedSeq) },
    promise: promisedTerm === 0 ? null : promiseOf(promisedTerm),
    sessions: { generation: 0, ended: [], shared: null, sessions: [] },
  });

type Line = readonly [kind: EntryKind, seq: number, payload?: Uint8Array, offsetBytes?: number];
const write = (seq: number): Line => [EntryKind.write, seq];
const promise = (seq: number, term: number): Line => [EntryKind.replicaPromise, seq, encodeRecord(promiseOf(term))];
const head = (seq: number, drainedSeq: number, term: number): Line => [EntryKind.replicaHead, seq, headRecord(drainedSeq, term)];
const reset = (seq: number, term: number): Line => [EntryKind.replicaReset, seq, headRecord(seq, term)];
const cut = (seq: number, afterSeq: number): Line => [EntryKind.cut, seq, new Uint8Array(0), afterSeq];

function recovered(...lines: readonly Line[]): [promisedTerm: number | null, entries: number[]] {
  const arena = createArena(1 << 20);
  const collector = new RecoveryCollector(arena, { layersOf: () => [1] } as unknown as BlockStorePort);
  for (const [kind, seq, payload = new Uint8Array(0), offsetBytes = 0] of lines) {
    arena.bytes.set(payload, 0);
    const entry: RecoveredEntry = {
      ...{ kind, seq, offsetBytes, flags: EntryFlag.replicated, payloadBytes: payload.length, payloadOffset: 0 },
      ...{ sessionId: 0, clientSeq: 0, part: 0, parts: 1, lengthBytes: 0, lsn: 4096 * seq, payloadCrc: 0 },
      ...{ historyId: 1, creationTerm: 1, prevHash: 0, hash: 0 },
    };
    collector.onEntry({ vdiskId: 'v' } as StreamVdiskLog, entry);
  }
  const { replica } = collector.vdisks.get('v')!;
  return [replica!.promise?.term ?? null, [...replica!.entries.keys()]];
}

describe('what a start makes of the records of a replica', () => {
  it.each<[string, readonly Line[], ReturnType<typeof recovered>]>([
    ['entries, and none without a promise', [write(1), write(2)], [null, [1, 2]]],
    ['a promise by its own record', [write(1), promise(1, 3), write(2)], [3, [1, 2]]],
    ['a promise by the head, whose older records may be gone', [head(4, 4, 3), write(5)], [3, [5]]],
    ['the newest promise, though an older head follows it', [promise(4, 6), head(4, 4, 3), write(5)], [6, [5]]],
    ['the promise of a reset: what stood before it is given up', [reset(9, 5), write(10)], [5, [10]]],
    ['none of the entries before a reset', [write(1), write(2), promise(2, 4), reset(9, 4)], [4, []]],
    ['the entries behind what the head has drained', [write(1), write(2), write(3), head(3, 2, 0)], [null, [3]]],
    ['none of the entries that were cut', [write(1), write(2), write(3), cut(3, 1), write(2)], [null, [1, 2]]],
  ])('%s', (_, lines, expected) => {
    expect(recovered(...lines)).toEqual(expected);
  });
});
