import { describe, expect, it } from 'vitest';
import { RoundEnds } from '../../../src/stargate/core/round-ends.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;

describe('the ends of rounds', () => {
  /** Ten bytes of the log from one to the next. */
  const ends = (): RoundEnds => new RoundEnds(10);

  it('are so far apart, wherever the log begins', () => {
    const log = ends();
    for (let seq = 1; seq <= 10; seq++) log.passed(seq, seq * 100, 1000 + seq * 4);
    // 1004, 1016, 1028, 1040
    expect(log.begin(0, 10, 1000, false)).toEqual({ seq: 4, hash: 400, nextLsn: 1020 });
    expect(log.begin(4, 10, 1000, false)).toEqual({ seq: 7, hash: 700, nextLsn: 1032 });
    // One that could not be ended begins again.
    expect(log.begin(4, 10, 1000, false).seq).toBe(7);
    expect(log.begin(7, 10, 1000, false)).toEqual({ seq: 10, hash: 1000, nextLsn: -1 });
  });

  it('are the end of the log where it has no other, or all is wanted', () => {
    const log = ends();
    const end = log.begin(0, 5, 500, false);
    expect(end).toEqual({ seq: 5, hash: 500, nextLsn: -1 });
    expect(log.begin(0, 5, 500, true)).toBe(end);
    log.passed(6, 600, 70);
    log.passed(7, 700, 82);
    expect(end.nextLsn).toBe(70);
    expect(log.begin(5, 7, 700, true)).toEqual({ seq: 7, hash: 700, nextLsn: -1 });
    log.passed(8, 800, 83);
    expect(log.begin(5, 8, 800, true)).toEqual({ seq: 8, hash: 800, nextLsn: -1 });
    expect(log.begin(5, 8, 800, false)).toEqual({ seq: 7, hash: 700, nextLsn: 83 });
  });
});

describe('a round of a controller', () => {
  it('gives the log up as far as it has gone, and no further', () => {
    // Each entry of this log is the end of a round.
    const rig = new CoreRig();
    const client = rig.open();
    for (let i = 0; i < 3; i++) client.write(i * BLOCK, blocks(i + 1));
    rig.finish();
    const { controller, log } = rig;
    const lsnOf = (seq: number): number => log.entries.find(entry => entry.seq === seq)!.lsn;
    const first = controller.lastSeq - 2;
    controller.state.drainedSeq = first - 1;
    for (const seq of [first, first + 1, first + 2]) {
      const end = controller.beginRound(false);
      expect([end.seq, controller.isDirty]).toEqual([seq, true]);
      controller.endRound(end, () => undefined);
      rig.finish();
      expect([controller.drainedSeq, log.truncatedTo]).toEqual([seq, lsnOf(seq + 1)]);
    }
  });
});
