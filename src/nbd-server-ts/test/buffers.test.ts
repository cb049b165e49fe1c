import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BufferSet, Staging } from '../src/buffers.js';
import { MAX_EXTRA_STAGING, RECV_BYTES, STAGING_BYTES } from '../src/limits.js';

const SHARED = 6;

function memory(): { bytes: Uint8Array; shared: BufferSet; staging: Staging } {
  const bytes = new Uint8Array(STAGING_BYTES * (1 + SHARED));
  const shared = new BufferSet(STAGING_BYTES, STAGING_BYTES, SHARED);
  return { bytes, shared, staging: new Staging(bytes, 0, shared) };
}

test('a buffer has one owner', () => {
  const set = new BufferSet(4096, 100, 2);
  const taken = [set.take(), set.take(), set.take()];
  expect(taken).toEqual([0, 1, -1]);
  expect(set.offsetOf(1)).toBe(4196);
  set.give(0);
  expect(() => set.give(0)).toThrow(/not taken/);
});

test('what is left over moves, in order, and payloads stay where they are', () => {
  const { bytes, shared, staging } = memory();
  expect(staging.prepare(28)).toBe(true);
  // Used up but for less than a recv, with a payload that stays referenced and ten bytes left over.
  staging.end = STAGING_BYTES - RECV_BYTES + 1;
  staging.position = staging.end - 10;
  bytes.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], staging.position);
  const held = staging.reference();
  expect(staging.prepare(28)).toBe(true);
  expect(shared.freeCount).toBe(SHARED - 1);
  expect([...bytes.subarray(staging.position, staging.end)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(staging.position).toBe(STAGING_BYTES);
  staging.dereference(held);
  expect(() => staging.dereference(held)).toThrow();
});

test('without shared buffers one waits for one’s own, and gets it back', () => {
  const { shared, staging } = memory();
  for (let i = 0; i < SHARED; i++) shared.take();
  staging.end = staging.position = STAGING_BYTES;
  const held = staging.reference();
  expect(staging.prepare(28)).toBe(false);
  staging.dereference(held);
  expect(staging.prepare(28)).toBe(true);
  expect(staging.roomBytes).toBe(RECV_BYTES);
});

test('the books are right whatever happens', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ receive: fc.integer({ min: 1, max: RECV_BYTES }), parse: fc.double({ min: 0, max: 1, noNaN: true }) }),
          fc.record({ release: fc.nat(20) }),
        ),
        { maxLength: 120 },
      ),
      events => {
        const { bytes, shared, staging } = memory();
        const held: { buffer: number; at: number; value: number }[] = [];
        let written = 0;
        let read = 0;
        for (const event of events) {
          if ('release' in event) {
            const [one] = held.splice(event.release % Math.max(1, held.length), 1);
            if (one === undefined) continue;
            expect(bytes[one.at]).toBe(one.value);
            staging.dereference(one.buffer);
          } else if (staging.prepare(70_000)) {
            const count = Math.min(event.receive, staging.roomBytes);
            expect(count).toBeGreaterThan(0);
            for (let i = 0; i < count; i++) bytes[staging.end + i] = written++ & 255;
            staging.end += count;
            const parsed = Math.min(Math.floor(event.parse * staging.availableBytes), staging.availableBytes);
            if (parsed > 0) {
              expect(bytes[staging.position]).toBe(read & 255);
              held.push({ buffer: staging.reference(), at: staging.position, value: read & 255 });
            }
            staging.position += parsed;
            read += parsed;
            // The machine never leaves more than one incomplete item.
            if (staging.availableBytes > 65_000) {
              read += staging.availableBytes;
              staging.position = staging.end;
            }
          }
          expect(SHARED - shared.freeCount).toBeLessThanOrEqual(MAX_EXTRA_STAGING);
        }
        for (const one of held) staging.dereference(one.buffer);
        staging.destroy();
        expect(shared.freeCount).toBe(SHARED);
      },
    ),
  );
});
