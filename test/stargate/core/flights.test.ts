import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Flights } from '../../../src/stargate/core/flights.js';
import { MAX_IN_FLIGHT_ENTRIES } from '../../../src/stargate/core/limits.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';

describe('entries in flight', () => {
  it('keep what was said of them while the ring grows and goes round, as a plain queue does', () => {
    const step = fc.record({ push: fc.integer({ min: 0, max: 90 }), take: fc.integer({ min: 0, max: 80 }), refused: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.integer({ min: 1, max: 2 ** 50 }), (steps, start) => {
        const flights = new Flights();
        flights.startAt(start);
        const model: { seq: number; block: number; blocks: number }[] = [];
        for (const { push, take, refused } of steps) {
          for (let i = 0; i < push; i++) {
            const seq = flights.nextSeq;
            const at = flights.push();
            expect([flights.request[at], flights.path[at], flights.session[at], flights.control[at]]).toEqual([null, null, null, null]);
            flights.block[at] = seq % 100;
            flights.blocks[at] = seq % 3;
            flights.lsn[at] = seq * 4096;
            flights.clientSeq[at] = seq + 1;
            flights.kind[at] = EntryKind.write;
            model.push({ seq, block: seq % 100, blocks: seq % 3 });
          }
          if (refused) {
            flights.push();
            flights.unpush();
          }
          for (let i = 0; i < take && model.length > 0; i++) {
            const { seq, block, blocks } = model.shift()!;
            const at = flights.at(flights.firstSeq);
            expect([flights.firstSeq, flights.block[at], flights.blocks[at], flights.lsn[at], flights.clientSeq[at]]).toEqual([
              seq,
              block,
              blocks,
              seq * 4096,
              seq + 1,
            ]);
            flights.firstSeq++;
          }
          expect(flights.count).toBe(model.length);
          for (const [block, blocks] of [
            [3, 1],
            [50, 20],
            [99, 5],
          ] as const) {
            const touched = model.some(one => one.blocks > 0 && one.block < block + blocks && block < one.block + one.blocks);
            expect(flights.overlaps(block, blocks)).toBe(touched);
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  it('are full at the limit', () => {
    const flights = new Flights();
    for (let i = 0; i < MAX_IN_FLIGHT_ENTRIES; i++) {
      expect(flights.isFull).toBe(false);
      flights.push();
    }
    expect(flights.isFull).toBe(true);
    flights.firstSeq++;
    expect(flights.isFull).toBe(false);
  });

  it('begin at a seq only while there are none', () => {
    const flights = new Flights();
    flights.push();
    expect(() => flights.startAt(9)).toThrow();
  });
});
