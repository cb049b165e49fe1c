import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { wake } from '../../src/wake.js';
import { play } from './stage.js';
import type { MakeWorld } from './world.js';

/** Another thread, as compiled code has it: wakes `count` times after it is told to. */
const WAKER = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(({ wake }) => {
    parentPort.once('message', () => {
      let left = workerData.count;
      const go = () => {
        if (--left === 0) Atomics.store(workerData.isLast, 0, 1);
        wake(workerData.handle);
        if (left > 0) setImmediate(go);
        else parentPort.close();
      };
      go();
    });
    parentPort.postMessage('ready');
  });
`;

/** Wakes, from this thread and from real others. */
export function wakesContract(make: MakeWorld): void {
  describe('wake', () => {
    it('gets the engine out of its wait, from another thread, and lets it stop', async () => {
      const world = make();
      let turnsBefore = 0;
      let turns = 0;
      world.engine.atTurnEnd(0, () => turns++);
      world.engine.onWake(() => {
        turnsBefore = turns;
        world.engine.stop();
      });
      const waker = await startThread(WAKER, { handle: world.engine.wakeHandle, count: 1, isLast: new Int32Array(1) });
      waker.postMessage('go');
      await world.engine.run();
      expect(turns).toBe(turnsBefore + 1);
      await ended(waker);
      world.close();
    });

    it('calls every listener, once or more for many wakes', async () => {
      const world = make();
      const calls = [0, 0];
      const count = 200;
      for (const i of [0, 1]) world.engine.onWake(() => calls[i]!++);
      let added = 0;
      world.engine.onWake(() => {
        if (calls[0] === 1) world.engine.onWake(() => added++);
      });
      // Set before the last wake.
      const isLast = new Int32Array(new SharedArrayBuffer(4));
      world.engine.onWake(() => Atomics.load(isLast, 0) === 1 && world.engine.stop());
      const waker = await startThread(WAKER, { handle: world.engine.wakeHandle, count, isLast });
      waker.postMessage('go');
      await world.engine.run();
      await ended(waker);
      expect(calls[0]).toBe(calls[1]);
      expect(calls[0]).toBeGreaterThan(0);
      expect(calls[0]).toBeLessThanOrEqual(count);
      // A listener that another one adds hears of the next wake on.
      expect(added).toBe(calls[0]! - 1);
      world.close();
    });

    it('is not lost between looking and sleeping', async () => {
      const world = make();
      let woken = 0;
      const count = 300;
      // Each wake is answered before the next is sent: one that is lost leaves both waiting.
      const signal = new Int32Array(new SharedArrayBuffer(4));
      world.engine.onWake(() => {
        woken++;
        if (woken === count) return world.engine.stop();
        Atomics.store(signal, 0, woken);
        Atomics.notify(signal, 0);
      });
      const waker = await startThread(PING, { handle: world.engine.wakeHandle, signal, count });
      waker.postMessage('go');
      await world.engine.run();
      expect(woken).toBe(count);
      await ended(waker);
      world.close();
    });

    it('before the first turn, and between two runs, is told in the next one', async () => {
      const world = make();
      let woken = 0;
      world.engine.onWake(() => {
        woken++;
        world.engine.stop();
      });
      for (let run = 1; run <= 3; run++) {
        wake(world.engine.wakeHandle);
        await world.engine.run();
        expect(woken).toBe(run);
      }
      world.close();
    });

    it('from within a turn is told', async () => {
      await play(make, function* (stage) {
        let woken = -1;
        stage.engine.onWake(() => (woken = stage.turns));
        wake(stage.engine.wakeHandle);
        while (woken < 0) yield stage.delay(1e5);
      });
    });

    it('of an engine that is destroyed does nothing, to whatever has got its descriptor since', async () => {
      const world = make();
      const handle = structuredClone(world.engine.wakeHandle);
      world.engine.timer(0, world.engine.register({ onCompletion: () => world.engine.stop() }), 0);
      await world.engine.run();
      world.engine.destroy();
      // The numbers that are free now.
      const paths = Array.from({ length: 40 }, (_, i) => `/tmp/uring-engine-${process.pid}-${i}`);
      const files = paths.map(path => fs.openSync(path, 'w+'));
      try {
        if (handle.eventFd >= 0) expect(files).toContain(handle.eventFd);
        wake(handle);
        expect(files.map(file => fs.fstatSync(file).size)).toEqual(files.map(() => 0));
      } finally {
        files.forEach(file => fs.closeSync(file));
        paths.forEach(path => fs.unlinkSync(path));
        world.close();
      }
    });
  });
}

const MODULE = new URL('../../dist/wake.js', import.meta.url).href;

const PING = `
  const { parentPort, workerData: { module, handle, signal, count } } = require('node:worker_threads');
  import(module).then(({ wake }) => {
    parentPort.once('message', () => {
      for (let i = 0; i < count; i++) {
        wake(handle);
        if (i < count - 1 && Atomics.wait(signal, 0, i, 10_000) === 'timed-out') throw new Error('wake ' + i + ' was lost');
      }
      parentPort.close();
    });
    parentPort.postMessage('ready');
  });
`;

async function startThread(code: string, data: object): Promise<Worker> {
  const worker = new Worker(code, { eval: true, workerData: { module: MODULE, ...data } });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  return worker;
}

/** Waits for the end of the thread. */
function ended(worker: Worker): Promise<unknown> {
  return new Promise(resolve => (worker.threadId === -1 ? resolve(0) : worker.once('exit', resolve)));
}
