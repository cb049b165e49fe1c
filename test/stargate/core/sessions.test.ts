import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEDUPE_WINDOW, MAX_ENDED_DATAPATHS, MAX_PARTIAL_REQUESTS, MAX_SESSIONS } from '../../../src/stargate/core/limits.js';
import { RequestState, SessionState, SessionTable } from '../../../src/stargate/core/sessions.js';

const { unknown, inFlight, committed, belowLowWater, beyondWindow } = RequestState;
const session = () => new SessionState(1, 1, 'a', 0);

describe('what a session knows of its changes', () => {
  it.each([
    ['nothing yet', 1, [[1, unknown]]],
    [
      'below the low-water mark',
      10,
      [
        [1, belowLowWater],
        [9, belowLowWater],
        [10, unknown],
      ],
    ],
    [
      'beyond the window',
      10,
      [
        [9 + DEDUPE_WINDOW, unknown],
        [10 + DEDUPE_WINDOW, beyondWindow],
        [2 ** 52, beyondWindow],
      ],
    ],
  ])('%s', (_name, lowWater, states) => {
    const one = session();
    one.raiseLowWater(lowWater);
    for (const [clientSeq, state] of states) expect(one.stateOf(clientSeq!)).toBe(state);
    // The same once there is a window.
    one.set(lowWater + 5, committed);
    for (const [clientSeq, state] of states) expect(one.stateOf(clientSeq!)).toBe(state);
  });

  it('goes from unknown over in flight to committed, and back to unknown when it is given up', () => {
    const one = session();
    for (const state of [inFlight, committed, unknown, inFlight, unknown]) {
      one.set(3, state);
      expect(one.stateOf(3)).toBe(state);
    }
  });

  it('forgets what falls below the low-water mark, and does not take it for what comes a window later', () => {
    const one = session();
    one.set(1, committed);
    one.set(DEDUPE_WINDOW, committed);
    one.raiseLowWater(2);
    expect(one.stateOf(1)).toBe(belowLowWater);
    expect(one.stateOf(1 + DEDUPE_WINDOW)).toBe(unknown);
    expect(one.stateOf(DEDUPE_WINDOW)).toBe(committed);
    one.raiseLowWater(2 + 3 * DEDUPE_WINDOW);
    for (let n = 0; n < DEDUPE_WINDOW; n++) expect(one.stateOf(2 + 3 * DEDUPE_WINDOW + n)).toBe(unknown);
  });

  it('never lowers the mark, and sets nothing outside the window', () => {
    const one = session();
    one.raiseLowWater(100);
    one.raiseLowWater(50);
    expect(one.lowWater).toBe(100);
    one.set(99, committed);
    one.set(100 + DEDUPE_WINDOW, committed);
    expect(one.stateOf(100)).toBe(unknown);
    one.raiseLowWater(101);
    expect(one.stateOf(100 + DEDUPE_WINDOW)).toBe(unknown);
  });

  it('takes from the log that what its window cannot hold beside a change is settled', () => {
    const one = session();
    one.foundInLog(1, 0, 1);
    one.foundInLog(DEDUPE_WINDOW, 0, 1);
    expect(one.stateOf(1)).toBe(committed);
    one.foundInLog(DEDUPE_WINDOW + 1, 0, 1);
    expect(one.stateOf(1)).toBe(belowLowWater);
    expect(one.stateOf(DEDUPE_WINDOW + 1)).toBe(committed);
  });

  it('takes a change cut in parts for committed with its last part only', () => {
    const one = session();
    one.foundInLog(5, 0, 3);
    one.foundInLog(5, 1, 3);
    expect(one.stateOf(5)).toBe(unknown);
    expect(one.partsBefore(5)).toBe(2);
    one.foundInLog(5, 2, 3);
    expect(one.stateOf(5)).toBe(committed);
    expect(one.partsBefore(5)).toBe(0);
  });

  it('remembers a bounded number of changes that are partly in the log, and none below the mark', () => {
    const one = session();
    for (let n = 1; n <= MAX_PARTIAL_REQUESTS + 3; n++) one.partsInLog(n, 1, 2);
    expect([1, 3, 4, MAX_PARTIAL_REQUESTS + 3].map(n => one.partsBefore(n))).toEqual([0, 0, 1, 1]);
    one.raiseLowWater(6);
    expect([4, 5, 6].map(n => one.partsBefore(n))).toEqual([0, 0, 1]);
    one.partsInLog(5, 1, 2);
    expect(one.partsBefore(5)).toBe(0);
  });

  it('comes back from its record as it was: what is committed or on its way is committed, what was given up is not', () => {
    const change = fc.record({
      clientSeq: fc.integer({ min: 1, max: 3 * DEDUPE_WINDOW }),
      kind: fc.constantFrom('inFlight', 'commit', 'giveUp', 'raise', 'part'),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), changes => {
        const one = session();
        const inLog = new Set<number>();
        for (const { clientSeq, kind } of changes) {
          const state = one.stateOf(clientSeq);
          const set = (state: number): void => {
            one.set(clientSeq, state);
            if (state === inFlight) inLog.add(clientSeq);
            else inLog.delete(clientSeq);
          };
          if (kind === 'raise') one.raiseLowWater(Math.max(1, clientSeq - DEDUPE_WINDOW));
          else if (kind === 'part' && state === unknown) one.partsInLog(clientSeq, 1, 3);
          else if (kind === 'inFlight' && state === unknown) set(inFlight);
          else if (kind === 'commit' && state === inFlight) set(committed);
          else if (kind === 'giveUp' && state === inFlight) set(unknown);
        }
        const again = SessionState.restore(one.record([...inLog]));
        expect(again.lowWater).toBe(one.lowWater);
        for (const { clientSeq } of changes) {
          const state = one.stateOf(clientSeq);
          expect(again.stateOf(clientSeq)).toBe(state === inFlight ? committed : state);
          expect(again.partsBefore(clientSeq)).toBe(one.partsBefore(clientSeq));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('the table of sessions', () => {
  const id = (generation: number, datapathUuid: string, shard = 0) => ({ generation, datapathUuid, shard });

  it.each([
    ['the shards of one datapath stand side by side', [id(1, 'a', 0), id(1, 'a', 1)], [1, 2], id(1, 'a', 2), null],
    ['another datapath ends them', [id(1, 'a', 0), id(1, 'a', 1), id(1, 'b')], [3], id(1, 'c'), null],
    ['and they do not come back', [id(1, 'a'), id(1, 'b')], [2], id(1, 'a', 5), 'closed'],
    ['a newer generation ends them', [id(1, 'a'), id(2, 'b')], [2], id(3, 'c'), null],
    ['an older generation does not come back', [id(1, 'a'), id(3, 'b')], [2], id(2, 'c'), 'closed'],
    ['a newer generation of the same datapath ends the older one', [id(1, 'a'), id(2, 'a')], [2], id(1, 'a'), 'closed'],
    ['a datapath that was ended may come with a newer generation', [id(1, 'a'), id(1, 'b'), id(2, 'a')], [3], id(2, 'a', 1), null],
  ])('%s', (_name, opens, left, next, refusal) => {
    const table = new SessionTable();
    opens.forEach((open, i) => table.open(i + 1, open));
    expect(table.record().sessions.map(one => one.id)).toEqual(left);
    expect(table.refusal(next)).toBe(refusal);
    const again = new SessionTable();
    again.restore(table.record());
    expect(again.refusal(next)).toBe(refusal);
    expect(again.record()).toEqual(table.record());
  });

  it('tells which sessions an open ended', () => {
    const table = new SessionTable();
    table.open(1, id(1, 'a', 0));
    table.open(2, id(1, 'a', 1));
    expect(table.endedBy(id(1, 'a', 2))).toEqual([]);
    expect(table.open(3, id(2, 'b')).map(one => one.id)).toEqual([1, 2]);
  });

  it('is full only with the sessions that stay: a new attachment is always let in', () => {
    const table = new SessionTable();
    for (let shard = 0; shard < MAX_SESSIONS; shard++) table.open(shard + 1, id(1, 'a', shard));
    expect(table.refusal(id(1, 'a', MAX_SESSIONS))).toBe('busy');
    expect(table.refusal(id(1, 'b'))).toBeNull();
    expect(table.refusal(id(2, 'a'))).toBeNull();
  });

  it('remembers a bounded number of datapaths that were ended', () => {
    const table = new SessionTable();
    for (let i = 0; i < MAX_ENDED_DATAPATHS + 10; i++) table.open(i + 1, id(1, `datapath-${i}`));
    expect(table.record().ended).toHaveLength(MAX_ENDED_DATAPATHS);
    expect(table.refusal(id(1, `datapath-${MAX_ENDED_DATAPATHS + 8}`))).toBe('closed');
  });
});
