import { describe, expect, it } from 'vitest';
import { createTermFloor, SharedTermFloor } from '../../src/datapath/floor.js';
import { errnoOf } from '../../src/datapath/errno.js';
import { ConnectionPlacement } from '../../src/datapath/placement.js';
import { IoStatus } from '../../src/wire/status.js';

describe('placement of NBD connections', () => {
  it('gives the first connection to the shard of the controller, further ones to the emptiest by turns', () => {
    const placement = new ConnectionPlacement(3, 0);
    expect([1, 2, 3, 4, 5, 6].map(() => placement.choose(1))).toEqual([1, 2, 0, 1, 2, 0]);
  });

  it('lands two connections on both of two shards, whichever shard the controller is in', () => {
    for (const controller of [-1, 0, 1]) {
      const placement = new ConnectionPlacement(2, 0);
      expect(new Set([placement.choose(controller), placement.choose(controller)])).toEqual(new Set([0, 1]));
    }
  });

  it('gives a client that comes again the shard of the controller again', () => {
    const placement = new ConnectionPlacement(2, 0);
    expect(placement.choose(1)).toBe(1);
    placement.gone(1);
    expect(placement.choose(1)).toBe(1);
    expect(placement.choose(1)).toBe(0);
    placement.gone(1);
    expect(placement.choose(1)).toBe(1);
    placement.gone(0);
    placement.gone(0);
    expect(placement.connections).toBe(1);
  });
});

describe('term floor', () => {
  it('is shared, and only rises', () => {
    const memory = createTermFloor();
    const [a, b] = [new SharedTermFloor(memory), new SharedTermFloor(memory)];
    a.raise(7);
    b.raise(5);
    expect([a.current(), b.current()]).toEqual([7, 7]);
    b.raise(9);
    expect(a.current()).toBe(9);
    expect(() => a.raise(2 ** 31)).toThrow(RangeError);
  });
});

describe('errno', () => {
  it.each([
    ['ok', 0],
    ['closed', 108],
    ['corrupt', 5],
    ['noSpace', 28],
    ['invalid', 22],
    ['readOnly', 1],
  ] as const)('of %s is %d', (status, errno) => {
    expect(errnoOf(IoStatus[status])).toBe(errno);
  });

  it('never tells a guest of a change of controllers', () => {
    expect(() => errnoOf(IoStatus.fenced)).toThrow('not for a guest');
  });
});
