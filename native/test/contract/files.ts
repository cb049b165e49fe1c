import { describe, expect, it } from 'vitest';
import { AllocateMode, WRITE_DSYNC, type Slot } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { isSame, pattern, play, type Stage } from './stage.js';
import type { Features, MakeWorld } from './world.js';

const MIB = 1 << 20;

/** Operations on files. */
export function filesContract(make: MakeWorld, features: Features): void {
  const create = (stage: Stage, name = 'file', direct = false): Slot =>
    stage.engine.files.open(`${stage.world.directory}/${name}`, { write: true, create: true, direct });

  describe('files', () => {
    it('give back what was written, byte for byte, wherever it lies', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.fill(3, 10_001, 1);
        expect(yield stage.write(slot, 3, 10_001, 77)).toBe(10_001);
        expect(yield stage.read(slot, 50_005, 10_001, 77)).toBe(10_001);
        expect(isSame(stage.bytes.subarray(50_005, 60_006), pattern(10_001, 1))).toBe(true);
        // What lies before was never written.
        expect(yield stage.read(slot, 0, 77, 0)).toBe(77);
        expect(isSame(stage.bytes.subarray(0, 77), new Uint8Array(77))).toBe(true);
      });
    });

    it('move megabytes in one operation', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.fill(0, 3 * MIB, 2);
        expect(yield stage.write(slot, 0, 3 * MIB, 4096)).toBe(3 * MIB);
        expect(yield stage.read(slot, 4 * MIB, 3 * MIB, 4096)).toBe(3 * MIB);
        expect(isSame(stage.bytes.subarray(4 * MIB, 7 * MIB), pattern(3 * MIB, 2))).toBe(true);
      });
    });

    it('are read short at their end, and only there', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        expect(yield stage.write(slot, 0, 5_000, 0)).toBe(5_000);
        const results = yield* stage.all([
          stage.read(slot, 8_192, 8_192, 0),
          stage.read(slot, 16_384, 4_096, 4_096),
          stage.read(slot, 24_576, 4_096, 5_000),
          stage.read(slot, 32_768, 4_096, 1_000_000),
          stage.read(slot, 40_960, 4_096, 512),
          stage.read(slot, 49_152, 5_000, 0),
        ]);
        expect(results).toEqual([5_000, 904, 0, 0, 4_096, 5_000]);
      });
    });

    it('do not change memory behind what was read', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        expect(yield stage.write(slot, 0, 1_000, 0)).toBe(1_000);
        stage.bytes.fill(0xee, 4_096, 12_288);
        expect(yield stage.read(slot, 5_000, 4_000, 0)).toBe(1_000);
        expect(stage.bytes.subarray(4_096, 5_000).every(byte => byte === 0xee)).toBe(true);
        expect(stage.bytes.subarray(6_000, 12_288).every(byte => byte === 0xee)).toBe(true);
      });
    });

    it('take writes that are durable when they complete, and syncs', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.fill(0, 8_192, 3);
        expect(yield stage.write(slot, 0, 8_192, 0, WRITE_DSYNC)).toBe(8_192);
        expect(yield stage.write(slot, 0, 4_096, 8_192)).toBe(4_096);
        expect(yield stage.sync(slot)).toBe(0);
        expect(stage.engine.files.sizeBytes(slot)).toBe(12_288);
      });
    });

    it('carry out many operations at once, each with its own result and memory', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        const count = 512;
        for (let i = 0; i < count; i++) stage.fill(i * 4096, 1 + i * 7, i);
        const writes = Array.from({ length: count }, (_, i) => stage.write(slot, i * 4096, 1 + i * 7, i * 8192));
        expect(stage.engine.outstanding).toBe(count);
        expect(yield* stage.all(writes)).toEqual(writes.map((_, i) => 1 + i * 7));
        stage.bytes.fill(0, 0, count * 4096);
        const reads = writes.map((_, i) => stage.read(slot, i * 4096, 1 + i * 7, i * 8192));
        expect(yield* stage.all(reads)).toEqual(writes.map((_, i) => 1 + i * 7));
        for (let i = 0; i < count; i++)
          expect(isSame(stage.bytes.subarray(i * 4096, i * 4096 + 1 + i * 7), pattern(1 + i * 7, i))).toBe(true);
        expect(stage.engine.outstanding).toBe(0);
      });
    });

    it('reach beyond 4 GiB', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        const far = 2 ** 40 + 12_288;
        stage.fill(0, 4_096, 4);
        expect(yield stage.write(slot, 0, 4_096, far)).toBe(4_096);
        expect(yield stage.read(slot, 8_192, 8_192, far)).toBe(4_096);
        expect(isSame(stage.bytes.subarray(8_192, 12_288), pattern(4_096, 4))).toBe(true);
        expect(stage.engine.files.sizeBytes(slot)).toBe(far + 4_096);
        expect(yield stage.allocate(slot, AllocateMode.punchHole, far - 4_096, 2 ** 33)).toBe(0);
        expect(yield stage.read(slot, 8_192, 4_096, far)).toBe(4_096);
        expect(isSame(stage.bytes.subarray(8_192, 12_288), new Uint8Array(4_096))).toBe(true);
      });
    });

    it('opened for reading are not written', async () => {
      await play(make, function* (stage) {
        const { files } = stage.engine;
        expect(yield stage.write(create(stage), 0, 4_096, 0)).toBe(4_096);
        const slot = files.open(`${stage.world.directory}/file`, {});
        expect(yield stage.read(slot, 0, 4_096, 0)).toBe(4_096);
        expect(yield stage.write(slot, 0, 4_096, 0)).toBe(-errno.EBADF);
        expect(yield stage.write(slot, 0, 4_096, 0, WRITE_DSYNC)).toBe(-errno.EBADF);
        expect(yield stage.allocate(slot, AllocateMode.preallocate, 0, 8_192)).toBe(-errno.EBADF);
      });
    });

    it('opened direct take whole sectors', async () => {
      await play(make, function* (stage) {
        const slot = create(stage, 'direct', true);
        stage.fill(4_096, 8_192, 5);
        expect(yield stage.write(slot, 4_096, 8_192, 512, WRITE_DSYNC)).toBe(8_192);
        expect(yield stage.read(slot, 65_536, 8_192, 512)).toBe(8_192);
        expect(isSame(stage.bytes.subarray(65_536, 73_728), pattern(8_192, 5))).toBe(true);
        // The end of the file, which is not at a whole read.
        expect(yield stage.read(slot, 65_536, 65_536, 512)).toBe(8_192);
        if (!stage.world.hasDirect) return;
        // How memory has to lie depends on the device.
        expect(yield stage.write(slot, 4_096, 100, 0)).toBe(-errno.EINVAL);
        expect(yield stage.read(slot, 4_096, 512, 3)).toBe(-errno.EINVAL);
      });
    });

    it('opened direct end within a sector', async () => {
      await play(make, function* (stage) {
        const { files } = stage.engine;
        const path = `${stage.world.directory}/file`;
        expect(yield stage.write(create(stage), 0, 5_000, 0)).toBe(5_000);
        expect(yield stage.sync(files.open(path, { write: true }))).toBe(0);
        const slot = files.open(path, { direct: true });
        expect(yield stage.read(slot, 8_192, 8_192, 0)).toBe(5_000);
        expect(yield stage.read(slot, 8_192, 4_096, 4_096)).toBe(904);
        expect(yield stage.read(slot, 8_192, 4_096, 8_192)).toBe(0);
      });
    });
  });

  allocateContract(make, create);
  if (features.holes) holesContract(make, create);
}

function allocateContract(make: MakeWorld, create: (stage: Stage) => Slot): void {
  describe('allocate', () => {
    const isZero = (bytes: Uint8Array): boolean => bytes.every(byte => byte === 0);

    it('preallocate lengthens the file; keepSize does not', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        expect(yield stage.allocate(slot, AllocateMode.keepSize, 0, MIB)).toBe(0);
        expect(stage.engine.files.sizeBytes(slot)).toBe(0);
        expect(yield stage.allocate(slot, AllocateMode.preallocate, 4_096, MIB)).toBe(0);
        expect(stage.engine.files.sizeBytes(slot)).toBe(4_096 + MIB);
        stage.bytes.fill(1, 0, 8_192);
        expect(yield stage.read(slot, 0, 8_192, MIB - 4_096)).toBe(8_192);
        expect(isZero(stage.bytes.subarray(0, 8_192))).toBe(true);
      });
    });

    it('punchHole leaves zeroes, keeps the size, and touches nothing beside', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.bytes.fill(7, 0, 65_536);
        expect(yield stage.write(slot, 0, 65_536, 0)).toBe(65_536);
        // Beyond the end, too.
        const results = yield* stage.all([
          stage.allocate(slot, AllocateMode.punchHole, 5_000, 20_000),
          stage.allocate(slot, AllocateMode.punchHole, 60_000, MIB),
        ]);
        expect(results).toEqual([0, 0]);
        expect(stage.engine.files.sizeBytes(slot)).toBe(65_536);
        expect(yield stage.read(slot, 65_536, 65_536, 0)).toBe(65_536);
        const content = stage.bytes.subarray(65_536, 131_072);
        for (let i = 0; i < content.length; i++) {
          const isHole = (i >= 5_000 && i < 25_000) || i >= 60_000;
          if (content[i] !== (isHole ? 0 : 7)) throw new Error(`byte ${i} is ${content[i]}`);
        }
      });
    });

    it('zeroRange leaves zeroes and lengthens the file', async () => {
      await play(make, function* (stage) {
        const slot = create(stage);
        stage.bytes.fill(7, 0, 16_384);
        expect(yield stage.write(slot, 0, 16_384, 0)).toBe(16_384);
        expect(yield stage.allocate(slot, AllocateMode.zeroRange, 4_000, 20_000)).toBe(0);
        expect(stage.engine.files.sizeBytes(slot)).toBe(24_000);
        expect(yield stage.read(slot, 32_768, 32_768, 0)).toBe(24_000);
        expect(stage.bytes.subarray(32_768, 36_768).every(byte => byte === 7)).toBe(true);
        expect(isZero(stage.bytes.subarray(36_768, 56_768))).toBe(true);
      });
    });
  });
}

function holesContract(make: MakeWorld, create: (stage: Stage) => Slot): void {
  describe('holes', () => {
    it('give space back', async () => {
      await play(make, function* (stage) {
        const path = `${stage.world.directory}/file`;
        const space = (): number => stage.world.spaceBytes(path);
        const slot = create(stage);
        stage.bytes.fill(7, 0, 4 * MIB);
        expect(yield stage.write(slot, 0, 4 * MIB, 0, WRITE_DSYNC)).toBe(4 * MIB);
        expect(space()).toBeGreaterThanOrEqual(4 * MIB);
        expect(yield stage.allocate(slot, AllocateMode.punchHole, MIB, 3 * MIB)).toBe(0);
        expect(space()).toBeLessThanOrEqual(MIB + 65_536);
        expect(yield stage.allocate(slot, AllocateMode.keepSize, MIB, MIB)).toBe(0);
        expect(space()).toBeGreaterThanOrEqual(2 * MIB);
      });
    });
  });
}
