import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SieveIndex } from '../../src/base/sieve-index.js';

/** SIEVE written for clearness: an array from oldest to newest, a hand by key. */
class Model {
  queue: { key: string; slot: number; visited: boolean }[] = [];
  hand: string | null = null;
  pins = new Map<number, number>();
  orphans = new Set<number>();

  constructor(readonly slots: number) {}

  find(key: string): number {
    const entry = this.queue.find(e => e.key === key);
    if (entry === undefined) return -1;
    entry.visited = true;
    return entry.slot;
  }

  /** `slot`: the one the index chose; the model checks that it may. */
  insert(key: string, slot: number): void {
    const present = this.queue.find(e => e.key === key);
    if (present !== undefined) {
      if (!this.pins.has(present.slot)) {
        expect(slot).toBe(present.slot);
        present.visited = true;
        return;
      }
      this.remove(key);
    }
    if (this.queue.length + this.orphans.size === this.slots) {
      if (this.queue.every(e => this.pins.has(e.slot))) {
        expect(slot).toBe(-1);
        return;
      }
      let at = this.hand === null ? 0 : this.queue.findIndex(e => e.key === this.hand);
      for (; this.queue[at]!.visited || this.pins.has(this.queue[at]!.slot); at = (at + 1) % this.queue.length)
        this.queue[at]!.visited = false;
      this.hand = this.queue[at]!.key;
      this.remove(this.hand);
    }
    expect(this.queue.some(e => e.slot === slot) || this.orphans.has(slot)).toBe(false);
    this.queue.push({ key, slot, visited: false });
  }

  remove(key: string): void {
    const at = this.queue.findIndex(e => e.key === key);
    if (at < 0) return;
    if (this.hand === key) this.hand = this.queue[at + 1]?.key ?? null;
    const { slot } = this.queue[at]!;
    if (this.pins.has(slot)) this.orphans.add(slot);
    this.queue.splice(at, 1);
  }

  unpin(slot: number): void {
    const left = this.pins.get(slot)! - 1;
    if (left > 0) this.pins.set(slot, left);
    else {
      this.pins.delete(slot);
      this.orphans.delete(slot);
    }
  }
}

const SLOTS = 8;
const owner = fc.integer({ min: 1, max: 2 });
// Numbers that differ only above 2^32 must differ.
const number = fc.tuple(fc.integer({ min: 0, max: 7 }), fc.constantFrom(0, 2 ** 32, 2 ** 40)).map(([low, high]) => low + high);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('insert' as const), owner, number }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('find' as const), owner, number }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('pin' as const), owner, number }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('unpin' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('remove' as const), owner, number }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('range' as const), owner, number, count: fc.constantFrom(1, 3, 2 ** 33, 2 ** 41) }) },
);

describe('SieveIndex', () => {
  it('does what the model does', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), steps => {
        const index = new SieveIndex(SLOTS);
        const model = new Model(SLOTS);
        const pinned: number[] = [];
        for (const s of steps) {
          if (s.op === 'insert') model.insert(`${s.owner}:${s.number}`, index.insert(s.owner, s.number));
          else if (s.op === 'find') expect(index.find(s.owner, s.number)).toBe(model.find(`${s.owner}:${s.number}`));
          else if (s.op === 'pin') {
            const slot = index.peek(s.owner, s.number);
            if (slot < 0) continue;
            index.pin(slot);
            model.pins.set(slot, (model.pins.get(slot) ?? 0) + 1);
            pinned.push(slot);
          } else if (s.op === 'unpin') {
            const [slot] = pinned.splice(s.pick % Math.max(1, pinned.length), 1);
            if (slot === undefined) continue;
            index.unpin(slot);
            model.unpin(slot);
          } else if (s.op === 'remove') {
            index.remove(s.owner, s.number);
            model.remove(`${s.owner}:${s.number}`);
          } else {
            index.removeRange(s.owner, s.number, s.count);
            for (const { key } of [...model.queue]) {
              const [o, n] = key.split(':').map(Number);
              if (o === s.owner && n! >= s.number && n! < s.number + s.count) model.remove(key);
            }
          }
          expect(index.used).toBe(model.queue.length);
          for (const entry of model.queue) {
            const [o, n] = entry.key.split(':').map(Number);
            expect(index.peek(o!, n!)).toBe(entry.slot);
            expect(index.numberOf(entry.slot)).toBe(n);
          }
        }
      }),
      { numRuns: 400 },
    );
  });

  it('keeps what is used while a scan passes', () => {
    const index = new SieveIndex(100);
    for (let n = 0; n < 50; n++) index.insert(1, n);
    for (let n = 0; n < 10_000; n++) {
      index.insert(2, n);
      if (n % 20 === 0) for (let hot = 0; hot < 50; hot++) expect(index.find(1, hot)).toBeGreaterThanOrEqual(0);
    }
  });

  it('refuses to unpin what is not pinned', () => {
    const index = new SieveIndex(2);
    const slot = index.insert(1, 1);
    expect(() => index.unpin(slot)).toThrow(/more often/);
  });

  it('empties and fills a large table without losing a slot', () => {
    const index = new SieveIndex(10_000);
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 20_000; n++) index.insert(round, n * 977);
      expect(index.used).toBe(10_000);
      index.removeOwner(round);
      expect(index.used).toBe(0);
    }
  });

  it('keeps to the memory that it is given', () => {
    const bytes = SieveIndex.bytesFor(100);
    const memory = new Uint8Array(64 + bytes + 64);
    const index = new SieveIndex(100, memory.buffer, 64);
    for (let number = 0; number < 300; number++) {
      index.pin(index.insert(3, number * 7));
      index.unpin(index.find(3, number * 7));
    }
    expect(index.used).toBe(100);
    expect(memory.subarray(64, 64 + bytes).some(byte => byte !== 0)).toBe(true);
    expect([...memory.subarray(0, 64), ...memory.subarray(64 + bytes)].every(byte => byte === 0)).toBe(true);
  });
});
