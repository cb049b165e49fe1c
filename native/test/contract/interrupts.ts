import { expect, it } from 'vitest';
import { RECV_ALL, type Slot } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { codeOf, play, type Stage } from './stage.js';
import type { MakeWorld } from './world.js';

/** `interrupt`: what waits for a peer ends, and the slot is as good as before. */
export function interruptsContract(make: MakeWorld, listen: (stage: Stage) => Slot): void {
  it('interrupt a receive, and lose nothing of what comes after it', async () => {
    await play(make, function* (stage) {
      const [near, far] = yield* stage.pair(listen(stage));
      for (let round = 0; round < 3; round++) {
        const waiting = stage.recv(far, 0, 100);
        yield stage.delay(1e6);
        expect(waiting.result).toBe(null);
        stage.engine.interrupt(far);
        expect(yield waiting).toBe(-errno.ECANCELED);
        stage.fill(4_096, 10, round);
        expect(yield stage.send(near, [4_096, 10])).toBe(10);
        expect(yield stage.recv(far, 8_192, 10, RECV_ALL)).toBe(10);
        expect(stage.bytes.slice(8_192, 8_202)).toEqual(stage.bytes.slice(4_096, 4_106));
      }
      expect(stage.engine.outstanding).toBe(0);
    });
  });

  it('interrupt a receive in the turn that began it, and one that has come by then', async () => {
    await play(make, function* (stage) {
      const [near, far] = yield* stage.pair(listen(stage));
      const atOnce = stage.recv(far, 0, 100);
      stage.engine.interrupt(far);
      expect(yield atOnce).toBe(-errno.ECANCELED);
      expect(yield stage.send(near, [4_096, 10])).toBe(10);
      yield stage.delay(1e6);
      const come = stage.recv(far, 0, 100);
      stage.engine.interrupt(far);
      // Either way nothing is lost.
      const result = yield come;
      if (result === -errno.ECANCELED) expect(yield stage.recv(far, 0, 100)).toBe(10);
      else expect(result).toBe(10);
    });
  });

  it('interrupt a receive of all with what has come', async () => {
    await play(make, function* (stage) {
      const [near, far] = yield* stage.pair(listen(stage));
      stage.fill(4_096, 300, 7);
      const all = stage.recv(far, 8_192, 300, RECV_ALL);
      expect(yield stage.send(near, [4_096, 100])).toBe(100);
      yield stage.settle();
      stage.engine.interrupt(far);
      expect(yield all).toBe(100);
      expect(yield stage.send(near, [4_196, 200])).toBe(200);
      expect(yield stage.recv(far, 8_292, 200, RECV_ALL)).toBe(200);
      expect(stage.bytes.slice(8_192, 8_492)).toEqual(stage.bytes.slice(4_096, 4_396));
    });
  });

  it('interrupt an accept; who connects afterwards is accepted', async () => {
    await play(make, function* (stage) {
      const listener = listen(stage);
      const accept = stage.accept(listener);
      yield stage.delay(1e6);
      stage.engine.interrupt(listener);
      expect(yield accept).toBe(-errno.ECANCELED);
      expect(stage.engine.outstanding).toBe(0);
      yield* stage.pair(listener);
    });
  });

  it('can be given away when they have been interrupted', async () => {
    await play(make, function* (stage) {
      if (!stage.world.features.release) return;
      const listener = listen(stage);
      const [near, far] = yield* stage.pair(listener);
      const waiting = [stage.recv(far, 0, 100), stage.accept(listener)];
      yield stage.delay(1e6);
      for (const slot of [far, listener]) {
        expect(codeOf(() => stage.engine.release(slot))).toBe('ERR_SLOT');
        stage.engine.interrupt(slot);
      }
      expect(yield* stage.all(waiting)).toEqual([-errno.ECANCELED, -errno.ECANCELED]);
      const again = stage.engine.adopt(stage.engine.release(far), 'socket');
      const listening = stage.engine.adopt(stage.engine.release(listener), 'listener');
      const received = stage.recv(again, 0, 100);
      expect(yield stage.send(near, [4_096, 10])).toBe(10);
      expect(yield received).toBe(10);
      yield* stage.pair(listening);
    });
  });

  it('are not interrupted while they send, nor where they are none; without anything outstanding it is no effect', async () => {
    await play(make, function* (stage) {
      const [near, far] = yield* stage.pair(listen(stage));
      const file = stage.engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
      for (const slot of [file, -1, 4_000]) expect(codeOf(() => stage.engine.interrupt(slot))).toBe('ERR_SLOT');
      stage.engine.interrupt(near);
      const send = stage.send(near, [0, 10]);
      expect(codeOf(() => stage.engine.interrupt(near))).toBe('ERR_SLOT');
      expect(yield send).toBe(10);
      expect(yield stage.recv(far, 0, 10)).toBe(10);
    });
  });
}
