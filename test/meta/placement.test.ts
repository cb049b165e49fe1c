import { describe, expect, it } from 'vitest';
import { candidatesForCopy, placeMembers, type Candidate } from '../../src/meta/placement.js';

const candidate = (node: string, freeBytes: number, faultDomain: string | null = null): Candidate => ({
  member: { node, storeUuid: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111', incarnation: 1 },
  freeBytes,
  faultDomain,
});
const names = (replicationFactor: 1 | 2 | 3, localNode: string, living: readonly Candidate[]): string[] =>
  placeMembers({ replicationFactor, localNode }, living).map(one => one.node);

describe('the members of a new vdisk', () => {
  it.each<[string, 1 | 2 | 3, string, Candidate[], string[]]>([
    ['the local node, however full it is', 1, 'b', [candidate('a', 9), candidate('b', 1)], ['b']],
    ['then the one with most space', 2, 'b', [candidate('a', 5), candidate('b', 1), candidate('c', 7)], ['b', 'c']],
    ['in the order of their names where that is equal', 3, 'b', [candidate('c', 5), candidate('a', 5), candidate('b', 5)], ['b', 'a', 'c']],
    [
      'in another fault domain first',
      3,
      'a',
      [candidate('a', 9, 'r1'), candidate('b', 8, 'r1'), candidate('c', 7, 'r2'), candidate('d', 1, 'r3')],
      ['a', 'c', 'd'],
    ],
    [
      'in the same one where there is no other',
      3,
      'a',
      [candidate('a', 9, 'r1'), candidate('b', 8, 'r1'), candidate('c', 7, 'r2')],
      ['a', 'c', 'b'],
    ],
    ['nodes without one stand alone each', 3, 'a', [candidate('a', 9), candidate('b', 8), candidate('c', 7, 'r2')], ['a', 'b', 'c']],
    ['where the local node is not among them, the others', 1, 'x', [candidate('a', 5), candidate('b', 6)], ['b']],
  ])('%s', (_, factor, local, living, expected) => {
    expect(names(factor, local, living)).toEqual(expected);
  });

  it('are not chosen where too few nodes live', () => {
    const message = 'a vdisk of this container is kept on 3 nodes, and only a and b are alive';
    expect(() => names(3, 'a', [candidate('b', 1), candidate('a', 1)])).toThrow(message);
    expect(() => names(2, 'a', [candidate('a', 1)])).toThrow('and only a is alive');
    expect(() => names(1, 'a', [])).toThrow('and no node is alive');
  });
});

describe('the nodes that could take another copy', () => {
  it.each<[string, string[], Candidate[], string[]]>([
    ['are those that have none, with most space first', ['b'], [candidate('a', 5), candidate('b', 9), candidate('c', 7)], ['c', 'a']],
    [
      'are in other fault domains first',
      ['a', 'c'],
      [candidate('a', 1, 'r1'), candidate('b', 9, 'r1'), candidate('c', 1, 'r2'), candidate('d', 1, 'r3')],
      ['d', 'b'],
    ],
    ['are in the order of their names where that is equal', ['x'], [candidate('b', 1), candidate('a', 1)], ['a', 'b']],
    ['do not fail with a holder that is not heard of', ['a'], [candidate('b', 1, 'r1')], ['b']],
  ])('%s', (_, holders, living, expected) => {
    expect(candidatesForCopy(holders, living).map(one => one.member.node)).toEqual(expected);
  });
});
