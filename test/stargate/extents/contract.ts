import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine } from 'uring-engine';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, type ReadOwner } from '../../../src/stargate/core/ports.js';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { extentPath, formatPath, layerPath } from '../../../src/stargate/extents/layout.js';

/** An engine, the directory it may use, and a way to let it turn. */
export interface ExtentRig {
  readonly engine: Engine;
  readonly root: string;
  until(done: () => boolean): Promise<void>;
  close(): Promise<void>;
}

export const SCRATCH = 0;
export const BUFFER = 1 << 20;

export class Answers implements ReadOwner {
  readonly got: [tag: number, result: number][] = [];
  onRead(tag: number, result: number): void {
    this.got.push([tag, result]);
  }
}

/** What the extents do, over every engine. */
export function extentContract(name: string, make: () => Promise<ExtentRig>): void {
  describe(`extents over ${name}`, () => {
    let rig: ExtentRig;
    let extents: ExtentStore;
    let answers: Answers;

    beforeEach(async () => {
      rig = await make();
      extents = new ExtentStore(rig.engine, rig.root, SCRATCH, { openFiles: 3 });
      answers = new Answers();
    });
    afterEach(() => rig.close());

    async function call(start: () => void): Promise<number> {
      const before = answers.got.length;
      start();
      // Never inside the call.
      expect(answers.got.length).toBe(before);
      await rig.until(() => answers.got.length > before);
      return answers.got.at(-1)![1];
    }

    const bytesAt = (offset: number, length: number) => rig.engine.arena.bytes.subarray(offset, offset + length);

    async function write(segment: number, block: number, blocks: number, value: number, layer = 1): Promise<number> {
      bytesAt(BUFFER, blocks * BLOCK_BYTES).fill(value);
      return call(() => extents.write(layer, segment, block, blocks, BUFFER, answers, 1));
    }

    /** First byte of each block read, after checking that the block is of that byte throughout. */
    async function read(segment: number, block: number, blocks: number, layer = 1): Promise<number[]> {
      bytesAt(BUFFER, blocks * BLOCK_BYTES).fill(0xee);
      expect(await call(() => extents.read(layer, segment, block, blocks, BUFFER, answers, 2))).toBe(blocks * BLOCK_BYTES);
      return Array.from({ length: blocks }, (_, i) => {
        const bytes = bytesAt(BUFFER + i * BLOCK_BYTES, BLOCK_BYTES);
        expect(bytes.every(byte => byte === bytes[0])).toBe(true);
        return bytes[0]!;
      });
    }

    it('reads back what was written, and zeroes around it, behind the end of the file, and where there is no file', async () => {
      expect(await write(0, 10, 2, 7)).toBe(2 * BLOCK_BYTES);
      expect(await read(0, 9, 5)).toEqual([0, 7, 7, 0, 0]);
      expect(await read(0, BLOCKS_PER_SEGMENT - 2, 2)).toEqual([0, 0]);
      expect(await read(5, 0, 2)).toEqual([0, 0]);
      expect(await read(0, 0, 1, 99)).toEqual([0]);
      // Reading creates nothing.
      expect(rig.engine.files.exists(extentPath(rig.root, 1, 5))).toBe(false);
      expect(rig.engine.files.exists(layerPath(rig.root, 99))).toBe(false);
    });

    it('punches holes', async () => {
      await write(0, 0, 8, 5);
      expect(await call(() => extents.punch(1, 0, 2, 3, answers, 3))).toBe(0);
      expect(await read(0, 0, 8)).toEqual([5, 5, 0, 0, 0, 5, 5, 5]);
      expect(await call(() => extents.punch(1, 77, 0, 3, answers, 3))).toBe(0);
    });

    it('syncs what exists, and what does not', async () => {
      await write(3, 0, 1, 1);
      expect(await call(() => extents.sync(1, 3, answers, 4))).toBe(0);
      expect(await call(() => extents.sync(1, 4, answers, 4))).toBe(0);
    });

    it('serves more segments at once than it may have open files, in order of waiting', async () => {
      const segments = Array.from({ length: 12 }, (_, i) => i);
      for (const segment of segments) {
        bytesAt(BUFFER + segment * BLOCK_BYTES, BLOCK_BYTES).fill(segment + 1);
        extents.write(1, segment, segment, 1, BUFFER + segment * BLOCK_BYTES, answers, segment);
        expect(extents.statistics().openFiles).toBeLessThanOrEqual(3);
      }
      await rig.until(() => answers.got.length === 12);
      expect(answers.got.every(([, result]) => result === BLOCK_BYTES)).toBe(true);
      for (const segment of segments) expect(await read(segment, segment, 1)).toEqual([segment + 1]);
      expect(extents.statistics()).toEqual({ openFiles: 3, outstanding: 0 });
    });

    it('removes a layer, also one that is half gone, and leaves the others', async () => {
      for (const segment of [0, 1, 2, 3]) await write(segment, 0, 1, 9, 4);
      await write(0, 0, 1, 8, 5);
      rig.engine.files.remove(extentPath(rig.root, 4, 2));
      expect(await call(() => extents.removeLayer(4, answers, 5))).toBe(0);
      for (const segment of [0, 1, 2, 3]) expect(rig.engine.files.exists(extentPath(rig.root, 4, segment))).toBe(false);
      expect(await read(0, 0, 1, 5)).toEqual([8]);
      expect(await call(() => extents.removeLayer(4, answers, 5))).toBe(0);
      expect(await call(() => extents.removeLayer(1000, answers, 5))).toBe(0);
    });

    it('is found again by the next process, and refuses directories of other kinds and versions', async () => {
      await write(0, 1, 1, 6);
      await call(() => extents.sync(1, 0, answers, 4));
      extents = new ExtentStore(rig.engine, rig.root, SCRATCH);
      expect(await read(0, 0, 2)).toEqual([0, 6]);

      const { files } = rig.engine;
      const slot = files.open(formatPath(rig.root), { write: true });
      files.read(slot, SCRATCH, BLOCK_BYTES, 0);
      bytesAt(SCRATCH, BLOCK_BYTES)[20] = 1;
      files.write(slot, SCRATCH, BLOCK_BYTES, 0);
      expect(() => new ExtentStore(rig.engine, rig.root, SCRATCH)).not.toThrow();
      files.read(slot, SCRATCH, BLOCK_BYTES, 0);
      bytesAt(SCRATCH, BLOCK_BYTES)[8] = 2;
      files.write(slot, SCRATCH, BLOCK_BYTES, 0);
      expect(() => new ExtentStore(rig.engine, rig.root, SCRATCH)).toThrow(/damaged/);
      bytesAt(SCRATCH, BLOCK_BYTES).fill(0);
      files.write(slot, SCRATCH, BLOCK_BYTES, 0);
      // Layers without a format mark: not ours, or damaged; never written over.
      expect(() => new ExtentStore(rig.engine, rig.root, SCRATCH)).toThrow(/damaged or not of Gatepath/);
      files.close(slot);
    });
  });
}
