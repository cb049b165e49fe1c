import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newShareCounts, TransportMemory, type MemoryShare } from '../../src/transport/memory.js';

const COUNTS = { sendAreas: 2, small: 16, chunks: 8, medium: 4, large: 4 } as const;

function share(onMemory: () => void = () => undefined): MemoryShare {
  return { held: newShareCounts(), onMemory };
}

describe('transport memory', () => {
  it('leaves something for who holds nothing, however greedy the others are', () => {
    const memory = new TransportMemory(0, COUNTS);
    const greedy = [share(), share(), share()];
    for (let i = 0; i < 50; i++) for (const one of greedy) memory.take(1 << 20, one);
    expect(memory.free()[3]).toBeGreaterThan(0);
    expect(memory.take(1 << 20, share())).toBeGreaterThanOrEqual(0);
  });

  it('gives one alone half of all', () => {
    const memory = new TransportMemory(0, COUNTS);
    const one = share();
    let taken = 0;
    while (memory.take(4_096, one) >= 0) taken++;
    expect(taken).toBe(8);
  });

  it('frees a buffer with its last reference, and tells who waits, once', () => {
    const memory = new TransportMemory(4_096, COUNTS);
    let told = 0;
    const waiting = share(() => told++);
    const owner = share();
    const chunk = memory.take(65_536, owner);
    memory.hold(chunk + 100);
    memory.wait(waiting);
    memory.wait(waiting);
    memory.drop(chunk);
    expect([told, memory.free()[1], owner.held[1]]).toEqual([0, 7, 1]);
    memory.drop(chunk + 65_535);
    expect([told, memory.free()[1], owner.held[1]]).toEqual([1, 8, 0]);
    expect(() => memory.drop(chunk)).toThrow('no owner');
    expect(() => memory.drop(1 << 30)).toThrow('no transport buffer');
    expect(() => memory.take(2 << 20, owner)).toThrow(RangeError);
  });

  it('never hands the same bytes out twice', () => {
    const sizes = fc.constantFrom(1, 4_096, 4_097, 65_536, 65_537, 300_000, 1 << 20);
    fc.assert(
      fc.property(fc.array(fc.tuple(sizes, fc.nat(3), fc.boolean()), { maxLength: 200 }), steps => {
        const memory = new TransportMemory(8_192, COUNTS);
        const shares = [share(), share(), share(), share()];
        const held: { at: number; bytes: number }[] = [];
        for (const [bytes, who, give] of steps) {
          if (give && held.length > 0) memory.drop(held.splice(bytes % held.length, 1)[0]!.at);
          const at = memory.take(bytes, shares[who]!);
          if (at < 0) continue;
          expect(at).toBeGreaterThanOrEqual(8_192);
          expect(at + bytes).toBeLessThanOrEqual(8_192 + TransportMemory.bytesFor(COUNTS));
          for (const other of held) expect(at >= other.at + other.bytes || other.at >= at + bytes).toBe(true);
          held.push({ at, bytes });
        }
        for (const { at } of held) memory.drop(at);
        expect(memory.free()).toEqual([16, 8, 4, 4]);
        expect(shares.every(one => one.held.every(count => count === 0))).toBe(true);
      }),
    );
  });
});
