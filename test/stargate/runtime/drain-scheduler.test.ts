import type { Engine } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import type { Drainable } from '../../../src/stargate/core/drainable.js';
import type { OplogStream, StreamVdiskLog } from '../../../src/stargate/oplog/index.js';
import { DrainScheduler } from '../../../src/stargate/runtime/drain-scheduler.js';

/** A stream that is nearly full, over several segments; each vdisk needs its oldest one. */
const usage = { usedBytes: 90, capacityBytes: 100, oldestSegmentEndLsn: 10, endLsn: 90 };

function roundsOf(vdisk: Pick<Drainable, 'isDirty' | 'isHeldByHead'>, isShort: boolean): number {
  let rounds = 0;
  const engine = { nowNs: 1, register: () => 0, timer: () => 0 } as unknown as Engine;
  const stream = { usage: isShort ? { ...usage, endLsn: 10 } : usage } as unknown as OplogStream;
  const scheduler = new DrainScheduler(
    engine,
    stream,
    {},
    () => undefined,
    () => undefined,
  );
  const beginRound = (): { seq: number; hash: number } => ({ seq: ++rounds, hash: 0 });
  const drainable = { ...vdisk, drainableSeq: 0, beginRound } as unknown as Drainable;
  scheduler.add(drainable, { oldestNeededLsn: 0 } as StreamVdiskLog);
  scheduler.onCommitted(drainable);
  return rounds;
}

describe('a round that is to make room in the log', () => {
  it.each([
    ['there is something to drain', { isDirty: true, isHeldByHead: false }, false, 1],
    ['nothing but its last HEAD holds the log: a new one lets go of that', { isDirty: false, isHeldByHead: true }, false, 1],
    ['so it is, and the log is one segment: a HEAD frees nothing', { isDirty: false, isHeldByHead: true }, true, 0],
    // A replica whose entries a member lacks, or that are not committed: each HEAD takes room of those that are kept for such.
    [
      'entries that cannot be drained hold the log: a HEAD more takes room and gives none',
      { isDirty: false, isHeldByHead: false },
      false,
      0,
    ],
  ])('%s', (_what, vdisk, isShort, rounds) => {
    expect(roundsOf(vdisk, isShort)).toBe(rounds);
  });
});
