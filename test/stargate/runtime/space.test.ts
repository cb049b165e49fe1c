import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, SEGMENT_BYTES } from '../../../src/stargate/core/ports.js';
import { IoOp } from '../../../src/wire/path.js';
import { SpaceHistory } from './space-history.js';
import type { Scenario } from './rig.js';

/** Two segments meet in the middle of what is written to; the vdisk is longer. */
const FIRST = BLOCKS_PER_SEGMENT - 100;
const SPAN = 200;
const SIZE = 3 * SEGMENT_BYTES;
/** As far behind as there is something of the vdisk. */
const AT_END = 2 * BLOCKS_PER_SEGMENT;

const RUNS = Number(process.env.GATEPATH_RUNS ?? 8);

const place = {
  vdisk: fc.nat(1),
  at: fc.oneof({ weight: 6, arbitrary: fc.nat(SPAN - 1) }, fc.constant(AT_END)),
  shift: fc.constantFrom(0, 0, 0, 1, 2_000, 4_095),
  cut: fc.constantFrom(0, 0, 0, 1, 3_000),
};
const change = fc.record({
  kind: fc.constant('change' as const),
  op: fc.constantFrom(IoOp.write, IoOp.write, IoOp.write, IoOp.zero, IoOp.trim),
  blocks: fc.integer({ min: 1, max: 60 }),
  ...place,
});
const step = fc.oneof(
  { weight: 12, arbitrary: change },
  // A whole segment and more, at once: its records go.
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('wide' as const),
      vdisk: fc.nat(1),
      op: fc.constantFrom(IoOp.zero, IoOp.trim),
      at: fc.nat(SPAN),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('resize' as const),
      vdisk: fc.nat(1),
      blocks: fc.oneof(fc.integer({ min: FIRST, max: FIRST + SPAN }), fc.constant(SIZE / BLOCK_BYTES)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('limit' as const), vdisk: fc.nat(1), blocks: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'rest' as const }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('stop' as const, 'kill' as const, 'powerCut' as const), left: change }) },
);
type Steps = (typeof step extends fc.Arbitrary<infer T> ? T : never)[];

function rangeOf({ op, at, blocks, shift, cut }: typeof change extends fc.Arbitrary<infer T> ? T : never, sizeBytes: number) {
  const offsetBytes = Math.min((FIRST + at) * BLOCK_BYTES + shift, sizeBytes - (at === AT_END ? blocks : 1) * BLOCK_BYTES);
  return { op, offsetBytes, lengthBytes: Math.max(1, Math.min(blocks * BLOCK_BYTES, sizeBytes - offsetBytes) - cut) };
}

function* carryOut(history: SpaceHistory, one: Steps[number]): Scenario {
  switch (one.kind) {
    case 'change':
      return yield* history.change(one.vdisk, rangeOf(one, history.clients[one.vdisk]!.data.sizeBytes));
    case 'wide': {
      const { sizeBytes } = history.clients[one.vdisk]!.data;
      const offsetBytes = one.at === 0 ? 0 : Math.min((FIRST + one.at) * BLOCK_BYTES, sizeBytes - BLOCK_BYTES);
      return yield* history.change(one.vdisk, { op: one.op, offsetBytes, lengthBytes: sizeBytes - offsetBytes });
    }
    case 'resize':
      return yield* history.resize(one.vdisk, one.blocks * BLOCK_BYTES);
    case 'limit':
      return history.limit(one.vdisk, one.blocks * BLOCK_BYTES);
    case 'rest':
      yield history.rest;
      return history.checkDrained();
    case 'stop':
      yield history.stop;
      return;
    case 'kill':
    case 'powerCut':
      // It may be in the log, or not, when the life ends.
      return history.leave(one.left.vdisk, rangeOf(one.left, history.clients[one.left.vdisk]!.data.sizeBytes));
  }
}

async function play(steps: Steps, seed: number): Promise<void> {
  const history = new SpaceHistory(seed, SIZE);
  const left = [...steps];
  while (left.length > 0) {
    let ending: Steps[number] | undefined;
    await history.live(function* (): Scenario {
      for (let one = left.shift(); one !== undefined; one = left.shift()) {
        ending = one;
        yield* carryOut(history, one);
        if ('left' in one) return;
      }
    });
    if (ending?.kind !== 'powerCut') continue;
    history.disk.powerCut();
    expect(history.verify()).toEqual([]);
  }
  await history.live(function* (): Scenario {
    yield history.rest;
    history.checkDrained();
  });
  expect(history.verify()).toEqual([]);
}

describe('what vdisks are told to use', () => {
  it(
    'is the most while the log has something of them, exact when it is drained, and what the verifier counts, over any history',
    async () => {
      await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), fc.nat(), play), {
        numRuns: RUNS,
        endOnFailure: true,
      });
    },
    60_000 + RUNS * 10_000,
  );
});
