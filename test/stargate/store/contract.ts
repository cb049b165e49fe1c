import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BLOCK_BYTES,
  BLOCKS_PER_SEGMENT,
  BlockState,
  type BlockStates,
  type BlockStorePort,
  type DrainCommit,
  type StoreOwner,
} from '../../../src/stargate/core/ports.js';

/** One implementation of the block store under test. */
export interface StoreHarness {
  readonly store: BlockStorePort;
  /** Lets the writer work until everything that was asked is answered. */
  settle(): Promise<void>;
  /** Clean stop and start: `store` is a new one over the same disk. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface Run {
  readonly block: number;
  readonly blocks?: number;
  readonly state: BlockState;
  readonly crc?: number;
  readonly seq: number;
}

export function drainOf(layer: number, segment: number, fromSeq: number, toSeq: number, runs: readonly Run[]): DrainCommit {
  return {
    layer,
    segment,
    fromSeq,
    toSeq,
    count: runs.length,
    // Longer than count, as the planner's reused arrays are.
    block: Int32Array.from([...runs.map(run => run.block), -1]),
    blocks: Int32Array.from([...runs.map(run => run.blocks ?? 1), -1]),
    state: Uint8Array.from([...runs.map(run => run.state), 99]),
    crc: Uint32Array.from([...runs.map(run => run.crc ?? 0), 1]),
    seq: Float64Array.from([...runs.map(run => run.seq), -1]),
  };
}

export class Recorder implements StoreOwner {
  readonly committed: [tag: number, ok: boolean][] = [];
  readonly layers: number[] = [];
  readonly full: number[] = [];
  readonly failures: string[] = [];
  onCommitted(tag: number, ok: boolean): void {
    this.committed.push([tag, ok]);
  }
  onLayerCreated(_tag: number, layer: number): void {
    this.layers.push(layer);
  }
  onStoreFull(tag: number): void {
    this.full.push(tag);
  }
  onStoreFailed(message: string): void {
    this.failures.push(message);
  }
}

export function lookup(store: BlockStorePort, layer: number, segment: number, block: number, blocks: number): string[] {
  const out: BlockStates = {
    state: new Uint8Array(blocks).fill(77),
    crc: new Uint32Array(blocks).fill(77),
    seq: new Float64Array(blocks).fill(77),
  };
  store.lookup(layer, segment, block, blocks, out);
  return Array.from(out.state, (state, i) => `${state}:${out.crc[i]}:${out.seq[i]}`);
}

const ABSENT = '0:0:0';

export function storeContract(name: string, make: () => Promise<StoreHarness>): void {
  describe(`block store contract: ${name}`, () => {
    let harness: StoreHarness;
    let owner: Recorder;

    beforeEach(async () => {
      harness = await make();
      owner = new Recorder();
    });
    afterEach(() => harness.close());

    async function layerOf(vdiskId: string): Promise<number> {
      harness.store.createLayer(vdiskId, owner, 0);
      await harness.settle();
      return owner.layers.at(-1)!;
    }

    async function drain(commit: DrainCommit, tag = 0): Promise<boolean> {
      const before = owner.committed.length;
      harness.store.commitDrain(commit, owner, tag);
      await harness.settle();
      expect(owner.committed.length).toBe(before + 1);
      return owner.committed.at(-1)![1];
    }

    it('takes up again what is lost, as of where the segment is drained to', async () => {
      const layer = await layerOf('v');
      const runs = [
        { block: 1, state: BlockState.data, crc: 4, seq: 3 },
        { block: 2, blocks: 62, state: BlockState.lost, seq: 2 },
        { block: 70, state: BlockState.data, crc: 6, seq: 3 },
      ];
      await drain(drainOf(layer, 2, 0, 3, runs));
      const states = { state: new Uint8Array(64), crc: new Uint32Array(64), seq: new Float64Array(64) };
      for (let i = 0; i < 3; i++) [states.state[i], states.crc[i], states.seq[i]] = [BlockState.data, 8, 1];
      const refill = async (drainSeq: number): Promise<boolean> => {
        harness.store.refill({ layer, segment: 2, block: 0, drainSeq, states }, owner, 0);
        await harness.settle();
        return owner.committed.at(-1)![1];
      };
      expect(lookup(harness.store, layer, 2, 0, 3)).toEqual([ABSENT, '1:4:3', '3:0:2']);
      expect(await refill(2)).toBe(false);
      expect(harness.store.allocatedBytes(layer)).toBe(2 * BLOCK_BYTES);
      expect(await refill(3)).toBe(true);
      const after = [ABSENT, '1:4:3', '1:8:1', ABSENT];
      expect(lookup(harness.store, layer, 2, 0, 4)).toEqual(after);
      expect(harness.store.allocatedBytes(layer)).toBe(3 * BLOCK_BYTES);
      await harness.restart();
      expect(lookup(harness.store, layer, 2, 0, 4)).toEqual(after);
      expect(harness.store.drainSeq(layer, 2)).toBe(3);
    });

    it('knows nothing of what was never drained', async () => {
      const layer = await layerOf('v');
      expect(lookup(harness.store, layer, 5, 0, 3)).toEqual([ABSENT, ABSENT, ABSENT]);
      expect(harness.store.drainSeq(layer, 5)).toBe(0);
      expect(harness.store.segments(layer)).toEqual([]);
      expect(harness.store.allocatedBytes(layer)).toBe(0);
      expect(() => lookup(harness.store, layer + 1, 0, 0, 1)).toThrow(/no record/);
    });

    it('keeps states, checksums and seqs over a restart', async () => {
      const layer = await layerOf('v');
      const seq = 2 ** 48 - 10;
      const runs: Run[] = [
        { block: 62, state: BlockState.data, crc: 0xffffffff, seq },
        { block: 63, state: BlockState.data, crc: 0, seq: 1 },
        { block: 64, state: BlockState.data, crc: 0x80000000, seq },
        { block: 65, blocks: 200, state: BlockState.zero, seq: seq - 1 },
        { block: BLOCKS_PER_SEGMENT - 1, state: BlockState.data, crc: 1, seq: 3 },
      ];
      expect(await drain(drainOf(layer, 8_388_607, 0, seq, runs))).toBe(true);
      for (let round = 0; round < 2; round++) {
        expect(lookup(harness.store, layer, 8_388_607, 61, 5)).toEqual([
          ABSENT,
          `1:${0xffffffff}:${seq}`,
          '1:0:1',
          `1:${0x80000000}:${seq}`,
          `2:0:${seq - 1}`,
        ]);
        expect(lookup(harness.store, layer, 8_388_607, 264, 2)).toEqual([`2:0:${seq - 1}`, ABSENT]);
        expect(lookup(harness.store, layer, 8_388_607, BLOCKS_PER_SEGMENT - 2, 2)).toEqual([ABSENT, '1:1:3']);
        expect(harness.store.segments(layer)).toEqual([{ segment: 8_388_607, drainSeq: seq, dataBlocks: 4 }]);
        expect(harness.store.allocatedBytes(layer)).toBe(4 * BLOCK_BYTES);
        await harness.restart();
      }
    });

    it('shuts the door to a drain that did not start where the segment is', async () => {
      const layer = await layerOf('v');
      expect(await drain(drainOf(layer, 1, 0, 10, [{ block: 0, state: BlockState.data, crc: 1, seq: 5 }]))).toBe(true);
      expect(await drain(drainOf(layer, 1, 0, 20, [{ block: 0, state: BlockState.data, crc: 2, seq: 15 }]))).toBe(false);
      expect(await drain(drainOf(layer, 1, 9, 20, [{ block: 0, state: BlockState.data, crc: 2, seq: 15 }]))).toBe(false);
      expect(lookup(harness.store, layer, 1, 0, 1)).toEqual(['1:1:5']);
      expect(harness.store.drainSeq(layer, 1)).toBe(10);
      // An empty drain only moves the door.
      expect(await drain(drainOf(layer, 1, 10, 30, []))).toBe(true);
      expect(harness.store.drainSeq(layer, 1)).toBe(30);
    });

    it('checks the door inside the transaction: of two drains from the same seq one wins, whatever is queued', async () => {
      const layer = await layerOf('v');
      for (let tag = 0; tag < 4; tag++)
        harness.store.commitDrain(drainOf(layer, 0, 0, 10 + tag, [{ block: tag, state: BlockState.data, crc: tag, seq: 4 }]), owner, tag);
      await harness.settle();
      expect(owner.committed).toEqual([
        [0, true],
        [1, false],
        [2, false],
        [3, false],
      ]);
      expect(harness.store.drainSeq(layer, 0)).toBe(10);
      expect(harness.store.allocatedBytes(layer)).toBe(BLOCK_BYTES);
    });

    it('does not keep the sender from using its arrays again', async () => {
      const layer = await layerOf('v');
      const commit = drainOf(layer, 0, 0, 10, [{ block: 7, state: BlockState.data, crc: 70, seq: 7 }]);
      harness.store.commitDrain(commit, owner, 1);
      commit.block[0] = 8;
      commit.crc[0] = 80;
      commit.toSeq = 99;
      await harness.settle();
      expect(lookup(harness.store, layer, 0, 7, 2)).toEqual(['1:70:7', ABSENT]);
      expect(harness.store.drainSeq(layer, 0)).toBe(10);
    });

    it('refuses drains that break the contract', async () => {
      const layer = await layerOf('v');
      const bad = (runs: Run[], from = 5, to = 10) =>
        expect(() => harness.store.commitDrain(drainOf(layer, 0, from, to, runs), owner, 0)).toThrow();
      bad([{ block: 0, state: BlockState.data, seq: 5 }]);
      bad([{ block: 0, state: BlockState.data, seq: 11 }]);
      bad([{ block: 0, blocks: 2, state: BlockState.data, seq: 6 }]);
      bad([{ block: BLOCKS_PER_SEGMENT, state: BlockState.data, seq: 6 }]);
      bad([
        { block: 3, blocks: 2, state: BlockState.zero, seq: 6 },
        { block: 4, state: BlockState.data, seq: 6 },
      ]);
      bad([], 10, 10);
      await harness.settle();
      expect(owner.committed).toEqual([]);
    });

    it('zeroes a whole segment at once, and writes over it', async () => {
      const layer = await layerOf('v');
      await drain(drainOf(layer, 2, 0, 10, [{ block: 100, state: BlockState.data, crc: 1, seq: 1 }]));
      expect(lookup(harness.store, layer, 2, 100, 1)).toEqual(['1:1:1']);
      await drain(drainOf(layer, 2, 10, 20, [{ block: 0, blocks: BLOCKS_PER_SEGMENT, state: BlockState.zero, seq: 15 }]));
      expect(lookup(harness.store, layer, 2, 99, 3)).toEqual(['2:0:15', '2:0:15', '2:0:15']);
      expect(harness.store.allocatedBytes(layer)).toBe(0);
      await drain(drainOf(layer, 2, 20, 30, [{ block: 100, state: BlockState.data, crc: 9, seq: 25 }]));
      await harness.restart();
      expect(lookup(harness.store, layer, 2, 99, 3)).toEqual(['2:0:15', '1:9:25', '2:0:15']);
      expect(lookup(harness.store, layer, 2, 4000, 1)).toEqual(['2:0:15']);
      expect(harness.store.segments(layer)).toEqual([{ segment: 2, drainSeq: 30, dataBlocks: 1 }]);
    });

    it('passes over what was not changed after a seq', async () => {
      const layer = await layerOf('v');
      const next = (block: number, aboveSeq: number): number => harness.store.nextChanged(layer, 2, block, aboveSeq);
      expect(next(0, 0)).toBe(BLOCKS_PER_SEGMENT);
      const runs = [5_000, BLOCKS_PER_SEGMENT - 1].map((block, i): Run => ({ block, state: BlockState.data, crc: 1, seq: 3 + i }));
      await drain(drainOf(layer, 2, 0, 10, runs));
      await drain(drainOf(layer, 3, 0, 10, [{ block: 9, state: BlockState.data, crc: 1, seq: 7 }]));
      // As far as records tell: blocks share them.
      expect(next(0, 0)).toBeGreaterThan(4_900);
      expect(next(0, 0)).toBeLessThanOrEqual(5_000);
      expect(next(5_000, 0)).toBe(5_000);
      expect(next(5_100, 0)).toBeGreaterThan(BLOCKS_PER_SEGMENT - 100);
      expect(next(BLOCKS_PER_SEGMENT - 1, 0)).toBe(BLOCKS_PER_SEGMENT - 1);
      expect(next(BLOCKS_PER_SEGMENT, 0)).toBe(BLOCKS_PER_SEGMENT);
      await drain(drainOf(layer, 2, 10, 20, [{ block: 0, blocks: BLOCKS_PER_SEGMENT, state: BlockState.zero, seq: 15 }]));
      expect([next(0, 14), next(70_000, 14), next(0, 15)]).toEqual([0, 70_000, BLOCKS_PER_SEGMENT]);
    });

    it('finds the layers of a vdisk again, and never gives a number twice', async () => {
      const a = await layerOf('vdisk-a');
      const b = await layerOf('vdisk-b');
      const a2 = await layerOf('vdisk-a');
      await harness.restart();
      expect(harness.store.layersOf('vdisk-a')).toEqual([a, a2]);
      expect(harness.store.layersOf('vdisk-b')).toEqual([b]);
      expect(harness.store.layersOf('vdisk')).toEqual([]);
      expect(await layerOf('vdisk-c')).toBeGreaterThan(a2);
    });

    it('removes a layer in steps that a restart can take up', async () => {
      const layer = await layerOf('v');
      const other = await layerOf('w');
      // More records than one transaction forgets.
      await drain(drainOf(layer, 1, 0, 9, [{ block: 64, blocks: BLOCKS_PER_SEGMENT - 64, state: BlockState.zero, seq: 3 }]));
      await drain(drainOf(layer, 2, 0, 9, [{ block: 64, blocks: BLOCKS_PER_SEGMENT - 64, state: BlockState.zero, seq: 3 }]));
      await drain(drainOf(other, 1, 0, 9, [{ block: 0, state: BlockState.data, crc: 4, seq: 3 }]));
      expect(harness.store.deletingLayers()).toEqual([]);
      harness.store.removeLayer(layer, owner, 7);
      await harness.settle();
      expect(owner.committed.at(-1)).toEqual([7, true]);
      await harness.restart();
      expect(harness.store.deletingLayers()).toEqual([layer]);
      expect(harness.store.layersOf('v')).toEqual([]);
      expect(await drain(drainOf(layer, 1, 9, 12, [{ block: 0, state: BlockState.data, crc: 4, seq: 11 }]))).toBe(false);
      harness.store.forgetLayer(layer, owner, 8);
      await harness.settle();
      expect(owner.committed.at(-1)).toEqual([8, true]);
      await harness.restart();
      expect(harness.store.deletingLayers()).toEqual([]);
      expect(() => harness.store.segments(layer)).toThrow(/no record/);
      expect(lookup(harness.store, other, 1, 0, 1)).toEqual(['1:4:3']);
      // Again, as after a crash between the steps: no harm.
      harness.store.forgetLayer(layer, owner, 9);
      await harness.settle();
      expect(owner.committed.at(-1)).toEqual([9, true]);
    });

    it('gives what a plain model gives, over restarts and with drains in flight', async () => {
      const step = fc.record({
        segment: fc.integer({ min: 0, max: 1 }),
        runs: fc.uniqueArray(
          fc.record({
            block: fc.integer({ min: 0, max: 300 }),
            blocks: fc.integer({ min: 1, max: 150 }),
            state: fc.integer({ min: 0, max: 2 }),
            crc: fc.nat(),
          }),
          {
            maxLength: 8,
            selector: run => run.block,
          },
        ),
        settle: fc.boolean(),
        restart: fc.integer({ min: 0, max: 9 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async steps => {
          const layer = await layerOf('v');
          const model = new Map<number, string>();
          const seqs = [0, 0];
          const check = () => {
            for (const segment of [0, 1]) {
              const expected = Array.from({ length: 460 }, (_, block) => model.get(segment * 1e6 + block) ?? ABSENT);
              expect(lookup(harness.store, layer, segment, 0, 460)).toEqual(expected);
              expect(harness.store.drainSeq(layer, segment)).toBe(seqs[segment]);
            }
            const data = [...model.values()].filter(value => value.startsWith('1')).length;
            expect(harness.store.allocatedBytes(layer)).toBe(data * BLOCK_BYTES);
          };
          for (const { segment, runs, settle, restart } of steps) {
            const from = seqs[segment]!;
            let next = 0;
            const fitting: Run[] = [];
            for (const run of [...runs].sort((a, b) => a.block - b.block)) {
              if (run.block < next) continue;
              const blocks = run.state === BlockState.data ? 1 : run.blocks;
              fitting.push({ block: run.block, blocks, state: run.state as BlockState, crc: run.crc, seq: from + 1 + (run.crc % 5) });
              next = run.block + blocks;
            }
            harness.store.commitDrain(drainOf(layer, segment, from, from + 5, fitting), owner, 0);
            seqs[segment] = from + 5;
            for (const run of fitting) {
              for (let i = 0; i < run.blocks!; i++) {
                model.set(
                  segment * 1e6 + run.block + i,
                  run.state === 0 ? ABSENT : `${run.state}:${run.state === 1 ? run.crc : 0}:${run.seq}`,
                );
              }
            }
            // Fills the cache with what may be old.
            lookup(harness.store, layer, segment, 0, 460);
            if (!settle) continue;
            await harness.settle();
            if (restart === 0) await harness.restart();
            check();
          }
          await harness.settle();
          check();
          expect(owner.committed.every(([, ok]) => ok)).toBe(true);
        }),
        { numRuns: 30 },
      );
    });
  });
}
