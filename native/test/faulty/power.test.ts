import { describe, expect, it } from 'vitest';
import { AllocateMode, WRITE_DSYNC } from '../../src/engine.js';
import { PowerLoss } from '../../src/faulty/index.js';
import { DiskWorld, outcomes } from './world.js';

describe('a power cut', () => {
  it('leaves each sector that no sync covers old or new, each for itself', () => {
    const seen = outcomes(200, world => {
      const slot = world.file('/f', 2048, 1);
      world.write(slot, 2, 2048, 0);
      world.wait(2);
      world.cut();
      return world.sectors('/f').join();
    });
    expect(seen.every(sectors => /^[12],[12],[12],[12]$/.test(sectors))).toBe(true);
    expect(seen).toContain('1,1,1,1');
    expect(seen).toContain('2,2,2,2');
    // Torn in every way: also with the later part there and the earlier one not.
    expect(seen).toHaveLength(16);
  });

  it('leaves a state between, too, where a sector was written twice', () => {
    const seen = outcomes(200, world => {
      const slot = world.file('/f', 512, 1);
      for (const value of [2, 3, 4]) {
        world.write(slot, value, 512, 0);
        world.wait(value);
      }
      world.cut();
      return world.sectors('/f').join();
    });
    expect(seen).toEqual(['1', '2', '3', '4']);
  });

  it('takes nothing of a completed write with DSYNC, and its whole length is there', () => {
    const seen = outcomes(100, world => {
      const slot = world.file('/f', 512, 1);
      world.write(slot, 2, 1024, 1024, WRITE_DSYNC);
      world.wait(2);
      world.cut();
      return world.sectors('/f').slice(2).join();
    });
    expect(seen).toEqual(['2,2']);
  });

  it('takes nothing that was completed before a sync was called, and may take what came after the call', () => {
    const seen = outcomes(200, world => {
      const slot = world.file('/f', 1024, 1);
      world.write(slot, 2, 512, 0);
      world.wait(2);
      world.engine.sync(slot, world.client, 9);
      world.write(slot, 3, 512, 512);
      world.wait(9);
      world.cut();
      return world.sectors('/f').join();
    });
    expect(seen).toEqual(['2,1', '2,3']);
  });

  it('finds writes under way at any point, as does the end of the process', () => {
    for (const end of ['cut', 'kill'] as const) {
      const seen = outcomes(200, world => {
        const slot = world.file('/f', 1024, 1);
        world.write(slot, 2, 1024, 0, WRITE_DSYNC);
        world[end]();
        world.clock.runUntil(world.clock.nowNs + 1e9);
        expect(world.done).toEqual([]);
        return world.sectors('/f').join();
      });
      expect(seen).toEqual(['1,1', '1,2', '2,1', '2,2']);
    }
  });

  it('may take after the next start what an earlier process left unsynced', () => {
    const seen = outcomes(50, world => {
      world.write(world.file('/f', 512, 1), 2, 512, 0);
      world.wait(2);
      world.kill();
      expect(world.sectors('/f')).toEqual([2]);
      world.cut();
      return world.sectors('/f').join();
    });
    expect(seen).toEqual(['1', '2']);
  });

  it('may take back a size, a hole and a truncation', () => {
    const seen = outcomes(200, world => {
      const { files } = world.engine;
      const slot = world.file('/f', 8192, 1);
      files.allocate(slot, AllocateMode.punchHole, 0, 4096);
      files.truncate(slot, 4096);
      world.cut();
      const sectors = world.sectors('/f');
      return `${sectors.length} ${[...new Set(sectors.slice(0, 8))].sort().join()}`;
    });
    expect(seen).toEqual(expect.arrayContaining(['16 0', '16 1', '8 0', '8 1', '16 0,1', '8 0,1']));
    expect(seen).toHaveLength(6);
  });

  it('decides by the seed alone', () => {
    const run = (seed: number): string => {
      const world = new DiskWorld(seed);
      const slot = world.file('/f', 64 << 10, 1);
      for (let i = 2; i < 30; i++) world.write(slot, i, 4096, (i % 16) * 4096, i % 3 === 0 ? WRITE_DSYNC : 0);
      world.clock.until(() => world.done.length > 14);
      world.cut();
      return `${world.clock.nowNs} ${JSON.stringify(world.done)} ${world.sectors('/f').join()}`;
    };
    expect(run(5)).toBe(run(5));
    expect(run(5)).not.toBe(run(6));
  });
});

describe('names', () => {
  const present = (world: DiskWorld, ...paths: string[]): string => paths.filter(path => world.engine.files.exists(path)).join();

  it('are there for certain after a sync of their directory, and perhaps before', () => {
    const seen = outcomes(100, world => {
      const { files } = world.engine;
      files.makeDirectory('/d');
      files.syncDirectory('/');
      world.file('/d/synced', 512, 1);
      files.open('/d/a', { write: true, create: true });
      files.open('/d/b', { write: true, create: true });
      world.cut();
      return present(world, '/d/synced', '/d/a', '/d/b');
    });
    expect(seen).toEqual(['/d/synced', '/d/synced,/d/a', '/d/synced,/d/a,/d/b', '/d/synced,/d/b']);
  });

  it('go with the directory they are in, synced or not', () => {
    const seen = outcomes(50, world => {
      world.engine.files.makeDirectory('/a/b');
      world.file('/a/b/f', 512, 1);
      world.cut();
      return present(world, '/a', '/a/b/f');
    });
    expect(seen).toContain('');
    expect(seen).toContain('/a,/a/b/f');
  });

  it('change by a rename at once: the old one, the new one, never both or none', () => {
    const seen = outcomes(100, world => {
      world.file('/old', 512, 1);
      world.engine.files.rename('/old', '/new');
      world.cut();
      return present(world, '/old', '/new');
    });
    expect(seen).toEqual(['/new', '/old']);
  });

  it('come back when their removal was not synced', () => {
    const seen = outcomes(100, world => {
      world.file('/f', 512, 7);
      world.engine.files.remove('/f');
      world.cut();
      return world.engine.files.exists('/f') ? world.sectors('/f').join() : 'gone';
    });
    expect(seen).toEqual(['7', 'gone']);
  });

  it('are those of Linux in their errors', () => {
    const { files } = new DiskWorld(1).engine;
    files.makeDirectory('/d');
    const slot = files.open('/d/f', { create: true, write: true });
    const code = (call: () => void): string => {
      try {
        call();
        return 'ok';
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(code(() => files.open('/d/none', {}))).toBe('ENOENT');
    expect(code(() => files.open('/none/f', { create: true }))).toBe('ENOENT');
    expect(code(() => files.open('/d/f', { create: true, exclusive: true }))).toBe('EEXIST');
    expect(code(() => files.open('/d', {}))).toBe('EISDIR');
    expect(code(() => files.list('/d/f'))).toBe('ENOTDIR');
    expect(code(() => files.remove('/d'))).toBe('EISDIR');
    expect(code(() => files.rename('/d/none', '/d/x'))).toBe('ENOENT');
    expect(code(() => files.write(files.open('/d/f', {}), 0, 512, 0))).toBe('EBADF');
    expect(code(() => files.write(files.open('/d/f', { direct: true, write: true }), 0, 512, 100))).toBe('EINVAL');
    files.remove('/d/f');
    files.write(slot, 0, 512, 0);
    expect(files.sizeBytes(slot)).toBe(512);
  });
});

describe('the power goes in the middle of synchronous calls', () => {
  it('after the given number of changes, and nothing gets to the disk any more', () => {
    const world = new DiskWorld(3);
    const slot = world.file('/f', 512, 1);
    world.disk.cutPowerAfterCalls(2);
    const { files } = world.engine;
    files.write(slot, 4096, 512, 0);
    files.sync(slot);
    expect(() => files.write(slot, 8192, 512, 0)).toThrow(PowerLoss);
    expect(() => files.remove('/f')).toThrow(PowerLoss);
    world.write(slot, 9, 512, 0, WRITE_DSYNC);
    world.clock.runUntil(world.clock.nowNs + 1e9);
    expect(world.done).toEqual([]);
    world.cut();
    expect(world.sectors('/f')[0]).not.toBe(9);
    expect(() => world.engine.files.remove('/f')).not.toThrow();
  });
});
