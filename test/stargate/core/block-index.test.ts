import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockIndex, Where } from '../../../src/stargate/core/block-index.js';
import { BlockTable } from '../../../src/stargate/core/block-table.js';
import { ChangeQueue } from '../../../src/stargate/core/change-queue.js';
import { planDrain, type DrainPlan } from '../../../src/stargate/core/drain-planner.js';
import { SMALL_ZERO_BLOCKS } from '../../../src/stargate/core/limits.js';
import { BLOCKS_PER_SEGMENT, BlockState } from '../../../src/stargate/core/ports.js';

/** Blocks on both sides of the border between segments 0 and 1. */
const SPAN = 60;
const FIRST = BLOCKS_PER_SEGMENT - SPAN / 2;
const segmentOf = (block: number) => Math.floor(block / BLOCKS_PER_SEGMENT);

interface Newest {
  readonly seq: number;
  /** -1: zeroed. */
  readonly lsn: number;
  readonly crc: number;
}

/** The plain model: what each block's newest change is. */
class Model {
  readonly blocks = new Map<number, Newest>();
  seq = 0;

  write(index: BlockIndex, at: number, count: number): void {
    const seq = ++this.seq;
    for (let block = at; block < at + count; block++) {
      const newest = { seq, lsn: seq * 1_000 + block, crc: (seq * 7 + block) >>> 0 };
      this.blocks.set(block, newest);
      index.setWritten(block, newest.seq, newest.lsn, newest.crc);
    }
  }

  zero(index: BlockIndex, at: number, count: number): void {
    const seq = ++this.seq;
    for (let block = at; block < at + count; block++) this.blocks.set(block, { seq, lsn: -1, crc: 0 });
    index.setZero(at, count, seq);
  }

  drained(index: BlockIndex, segment: number, seq: number): void {
    index.drained(segment, seq);
    for (const [block, newest] of this.blocks) if (segmentOf(block) === segment && newest.seq <= seq) this.blocks.delete(block);
  }
}

const change = fc.record({
  kind: fc.constantFrom('write', 'zero', 'drain'),
  at: fc.integer({ min: 0, max: SPAN - 1 }),
  // On both sides of where zeroes are kept as ranges.
  count: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: SMALL_ZERO_BLOCKS - 1, max: SMALL_ZERO_BLOCKS + 20 })),
  back: fc.integer({ min: 0, max: 10 }),
});

function play(
  changes: readonly { kind: string; at: number; count: number; back: number }[],
  check: (index: BlockIndex, model: Model) => void,
) {
  const index = new BlockIndex();
  const model = new Model();
  for (const { kind, at, count, back } of changes) {
    const blocks = Math.min(count, SPAN - at);
    if (kind === 'write') model.write(index, FIRST + at, blocks);
    else if (kind === 'zero') model.zero(index, FIRST + at, blocks);
    else model.drained(index, segmentOf(FIRST + at), Math.max(0, model.seq - back));
    check(index, model);
  }
  return { index, model };
}

describe('the block index', () => {
  it('knows the newest change of each block, as a plain model does', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), changes => {
        play(changes, (index, model) => {
          for (let block = FIRST - 1; block <= FIRST + SPAN; block++) {
            const newest = model.blocks.get(block);
            const where = index.find(block);
            if (newest === undefined) expect(where).toBe(Where.notHere);
            else {
              expect([where, index.found.seq]).toEqual([newest.lsn < 0 ? Where.zero : Where.log, newest.seq]);
              if (newest.lsn >= 0) expect([index.found.lsn, index.found.crc]).toEqual([newest.lsn, newest.crc]);
            }
          }
        });
      }),
      { numRuns: 200 },
    );
  });

  it('holds a segment as long as there is something to drain', () => {
    const index = new BlockIndex();
    expect([index.isEmpty, index.segments()]).toEqual([true, []]);
    index.setZero(BLOCKS_PER_SEGMENT - 1, BLOCKS_PER_SEGMENT + 2, 1);
    index.setWritten(7 * BLOCKS_PER_SEGMENT, 2, 100, 1);
    expect(index.segments()).toEqual([0, 1, 2, 7]);
    for (const segment of [0, 1, 2]) index.drained(segment, 1);
    index.drained(5, 9);
    index.drained(7, 1);
    expect([index.isEmpty, index.segments()]).toEqual([false, [7]]);
    index.drained(7, 2);
    expect([index.isEmpty, index.segment(7), index.find(7 * BLOCKS_PER_SEGMENT)]).toEqual([true, undefined, Where.notHere]);
    // Looked at while it was not there, and made then.
    index.setWritten(7 * BLOCKS_PER_SEGMENT, 3, 200, 1);
    expect(index.find(7 * BLOCKS_PER_SEGMENT)).toBe(Where.log);
  });
});

describe('the block table', () => {
  it('is a map, whatever comes and goes', () => {
    const step = fc.record({
      block: fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: BLOCKS_PER_SEGMENT - 1 })),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), steps => {
        const table = new BlockTable();
        const model = new Map<number, number>();
        steps.forEach(({ block, remove }, i) => {
          if (remove) {
            const place = table.find(block);
            expect(place >= 0).toBe(model.delete(block));
            if (place >= 0) table.remove(place);
          } else {
            table.set(block, i + 1, i * 4096, i);
            model.set(block, i + 1);
          }
        });
        const found = new Map<number, number>();
        table.forEach((block, seq) => found.set(block, seq));
        expect(found).toEqual(model);
        expect(table.size).toBe(model.size);
        for (const [block, seq] of model) expect(table.seqAt(table.find(block))).toBe(seq);
        for (let block = 0; block < 200; block++) expect(table.find(block) >= 0).toBe(model.has(block));
      }),
      { numRuns: 100 },
    );
  });
});

/** What a plan makes of each block, in its order. */
function planned(plan: DrainPlan, segment: number, runBlocks: number): Map<number, Newest> {
  const made = new Map<number, Newest>();
  let next = 0;
  let place = 0;
  for (const { block, blocks, isZero, at } of plan.runs) {
    expect(block).toBeGreaterThanOrEqual(next);
    next = block + blocks;
    expect(at).toBe(place);
    place += isZero ? 1 : blocks;
    if (!isZero) expect(blocks).toBeLessThanOrEqual(runBlocks);
    for (let i = 0; i < blocks; i++) {
      const column = isZero ? at : at + i;
      expect([plan.block[column], plan.blocks[column]]).toEqual(isZero ? [block, blocks] : [block + i, 1]);
      made.set(segment * BLOCKS_PER_SEGMENT + block + i, { seq: plan.seq[column]!, lsn: plan.lsn[column]!, crc: plan.crc[column]! });
    }
  }
  expect(plan.block.length).toBe(place);
  return made;
}

describe('a large block table', () => {
  it('that is emptied again finds what is left', () => {
    const table = new BlockTable();
    for (let block = 0; block < 5000; block++) table.set(block * 7, block + 1, block, block);
    for (let block = 0; block < 5000; block++) {
      table.remove(table.find(block * 7));
      if (block % 500 !== 0) continue;
      let found = 0;
      for (let other = 0; other < 5000; other++) found += Number(table.find(other * 7) >= 0 === other > block);
      expect(found).toBe(5000);
    }
    expect([table.size, table.written]).toEqual([0, 0]);
  });
});

describe('the queue of changes', () => {
  it('gives them back in order, whatever its ring looks like', () => {
    const queue = new ChangeQueue();
    const model: [number, number, number][] = [];
    for (let seq = 1; seq <= 500; seq++) {
      queue.push(seq, seq * 3, 1);
      queue.push(seq, seq * 3 + 1, 1);
      queue.push(seq, 0, 2);
      model.push([seq, seq * 3, 2], [seq, 0, 2]);
      for (let i = seq % 4; i > 0; i--, model.shift()) queue.dropOldest();
      const found = Array.from({ length: queue.length }, (_, i) => [queue.seqAt(i), queue.blockAt(i), queue.blocksAt(i)]);
      expect(found).toEqual(model);
    }
    expect(() => queue.push(1, 0, 1)).toThrow('change 1 comes after 500');
  });
});

describe('the plan of a drain', () => {
  it('has the newest version of each block, once, in order, and leaves out what is newer than the round', () => {
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 40 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 40 }),
        (changes, toSeq, runBlocks, maxBlocks) => {
          const { index, model } = play(changes, () => undefined);
          for (const segment of index.segments()) {
            // In parts, each of which is whole up to where it says that it goes.
            for (let upTo = 0; upTo < toSeq && index.segment(segment) !== undefined;) {
              const plan = planDrain(index.segment(segment)!, toSeq, { runBlocks, blocks: maxBlocks });
              expect(plan.toSeq).toBeGreaterThan(upTo);
              upTo = plan.toSeq;
              expect(plan.state.filter(state => state === BlockState.data).length).toBeLessThan(maxBlocks + SPAN);
              const expected = [...model.blocks].filter(([block, { seq }]) => segmentOf(block) === segment && seq <= upTo);
              expect(planned(plan, segment, runBlocks)).toEqual(new Map(expected.sort(([a], [b]) => a - b)));
              model.drained(index, segment, upTo);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('looks at a bounded number of changes that are overtaken', () => {
    const index = new BlockIndex();
    for (let seq = 1; seq <= 1000; seq++) index.setWritten(7, seq, seq * 4096, seq);
    let parts = 0;
    for (let upTo = 0; upTo < 999; parts++) {
      const plan = planDrain(index.segment(0)!, 999, { runBlocks: 16, blocks: 10 });
      expect([plan.runs, plan.toSeq - upTo <= 80]).toEqual([[], true]);
      upTo = plan.toSeq;
      index.drained(0, upTo);
    }
    expect(parts).toBe(13);
    expect(planDrain(index.segment(0)!, 1000, { runBlocks: 16, blocks: 10 }).runs).toEqual([{ block: 7, blocks: 1, isZero: false, at: 0 }]);
  });

  it.each([
    ['neighbours are one run', [[3, 2]], 16, ['3+2']],
    ['up to the longest', [[0, 10]], 4, ['0+4', '4+4', '8+2']],
    [
      'a gap is none',
      [
        [0, 2],
        [3, 1],
      ],
      16,
      ['0+2', '3+1'],
    ],
    [
      'a zero between',
      [
        [0, 2],
        [2, 20, 'zero'],
        [22, 1],
      ],
      16,
      ['0+2', 'zero 2+20', '22+1'],
    ],
    [
      'a zero with writes over it',
      [
        [0, 40, 'zero'],
        [5, 1],
        [39, 1],
      ],
      16,
      ['zero 0+5', '5+1', 'zero 6+33', '39+1'],
    ],
    [
      'a zero over writes',
      [
        [5, 1],
        [39, 1],
        [0, 40, 'zero'],
      ],
      16,
      ['zero 0+40'],
    ],
    [
      'a small zero',
      [
        [0, 3],
        [1, 1, 'zero'],
      ],
      16,
      ['0+1', 'zero 1+1', '2+1'],
    ],
  ] as const)('%s', (_name, changes, maxRun, expected) => {
    const index = new BlockIndex();
    changes.forEach(([at, count, kind], i) => {
      if (kind === 'zero') index.setZero(at, count, i + 1);
      else for (let block = at; block < at + count; block++) index.setWritten(block, i + 1, block * 4096, block);
    });
    const { runs } = planDrain(index.segment(0)!, 99, { runBlocks: maxRun, blocks: 1000 });
    expect(runs.map(({ block, blocks, isZero }) => `${isZero ? 'zero ' : ''}${block}+${blocks}`)).toEqual(expected);
  });

  it('of a whole segment of zeroes is one run', () => {
    const index = new BlockIndex();
    index.setZero(0, BLOCKS_PER_SEGMENT, 1);
    expect(planDrain(index.segment(0)!, 1, { runBlocks: 16, blocks: 1000 }).runs).toMatchObject([
      { block: 0, blocks: BLOCKS_PER_SEGMENT, isZero: true },
    ]);
  });
});
