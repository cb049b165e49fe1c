import { describe, expect, it } from 'vitest';
import { TransferBuffers, transferBufferBytes } from '../../../src/stargate/cache/transfer-buffers.js';

const BASE = 1 << 20;

describe('TransferBuffers', () => {
  it('hands out buffers of the smallest class that holds the transfer, none overlapping', () => {
    const buffers = new TransferBuffers(BASE, [3, 3, 1]);
    const taken = [1, 4096, 4097, 65_536, 65_537].map(bytes => ({ bytes, offset: buffers.take(bytes) }));
    expect(buffers.free()).toEqual([1, 1, 0]);
    for (const a of taken) {
      expect(a.offset).toBeGreaterThanOrEqual(BASE);
      expect(a.offset + a.bytes).toBeLessThanOrEqual(BASE + transferBufferBytes([3, 3, 1]));
      for (const b of taken) if (a !== b) expect(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset).toBe(true);
    }
    expect(buffers.take(1)).toBe(-1);
    expect(buffers.take(1 << 20)).toBe(-1);
    expect(() => buffers.take((1 << 20) + 1)).toThrow(/no transfer buffer/);
  });

  it('serves waiters in order, and nobody overtakes them', () => {
    const buffers = new TransferBuffers(BASE, [1, 1, 1]);
    const first = buffers.take(4096);
    const told: number[] = [];
    const waiter = {
      onBuffer(tag: number, offset: number): void {
        told.push(tag);
        // Inside the hand-over nobody else gets one either.
        expect(buffers.take(1)).toBe(-1);
        if (tag < 3) buffers.give(offset);
      },
    };
    for (const tag of [1, 2, 3]) buffers.wait(4096, waiter, tag);
    expect(told).toEqual([]);
    buffers.give(first);
    expect(told).toEqual([1, 2, 3]);
    expect(buffers.free()).toEqual([0, 1, 1]);
  });

  it('does not deepen the stack with waiters that give back at once', () => {
    const buffers = new TransferBuffers(BASE, [1, 1, 1]);
    const held = buffers.take(1);
    let told = 0;
    const waiter = {
      onBuffer(_tag: number, offset: number): void {
        told++;
        buffers.give(offset);
      },
    };
    for (let i = 0; i < 50_000; i++) buffers.wait(1, waiter, i);
    buffers.give(held);
    expect(told).toBe(50_000);
    expect(buffers.free()).toEqual([1, 1, 1]);
  });

  it('notices a buffer given twice', () => {
    const buffers = new TransferBuffers(BASE, [2, 1, 1]);
    const offset = buffers.take(1);
    buffers.give(offset);
    expect(() => buffers.give(offset)).toThrow(/not taken/);
    expect(() => buffers.give(BASE - 4096)).toThrow(/not the offset/);
  });

  it('keeps a reserve for drains, whatever the others hold, and serves them first', () => {
    const buffers = new TransferBuffers(BASE, [16, 1, 1]);
    const held: number[] = [];
    for (let offset = buffers.take(1); offset >= 0; offset = buffers.take(1)) held.push(offset);
    expect(held).toHaveLength(14);
    const drains = [buffers.reserved.take(1), buffers.reserved.take(1)];
    expect(drains.every(offset => offset >= 0)).toBe(true);
    expect(buffers.reserved.take(1)).toBe(-1);
    const told: string[] = [];
    const waiter = (name: string) => ({ onBuffer: (tag: number, offset: number) => (told.push(`${name} ${tag}`), held.push(offset)) });
    buffers.wait(1, waiter('other'), 1);
    buffers.reserved.wait(1, waiter('drain'), 1);
    buffers.reserved.wait(1, waiter('drain'), 2);
    for (let i = 0; i < 4; i++) buffers.give(held.shift()!);
    // The other one goes on when the reserve is full again.
    expect(told).toEqual(['drain 1', 'drain 2']);
    buffers.give(held.shift()!);
    expect(told).toEqual(['drain 1', 'drain 2', 'other 1']);
  });
});
