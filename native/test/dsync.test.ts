import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { WRITE_DSYNC } from '../src/engine.js';
import { makeRealWorld } from './contract/real-world.js';
import { Stage } from './contract/stage.js';

// What survives a power cut cannot be seen without one; that the device was told to flush can. (The faulty disk has power cuts.)

describe.each(['io_uring', 'libuv'] as const)('WRITE_DSYNC: %s', kind => {
  /** Flushes that the device below the directory has completed, or null where it has none. */
  function flushes(directory: string): number | null {
    const { dev } = fs.statSync(directory);
    const line = fs
      .readFileSync('/proc/diskstats', 'utf8')
      .split('\n')
      .map(one => one.trim().split(/\s+/))
      .find(fields => Number(fields[0]) === ((dev >> 8) & 0xfff) && Number(fields[1]) === (dev & 0xff));
    return line?.[18] === undefined ? null : Number(line[18]);
  }

  it('makes the device flush, once for each write', async context => {
    const count = 32;
    const world = makeRealWorld(kind);
    const stage = new Stage(world);
    const seen: number[] = [];
    await stage.play(function* () {
      const slot = stage.engine.files.open(`${world.directory}/file`, { write: true, create: true, direct: true });
      expect(yield stage.write(slot, 0, count * 4_096, 0, WRITE_DSYNC)).toBe(count * 4_096);
      let before = flushes(world.directory) ?? 0;
      for (let i = 0; i < count; i++) expect(yield stage.write(slot, i * 4_096, 4_096, i * 4_096, WRITE_DSYNC)).toBe(4_096);
      seen.push((flushes(world.directory) ?? 0) - before);
      before = flushes(world.directory) ?? 0;
      for (let i = 0; i < count; i++) {
        expect(yield stage.write(slot, i * 4_096, 4_096, i * 4_096)).toBe(4_096);
        expect(yield stage.sync(slot)).toBe(0);
      }
      seen.push((flushes(world.directory) ?? 0) - before);
    });
    world.close();
    // A device without a volatile cache is not flushed by fdatasync either.
    if (seen[1]! < count) return context.skip('the device does not count flushes');
    expect(seen[0]).toBeGreaterThanOrEqual(count);
  });
});
