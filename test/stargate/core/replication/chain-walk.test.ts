import { describe, expect, it } from 'vitest';
import { ChainWalk } from '../../../../src/stargate/core/replication/chain-walk.js';
import type { Entry } from '../../../../src/stargate/core/replication/entry.js';

const entry = (seq: number, hash = 10 * seq, prevHash = 10 * (seq - 1)): Entry => ({
  ...{ seq, creationTerm: 1, crc: 0, prevHash, hash, body: null },
});
const mapOf = (...entries: readonly Entry[]): Map<number, Entry> => new Map(entries.map(one => [one.seq, one]));
const BASE = { seq: 2, hash: 20, term: 1 };

describe('a walk back through a log', () => {
  it('finds the entries in whatever order they lie', () => {
    const walk = new ChainWalk(BASE, { seq: 5, hash: 50 });
    walk.takeAll(mapOf(entry(5), entry(3), entry(4)));
    expect([walk.wanted, walk.isAstray, walk.entries().map(({ seq }) => seq)]).toEqual([null, false, [3, 4, 5]]);
  });

  it('names the one that is missing, and goes on when it comes', () => {
    const entries = mapOf(entry(3), entry(5));
    const walk = new ChainWalk(BASE, { seq: 5, hash: 50 });
    walk.takeAll(entries);
    expect(walk.wanted).toEqual({ seq: 4, hash: 40 });
    expect(walk.take(entry(4, 41))).toBe(false);
    expect(walk.take(entry(4))).toBe(true);
    walk.takeAll(entries);
    expect(walk.entries().map(({ seq }) => seq)).toEqual([3, 4, 5]);
  });

  it('takes no entry of another log, though it has the number', () => {
    const walk = new ChainWalk(BASE, { seq: 4, hash: 40 });
    walk.takeAll(mapOf(entry(4), entry(3, 31)));
    expect(walk.wanted).toEqual({ seq: 3, hash: 30 });
  });

  it.each([
    ['leads to another base', new ChainWalk({ ...BASE, hash: 21 }, { seq: 3, hash: 30 })],
    ['ends in front of the base', new ChainWalk({ ...BASE, seq: 7 }, { seq: 3, hash: 30 })],
  ])('is astray where it %s', (_, walk) => {
    walk.takeAll(mapOf(entry(3)));
    expect([walk.isAstray, walk.wanted]).toEqual([true, null]);
  });
});
