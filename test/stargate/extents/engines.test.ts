import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createArena, createEngine } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { ExtentStore } from '../../../src/stargate/extents/extent-store.js';
import { extentPath } from '../../../src/stargate/extents/layout.js';
import { Answers, BUFFER, extentContract, SCRATCH, type ExtentRig } from './contract.js';

// One turn at a time from a test needs an engine that lives in Node's loop; io_uring is covered by the shards' own tests.
async function makeRig(): Promise<ExtentRig> {
  const directory = mkdtempSync(join(tmpdir(), 'gatepath-extents-'));
  const engine = createEngine({ arena: createArena(4 << 20), kind: 'libuv' });
  const running = engine.run();
  return {
    engine,
    root: join(directory, 'extents'),
    async until(done) {
      while (!done()) await nextTurn();
    },
    async close() {
      engine.stop();
      await running;
      engine.destroy();
      rmSync(directory, { recursive: true });
    },
  };
}

extentContract('libuv and a real file system', makeRig);

describe('extents on a real file system', () => {
  it('takes space for what is written, not for the holes, and gives it back', async () => {
    const rig = await makeRig();
    const extents = new ExtentStore(rig.engine, rig.root, SCRATCH);
    const answers = new Answers();
    const allocated = () => statSync(extentPath(rig.root, 1, 0)).blocks * 512;
    rig.engine.arena.bytes.fill(1, BUFFER, BUFFER + (1 << 20));
    extents.write(1, 0, 100_000, 256, BUFFER, answers, 0);
    await rig.until(() => answers.got.length === 1);
    extents.sync(1, 0, answers, 0);
    await rig.until(() => answers.got.length === 2);
    expect(allocated()).toBeGreaterThanOrEqual(1 << 20);
    expect(allocated()).toBeLessThan(2 << 20);
    extents.punch(1, 0, 100_000, 192, answers, 0);
    await rig.until(() => answers.got.length === 3);
    extents.sync(1, 0, answers, 0);
    await rig.until(() => answers.got.length === 4);
    expect(answers.got.map(([, result]) => result)).toEqual([1 << 20, 0, 0, 0]);
    expect(allocated()).toBeLessThan(512 << 10);
    await rig.close();
  });
});
