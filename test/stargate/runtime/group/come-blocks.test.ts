import { describe, expect, it } from 'vitest';
import { BLOCKS_PER_SEGMENT, BlockState } from '../../../../src/stargate/core/ports.js';
import { ComeBlocks } from '../../../../src/stargate/runtime/group/come-blocks.js';

describe('the blocks that a resync has brought', () => {
  it('are the last version of each, ascending', () => {
    const come = new ComeBlocks();
    come.set(BLOCKS_PER_SEGMENT - 1, BlockState.data, 7, 12);
    come.set(3, BlockState.data, 1, 11);
    come.set(300, BlockState.zero, 0, 13);
    come.set(3, BlockState.data, 2, 14);
    const { count, block, blocks, state, crc, seq } = come.runs();
    expect([count, [...block], [...blocks]]).toEqual([3, [3, 300, BLOCKS_PER_SEGMENT - 1], [1, 1, 1]]);
    expect([[...state], [...crc], [...seq]]).toEqual([
      [BlockState.data, BlockState.zero, BlockState.data],
      [2, 0, 7],
      [14, 13, 12],
    ]);
    come.clear();
    expect(come.runs().count).toBe(0);
  });

  it.each([
    [10, 20, true],
    [10, 12, true],
    [11, 20, false],
    [10, 11, false],
  ])('behind %i and up to %i: %s', (from, to, isWithin) => {
    const come = new ComeBlocks();
    come.set(0, BlockState.zero, 0, 12);
    come.set(5_000, BlockState.data, 1, 11);
    expect(come.isWithin(from, to)).toBe(isWithin);
  });
});
