import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AllocateMode } from '../../src/engine.js';
import type { FileSystem } from '../../src/file-system.js';
import { codeOf, isSame, pattern } from './stage.js';
import type { Features, MakeWorld, World } from './world.js';

/** Synchronous calls on files and names. They need no turn of the engine. */
export function fileSystemContract(make: MakeWorld, features: Features): void {
  describe('file system', () => {
    let world: World;
    let files: FileSystem;
    let bytes: Uint8Array;
    const at = (name: string): string => `${world.directory}/${name}`;
    beforeEach(() => {
      world = make();
      ({ files } = world.engine);
      ({ bytes } = world.engine.arena);
    });
    afterEach(() => world.close());

    it('opens what is there, creates where asked, and says why not', () => {
      expect(codeOf(() => files.open(at('none'), {}))).toBe('ENOENT');
      expect(codeOf(() => files.open(at('none/file'), { write: true, create: true }))).toBe('ENOENT');
      const slot = files.open(at('file'), { write: true, create: true, exclusive: true });
      expect(files.sizeBytes(slot)).toBe(0);
      expect(codeOf(() => files.open(at('file'), { write: true, create: true, exclusive: true }))).toBe('EEXIST');
      const again = files.open(at('file'), { write: true, create: true });
      expect(again).not.toBe(slot);
      expect(codeOf(() => files.open(at('file/below'), { write: true, create: true }))).toBe('ENOTDIR');
      files.makeDirectory(at('folder'));
      expect(codeOf(() => files.open(at('folder'), { write: true }))).toBe('EISDIR');
    });

    it('reads what was written, short only at the end', () => {
      const slot = files.open(at('file'), { write: true, create: true });
      bytes.set(pattern(9_000, 1), 11);
      files.write(slot, 11, 9_000, 500);
      expect(files.sizeBytes(slot)).toBe(9_500);
      bytes.fill(0xee, 20_000, 40_000);
      expect(files.read(slot, 20_001, 9_000, 500)).toBe(9_000);
      expect(isSame(bytes.subarray(20_001, 29_001), pattern(9_000, 1))).toBe(true);
      expect(bytes[20_000]).toBe(0xee);
      expect(bytes[29_001]).toBe(0xee);
      expect(files.read(slot, 20_000, 4_096, 9_400)).toBe(100);
      expect(files.read(slot, 20_000, 4_096, 9_500)).toBe(0);
      expect(files.read(slot, 20_000, 4_096, 1e9)).toBe(0);
      files.sync(slot);
    });

    it('reads and writes direct where it can', () => {
      const slot = files.open(at('file'), { write: true, create: true, direct: true });
      bytes.set(pattern(8_192, 2), 4_096);
      files.write(slot, 4_096, 8_192, 4_096);
      expect(files.read(slot, 16_384, 16_384, 4_096)).toBe(8_192);
      expect(isSame(bytes.subarray(16_384, 24_576), pattern(8_192, 2))).toBe(true);
      if (!world.hasDirect) return;
      expect(codeOf(() => files.write(slot, 4_096, 100, 0))).toBe('EINVAL');
      expect(codeOf(() => files.read(slot, 4_096, 512, 4_103))).toBe('EINVAL');
    });

    it('does not write to what is open for reading', () => {
      files.close(files.open(at('file'), { write: true, create: true }));
      const slot = files.open(at('file'), {});
      expect(codeOf(() => files.write(slot, 0, 10, 0))).toBe('EBADF');
      expect(codeOf(() => files.allocate(slot, AllocateMode.preallocate, 0, 10))).toBe('EBADF');
      // ftruncate(2) has EINVAL for it.
      expect(['EINVAL', 'EBADF']).toContain(codeOf(() => files.truncate(slot, 10)));
      expect(files.sizeBytes(slot)).toBe(0);
    });

    it('truncates: what was cut off does not come back', () => {
      const slot = files.open(at('file'), { write: true, create: true });
      bytes.fill(9, 0, 10_000);
      files.write(slot, 0, 10_000, 0);
      files.truncate(slot, 3_000);
      expect(files.sizeBytes(slot)).toBe(3_000);
      files.truncate(slot, 6_000);
      expect(files.read(slot, 20_000, 10_000, 0)).toBe(6_000);
      expect(bytes.subarray(20_000, 23_000).every(byte => byte === 9)).toBe(true);
      expect(bytes.subarray(23_000, 26_000).every(byte => byte === 0)).toBe(true);
      for (const size of [-1, 1.5, NaN, 2 ** 53]) expect(codeOf(() => files.truncate(slot, size))).toBe('ERR_ARGUMENT');
      expect(files.sizeBytes(slot)).toBe(6_000);
    });

    it('allocates', () => {
      const slot = files.open(at('file'), { write: true, create: true });
      files.allocate(slot, AllocateMode.preallocate, 0, 10_000);
      expect(files.sizeBytes(slot)).toBe(10_000);
      bytes.fill(9, 0, 10_000);
      files.write(slot, 0, 10_000, 0);
      files.allocate(slot, AllocateMode.punchHole, 1_000, 2_000);
      files.allocate(slot, AllocateMode.zeroRange, 9_000, 2_000);
      files.allocate(slot, AllocateMode.keepSize, 0, 50_000);
      expect(files.read(slot, 20_000, 20_000, 0)).toBe(11_000);
      const expected = new Uint8Array(11_000).fill(9).fill(0, 1_000, 3_000).fill(0, 9_000);
      expect(isSame(bytes.subarray(20_000, 31_000), expected)).toBe(true);
    });

    it('tells data from holes, where it can: what was written is data, and what is no data reads as zeroes', () => {
      const MIB = 1 << 20;
      const slot = files.open(at('file'), { write: true, create: true });
      files.truncate(slot, 8 * MIB + 100);
      bytes.fill(9, 0, 65_536);
      files.write(slot, 0, 65_536, MIB);
      files.write(slot, 0, 65_536, 4 * MIB + 65_536);
      files.allocate(slot, AllocateMode.punchHole, MIB, 32_768);
      const found: number[] = [];
      for (let from = 0; from < files.sizeBytes(slot);) {
        const data = files.nextData(slot, from);
        const hole = files.nextHole(slot, data);
        found.push(data, hole);
        from = Math.max(data, hole);
      }
      const all = files.sizeBytes(slot);
      if (features.holes) expect(found).toEqual([MIB + 32_768, MIB + 65_536, 4 * MIB + 65_536, 4 * MIB + 131_072, all, all]);
      else expect(found).toEqual([0, all]);
      // From the middle of either, and from the end.
      expect(files.nextData(slot, MIB + 40_001)).toBe(MIB + 40_001);
      expect(files.nextHole(slot, 3 * MIB + 7)).toBe(features.holes ? 3 * MIB + 7 : all);
      expect([files.nextData(slot, all), files.nextHole(slot, all)]).toEqual([all, all]);
      for (const bad of [-1, 0.5, NaN, 2 ** 53]) expect(codeOf(() => files.nextData(slot, bad))).toBe('ERR_ARGUMENT');
    });

    it('lists names in order', () => {
      for (const name of ['b', 'a', 'C', 'aa', 'é']) files.close(files.open(at(name), { write: true, create: true }));
      files.makeDirectory(at('ab/deep/er'));
      expect(files.list(world.directory)).toEqual(['C', 'a', 'aa', 'ab', 'b', 'é']);
      expect(files.list(at('ab'))).toEqual(['deep']);
      expect(codeOf(() => files.list(at('none')))).toBe('ENOENT');
      expect(codeOf(() => files.list(at('a')))).toBe('ENOTDIR');
    });

    it('makes directories with their parents, and finds them made', () => {
      files.makeDirectory(at('x/y/z'));
      files.makeDirectory(at('x/y'));
      expect([files.exists(at('x/y/z')), files.exists(at('x/q'))]).toEqual([true, false]);
      files.close(files.open(at('f'), { write: true, create: true }));
      expect(['EEXIST', 'ENOTDIR']).toContain(codeOf(() => files.makeDirectory(at('f'))));
    });

    it('renames, over what has the name', () => {
      for (const [name, size] of [['old', 100] as const, ['new', 200] as const]) {
        const slot = files.open(at(name), { write: true, create: true });
        files.truncate(slot, size);
        files.close(slot);
      }
      files.rename(at('old'), at('new'));
      expect(files.list(world.directory)).toEqual(['new']);
      expect(files.sizeBytes(files.open(at('new'), {}))).toBe(100);
      expect(codeOf(() => files.rename(at('old'), at('other')))).toBe('ENOENT');
      expect(codeOf(() => files.rename(at('new'), at('none/new')))).toBe('ENOENT');
    });

    it('removes a name; who has the file open keeps it', () => {
      const slot = files.open(at('file'), { write: true, create: true });
      bytes.fill(5, 0, 100);
      files.write(slot, 0, 100, 0);
      files.remove(at('file'));
      expect(files.exists(at('file'))).toBe(false);
      expect(files.read(slot, 200, 100, 0)).toBe(100);
      expect(bytes[299]).toBe(5);
      expect(codeOf(() => files.remove(at('file')))).toBe('ENOENT');
    });

    it('syncs directories and tells of space', () => {
      files.syncDirectory(world.directory);
      expect(codeOf(() => files.syncDirectory(at('none')))).toBe('ENOENT');
      const { freeBytes, totalBytes } = files.space(world.directory);
      expect(freeBytes).toBeGreaterThan(0);
      expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
      expect(codeOf(() => files.space(at('none')))).toBe('ENOENT');
    });

    it('refuses memory outside the arena and slots that are no files', () => {
      const slot = files.open(at('file'), { write: true, create: true });
      const end = world.engine.arena.byteLength;
      for (const [offset, length] of [
        [-1, 10],
        [end - 5, 10],
        [end, 1],
        [0, end + 1],
        [NaN, 1],
        [0, NaN],
        [0, -1],
      ] as const) {
        expect(
          codeOf(() => files.read(slot, offset, length, 0)),
          `read ${offset} ${length}`,
        ).toBe('ERR_ARENA_BOUNDS');
        expect(
          codeOf(() => files.write(slot, offset, length, 0)),
          `write ${offset} ${length}`,
        ).toBe('ERR_ARENA_BOUNDS');
      }
      files.close(slot);
      for (const bad of [slot, -1, 0.5, 1e9, NaN]) {
        expect(codeOf(() => files.read(bad, 0, 10, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => files.write(bad, 0, 10, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => files.sync(bad))).toBe('ERR_SLOT');
        expect(codeOf(() => files.sizeBytes(bad))).toBe('ERR_SLOT');
        expect(codeOf(() => files.truncate(bad, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => files.nextData(bad, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => files.nextHole(bad, 0))).toBe('ERR_SLOT');
        expect(codeOf(() => files.allocate(bad, 0, 0, 10))).toBe('ERR_SLOT');
        expect(codeOf(() => files.close(bad))).toBe('ERR_SLOT');
      }
    });
  });
}
