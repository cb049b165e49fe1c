import type { Engine } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { BlockIndex } from '../../../src/stargate/core/block-index.js';
import type { Drainable } from '../../../src/stargate/core/drainable.js';
import type { ReadOwner } from '../../../src/stargate/core/ports.js';
import type { RoundEnd } from '../../../src/stargate/core/round-ends.js';
import type { OplogStream, StreamVdiskLog } from '../../../src/stargate/oplog/index.js';
import { DrainRound } from '../../../src/stargate/runtime/drain-round.js';
import { DrainScheduler } from '../../../src/stargate/runtime/drain-scheduler.js';
import { DRAIN_AGE_NS, DRAIN_LIMITS } from '../../../src/stargate/runtime/limits.js';

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
  const beginRound = (): RoundEnd => ({ seq: ++rounds, hash: 0, nextLsn: -1 });
  const drainable = { ...vdisk, drainableSeq: 0, ports: { drains: DRAIN_LIMITS }, beginRound } as unknown as Drainable;
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

describe('what is drained for its age', () => {
  it('is what was there when the time came, round after round, and no more', () => {
    let tick = (): void => undefined;
    const engine = {
      nowNs: 0,
      register: ({ onCompletion }: { onCompletion: () => void }) => void (tick = onCompletion),
      timer: () => 0,
    };
    const stream = { usage: { ...usage, usedBytes: 1 } } as unknown as OplogStream;
    const nothing = (): void => undefined;
    const scheduler = new DrainScheduler(engine as unknown as Engine, stream, {}, nothing, nothing);
    const vdisk = {
      committedSeq: 5,
      drainableSeq: 100,
      drainedSeq: 0,
      isDirty: true,
      ports: { drains: DRAIN_LIMITS },
      index: { segments: () => [] },
      // Something more comes during each round.
      beginRound: (): RoundEnd => ({ seq: vdisk.drainedSeq + 2, hash: vdisk.committedSeq++, nextLsn: -1 }),
      endRound: ({ seq }: RoundEnd, done: () => void): boolean => {
        vdisk.drainedSeq = seq;
        done();
        return true;
      },
    };
    scheduler.add(vdisk as unknown as Drainable, { oldestNeededLsn: 0 } as StreamVdiskLog);
    engine.nowNs = DRAIN_AGE_NS - 1;
    tick();
    expect(vdisk.drainedSeq).toBe(0);
    engine.nowNs++;
    tick();
    expect(vdisk.drainedSeq).toBe(6);
    tick();
    expect(vdisk.drainedSeq).toBe(6);
  });
});

describe('a round that found no space', () => {
  it('is followed by one of all that there is: what comes last may free what the first needs', () => {
    let tick = (): void => undefined;
    const engine = {
      nowNs: DRAIN_AGE_NS,
      register: (one: { onCompletion: () => void }) => void (tick = () => one.onCompletion()),
      timer: () => 0,
    };
    const stream = { usage: { ...usage, usedBytes: 1 } } as unknown as OplogStream;
    const nothing = (): void => undefined;
    const scheduler = new DrainScheduler(engine as unknown as Engine, stream, {}, nothing, nothing);
    const index = new BlockIndex();
    index.setSegmentZero(0, 0, 100, 1);
    const toEnd: boolean[] = [];
    const punch = (_layer: number, _segment: number, _block: number, _blocks: number, owner: ReadOwner): void => owner.onRead(0, -28);
    const vdisk = {
      ...{ index, committedSeq: 9, drainableSeq: 9, drainedSeq: 0, isDirty: true, state: { layer: 1 }, onOutOfSpace: nothing },
      ports: {
        drains: DRAIN_LIMITS,
        extents: { punch },
        buffers: { reserved: null },
        store: { drainSeq: () => 0 },
        clock: engine,
        log: stream,
      },
      beginRound: (isToEnd: boolean): RoundEnd => (toEnd.push(isToEnd), { seq: 5, hash: 0, nextLsn: -1 }),
    };
    scheduler.add(vdisk as unknown as Drainable, { oldestNeededLsn: 0 } as StreamVdiskLog);
    for (let i = 0; i < 3; i++) {
      engine.nowNs += DRAIN_AGE_NS;
      tick();
    }
    expect(toEnd).toEqual([false, true, true]);
  });
});

describe('a round', () => {
  it.each([
    ['calm while the log is less than half full', 0.5, DRAIN_LIMITS.calm.lanes],
    ['hurried from there on', 0.51, DRAIN_LIMITS.hurried.lanes],
  ])('is %s', (_name, fill, lanes) => {
    const index = new BlockIndex();
    for (let i = 0; i < 20; i++) index.setSegmentZero(0, i * 1000, 100, i + 1);
    let punched = 0;
    const vdisk = {
      ...{ index, committedSeq: 20, drainableSeq: 20, state: { layer: 1 } },
      ports: {
        drains: DRAIN_LIMITS,
        extents: { punch: () => void punched++ },
        buffers: { reserved: null },
        store: { drainSeq: () => 0 },
        clock: { nowNs: 0 },
        log: { usage: { ...usage, usedBytes: fill * usage.capacityBytes } },
      },
      beginRound: (): RoundEnd => ({ seq: 20, hash: 0, nextLsn: -1 }),
    };
    new DrainRound(vdisk as unknown as Drainable, false, {}, () => undefined).poke();
    expect(punched).toBe(lanes);
  });
});
