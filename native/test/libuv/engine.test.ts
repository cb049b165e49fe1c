import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RECV_ALL } from '../../src/engine.js';
import { makeRealWorld } from '../contract/real-world.js';
import { codeOf, isSame, pattern, play, Stage } from '../contract/stage.js';
import type { World } from '../contract/world.js';

// What is particular to libuv: Node reads and accepts ahead, its timers end at 2^31 ms, its threads use a file after this one has let go.

const make = (): World => makeRealWorld('libuv');

describe('what Node has taken ahead', () => {
  it('keeps a connection from being released, and is received first', async () => {
    await play(make, function* (stage) {
      const [near, far] = yield* stage.pair(stage.engine.listen({ family: 'unix', path: `${stage.world.directory}/s` }));
      stage.fill(0, 1_000, 1);
      expect(yield stage.send(near, [0, 1_000])).toBe(1_000);
      yield stage.settle();
      expect(codeOf(() => stage.engine.release(far))).toBe('ERR_SLOT');
      expect(yield stage.recv(far, 8_192, 1_000, RECV_ALL)).toBe(1_000);
      expect(isSame(stage.bytes.subarray(8_192, 9_192), pattern(1_000, 1))).toBe(true);
      const again = stage.engine.adopt(stage.engine.release(far), 'socket');
      expect(yield stage.send(near, [0, 10])).toBe(10);
      expect(yield stage.recv(again, 0, 100)).toBe(10);
    });
  });

  it('keeps a listener from being released, and is accepted first', async () => {
    await play(make, function* (stage) {
      const listener = stage.engine.listen({ family: 'unix', path: `${stage.world.directory}/s` });
      expect(yield stage.connect(stage.engine.localAddress(listener))).toBeGreaterThanOrEqual(0);
      yield stage.settle();
      expect(codeOf(() => stage.engine.release(listener))).toBe('ERR_SLOT');
      expect(yield stage.accept(listener)).toBeGreaterThanOrEqual(0);
      fs.closeSync(stage.engine.release(listener));
    });
  });
});

describe('a timer that lies further ahead than Node can wait', () => {
  it('is not due again and again', async () => {
    const world = make();
    let turns = 0;
    world.engine.atTurnEnd(0, () => turns++);
    world.engine.timer(2 ** 33 * 1e6, world.engine.register({ onCompletion: () => undefined }), 0);
    const running = world.engine.run();
    await delay(60);
    expect(turns).toBeLessThan(5);
    world.engine.stop();
    await running;
    world.close();
  });
});

describe('destroy', () => {
  it('does not let go of a file that a thread is writing to', async () => {
    const world = make();
    const stage = new Stage(world);
    await stage.play(function* () {
      const slot = stage.engine.files.open(`${world.directory}/file`, { write: true, create: true });
      stage.bytes.fill(1);
      yield stage.delay(0);
      // More than there are threads: some wait for one.
      for (let i = 0; i < 256; i++) stage.write(slot, 0, 1 << 20, i << 20);
    });
    expect(world.engine.outstanding).toBeGreaterThan(100);
    world.engine.destroy();
    // Whatever gets the number next.
    const paths = Array.from({ length: 20 }, (_, i) => `${world.directory}/other${i}`);
    const others = paths.map(path => fs.openSync(path, 'w+'));
    await delay(300);
    expect(others.map(other => fs.fstatSync(other).size)).toEqual(others.map(() => 0));
    for (const other of others) fs.closeSync(other);
    world.close();
  });
});
