import { describe, expect, it } from 'vitest';
import { WRITE_DSYNC } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { wake } from '../../src/wake.js';
import { DiskWorld, outcomes } from './world.js';

describe('the simulated engine', () => {
  it('completes in an order that the seed decides, and reads memory when it writes', () => {
    const orders = outcomes(50, world => {
      const slot = world.file('/f', 512, 1);
      for (const value of [2, 3, 4]) world.write(slot, value, 512, value * 512);
      world.engine.runUntilIdle();
      return world.done.map(([tag]) => tag).join();
    });
    expect(orders.length).toBe(6);
    const contents = outcomes(20, world => {
      const slot = world.file('/f', 512, 1);
      world.write(slot, 2, 512, 0);
      // Whoever reuses memory that is under way is found out.
      world.engine.arena.bytes.fill(5, 2 * 4096, 2 * 4096 + 512);
      world.engine.runUntilIdle();
      return world.sectors('/f').join();
    });
    expect(contents).toEqual(['5']);
  });

  it('shows a part of a long write to those who read meanwhile', () => {
    const seen = outcomes(300, world => {
      const slot = world.file('/f', 2048, 1);
      world.write(slot, 2, 2048, 0);
      world.engine.read(slot, 128 << 10, 2048, 0, world.client, 99);
      world.wait(99);
      const sectors = [0, 1, 2, 3].map(i => world.engine.arena.bytes[(128 << 10) + i * 512]);
      return new Set(sectors).size === 1 ? 'whole' : 'torn';
    });
    expect(seen).toEqual(['torn', 'whole']);
  });

  it('keeps its time: it moves with events only, timers and completions in order', () => {
    const world = new DiskWorld(1);
    const { clock, engine } = world;
    const start = clock.nowNs;
    for (const ms of [30, 10, 20]) engine.timer(ms * 1e6, world.client, ms);
    const cancelled = engine.timer(15e6, world.client, 15);
    engine.cancelTimer(cancelled);
    clock.runUntil(start + 25e6);
    expect(world.done.map(([tag]) => tag)).toEqual([10, 20]);
    expect(clock.nowNs).toBe(start + 25e6);
    clock.until(() => world.done.length === 3);
    expect(engine.nowNs).toBe(start + 30e6);
    expect(clock.step()).toBe(false);
  });

  it('runs hooks after completions, and a call from outside as a turn', () => {
    const world = new DiskWorld(1);
    const told: string[] = [];
    world.engine.atTurnEnd(20, () => told.push('late'));
    world.engine.atTurnEnd(10, () => told.push('early'));
    world.engine.onWake(() => told.push('wake'));
    world.engine.turn(() => told.push('call'));
    expect(told).toEqual(['call', 'early', 'late']);
    wake(world.engine.wakeHandle);
    world.clock.step();
    expect(told.slice(3)).toEqual(['wake', 'early', 'late']);
  });

  it('closes after what is under way, and a killed one says nothing more', () => {
    const world = new DiskWorld(1);
    const slot = world.file('/f', 512, 1);
    world.write(slot, 2, 512, 0);
    world.engine.close(slot, world.client, 77);
    expect(() => world.write(slot, 3, 512, 0)).toThrow(/is not an open file/);
    world.engine.runUntilIdle();
    expect(world.done).toEqual([
      [2, 512],
      [77, 0],
    ]);
    const second = world.engine.files.open('/f', { write: true });
    world.write(second, 4, 512, 0);
    world.engine.timer(1, world.client, 5);
    world.engine.kill();
    world.clock.runUntil(world.clock.nowNs + 1e9);
    expect(world.done).toHaveLength(2);
  });

  it('hands a descriptor to another engine of the same disk, and has no sockets', () => {
    const world = new DiskWorld(1);
    const fd = world.engine.release(world.file('/f', 512, 6));
    world.mount();
    const slot = world.engine.adopt(fd, 'file');
    expect(world.engine.files.sizeBytes(slot)).toBe(512);
    expect(() => world.engine.adopt(1, 'socket')).toThrow(/its own disk only/);
    expect(() => world.engine.listen()).toThrow(expect.objectContaining({ code: 'ERR_UNSUPPORTED' }));
  });

  it('runs by itself until it is stopped', async () => {
    const world = new DiskWorld(1);
    const running = world.engine.run();
    world.engine.timer(5e9, world.client, 1);
    while (world.done.length === 0) await new Promise(resolve => setImmediate(resolve));
    const slot = world.file('/f', 512, 1);
    world.write(slot, 2, 512, 0);
    while (world.done.length === 1) await new Promise(resolve => setImmediate(resolve));
    world.engine.timer(1e6, world.client, 3);
    world.engine.stop();
    await running;
    world.engine.destroy();
    expect(world.done.slice(0, 2)).toEqual([
      [1, 0],
      [2, 512],
    ]);
  });
});

describe('faults', () => {
  it('strike where, when and how often they are asked for', () => {
    const world = new DiskWorld(1);
    const slot = world.file('/log/f'.replace('/log', ''), 512, 1);
    world.disk.faults.add({ path: '/other', operation: 'write', error: errno.EIO });
    world.disk.faults.add({ path: '/f', operation: 'write', error: errno.EIO, skip: 1, times: 2 });
    for (const value of [2, 3, 4, 5]) {
      world.write(slot, value, 512, 0);
      world.wait(value);
    }
    expect(world.done.map(([, result]) => result)).toEqual([512, -errno.EIO, -errno.EIO, 512]);
    expect(world.disk.faults.struck).toBe(2);
  });

  it('come before, in the middle of, or after what was asked for', () => {
    const after = (stage: 'before' | 'partly' | 'after'): string[] =>
      outcomes(40, world => {
        const slot = world.file('/f', 1024, 1);
        world.disk.faults.add({ operation: 'write', stage, error: errno.EIO });
        world.write(slot, 2, 1024, 0, WRITE_DSYNC);
        expect(world.wait(2)).toBe(-errno.EIO);
        return world.sectors('/f').join();
      });
    expect(after('before')).toEqual(['1,1']);
    expect(after('partly')).toEqual(['1,1', '1,2', '2,1', '2,2']);
    expect(after('after')).toEqual(['2,2']);
  });

  it('make a failed sync forsake what it was to cover: a second one does not help', () => {
    const seen = outcomes(60, world => {
      const slot = world.file('/f', 4608, 1);
      world.write(slot, 2, 512, 0);
      world.wait(2);
      world.disk.faults.add({ operation: 'sync', error: errno.EIO });
      world.engine.sync(slot, world.client, 10);
      expect(world.wait(10)).toBe(-errno.EIO);
      world.write(slot, 3, 512, 4096);
      world.wait(3);
      world.engine.sync(slot, world.client, 11);
      expect(world.wait(11)).toBe(0);
      world.cut();
      const sectors = world.sectors('/f');
      return `${sectors[0]},${sectors[8]}`;
    });
    expect(seen).toEqual(['1,3', '2,3']);
  });

  it('strike synchronous calls', () => {
    const { engine, disk } = new DiskWorld(1);
    const { files } = engine;
    for (const operation of ['open', 'makeDirectory', 'syncDirectory'] as const) disk.faults.add({ operation, error: errno.EROFS });
    const refused = expect.objectContaining({ code: 'EROFS' });
    expect(() => files.open('/f', { create: true, write: true })).toThrow(refused);
    expect(() => files.makeDirectory('/d')).toThrow(refused);
    expect(() => files.syncDirectory('/')).toThrow(refused);
    expect(files.list('/')).toEqual([]);
  });

  it('hang until they are released', () => {
    const world = new DiskWorld(1);
    const slot = world.file('/f', 512, 1);
    world.disk.faults.add({ operation: 'write', error: 'hang' });
    world.write(slot, 2, 512, 0);
    world.write(slot, 3, 512, 0);
    world.clock.runUntil(world.clock.nowNs + 60e9);
    expect(world.done).toEqual([[3, 512]]);
    world.disk.faults.release();
    expect(world.wait(2)).toBe(512);
    expect(world.sectors('/f')).toEqual([2]);
  });

  it('fill the disk: writes, allocations and files in need of space get ENOSPC, others go on', () => {
    const world = new DiskWorld(1, { capacityBytes: 16384 });
    const { files } = world.engine;
    const slot = world.file('/f', 8192, 1);
    files.allocate(slot, 1, 8192, 4096);
    expect(files.space('/')).toEqual({ freeBytes: 4096, totalBytes: 16384 });
    expect(() => files.allocate(slot, 0, 0, 20480)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    world.write(slot, 2, 8192, 12288);
    expect(world.wait(2)).toBe(-errno.ENOSPC);
    world.write(slot, 3, 8192, 4096);
    expect(world.wait(3)).toBe(8192);
    files.allocate(slot, 3, 0, 8192);
    world.write(slot, 4, 8192, 12288);
    expect(world.wait(4)).toBe(8192);
  });

  it('rot: bits change, on the medium too', () => {
    const world = new DiskWorld(1);
    world.file('/f', 1024, 0x11);
    world.disk.rot('/f', 600, 0x04);
    expect(world.sectors('/f')).toEqual([0x11, NaN]);
    world.cut();
    expect(world.sectors('/f')).toEqual([0x11, NaN]);
  });
});
