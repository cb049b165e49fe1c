import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RECV_ALL, type Slot } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { Peer } from './peer.js';
import { isSame, pattern, play, type Operation, type Stage } from './stage.js';
import type { MakeWorld } from './world.js';

const MIB = 1 << 20;

/** Connections with peers that are Node's own sockets: they close halves, reset, and read late. */
export function peersContract(make: MakeWorld, listen: (stage: Stage) => Slot, family: 'unix' | 'tcp'): void {
  describe('with a foreign peer', () => {
    let peer: Peer;
    beforeAll(async () => {
      peer = await Peer.start();
    });
    afterAll(() => peer.stop());

    function* accepted(stage: Stage): Generator<Operation, Slot, number> {
      const listener = listen(stage);
      const accept = stage.accept(listener);
      yield* peer.do(stage, 'connect', { address: stage.engine.localAddress(listener) });
      return yield accept;
    }

    it('that closes its half still gets what is sent', async () => {
      await play(make, function* (stage) {
        const slot = yield* accepted(stage);
        yield* peer.do(stage, 'send', { lengthBytes: 5_000, seed: 1 });
        yield* peer.do(stage, 'halfClose');
        expect(yield stage.recv(slot, 0, 10_000, RECV_ALL)).toBe(5_000);
        expect(isSame(stage.bytes.subarray(0, 5_000), pattern(5_000, 1))).toBe(true);
        expect(yield stage.recv(slot, 0, 10_000)).toBe(0);
        stage.fill(0, 300_000, 2);
        const sent = stage.send(slot, [0, 300_000]);
        expect(yield* peer.do(stage, 'read', { lengthBytes: 300_000, seed: 2 })).toMatchObject({ isSame: true, failure: '' });
        expect(yield sent).toBe(300_000);
        expect(yield stage.close(slot)).toBe(0);
        expect(yield* peer.do(stage, 'readToEnd')).toMatchObject({ ended: true, failure: '' });
        yield* peer.do(stage, 'destroy');
      });
    });

    it('that closes its half of a connection made from here still gets what is sent', async () => {
      await play(make, function* (stage) {
        const path = `${stage.world.directory}/peer`;
        const bound = yield* peer.do<{ port?: number }>(stage, 'listen', family === 'unix' ? { path } : {});
        const slot = yield stage.connect(family === 'unix' ? { family, path } : { family, host: '127.0.0.1', port: bound.port! });
        yield* peer.do(stage, 'connected');
        yield* peer.do(stage, 'halfClose');
        expect(yield stage.recv(slot, 0, 10)).toBe(0);
        yield stage.settle();
        stage.fill(0, 100_000, 3);
        expect(yield stage.send(slot, [0, 100_000])).toBe(100_000);
        expect(yield* peer.do(stage, 'read', { lengthBytes: 100_000, seed: 3 })).toMatchObject({ isSame: true, failure: '' });
        yield* peer.do(stage, 'destroy');
        yield* peer.do(stage, 'stopListening');
      });
    });

    it('that reads late: the send waits, whole', async () => {
      await play(make, function* (stage) {
        const slot = yield* accepted(stage);
        stage.fill(0, 8 * MIB, 4);
        const sent = stage.send(slot, [0, 3 * MIB], [3 * MIB, MIB], [5 * MIB, 3 * MIB], [4 * MIB, MIB]);
        for (let i = 0; i < 5; i++) yield stage.settle();
        expect(sent.result).toBe(null);
        const whole = pattern(8 * MIB, 4);
        const reading = yield* peer.do<{ receivedBytes: number; digest: string }>(stage, 'readDigest', { lengthBytes: 8 * MIB });
        expect(yield sent).toBe(8 * MIB);
        const order = [whole.subarray(0, 4 * MIB), whole.subarray(5 * MIB), whole.subarray(4 * MIB, 5 * MIB)];
        expect(reading).toEqual({ receivedBytes: 8 * MIB, digest: digestOf(order) });
        yield* peer.do(stage, 'destroy');
      });
    });

    it('that resets: the receive fails or ends, and so does what follows', async () => {
      await play(make, function* (stage) {
        const slot = yield* accepted(stage);
        const received = stage.recv(slot, 0, 100);
        yield* peer.do(stage, family === 'unix' ? 'destroy' : 'reset');
        expect(family === 'unix' ? [0] : [-errno.ECONNRESET]).toContain(yield received);
        const result = yield stage.send(slot, [0, 100]);
        expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(result);
        expect([0, -errno.ECONNRESET]).toContain(yield stage.recv(slot, 0, 100));
        expect(yield stage.close(slot)).toBe(0);
      });
    });

    it('that resets between two operations', async () => {
      await play(make, function* (stage) {
        const slot = yield* accepted(stage);
        yield* peer.do(stage, family === 'unix' ? 'destroy' : 'reset');
        yield stage.settle();
        expect([0, -errno.ECONNRESET]).toContain(yield stage.recv(slot, 0, 100));
        expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(yield stage.send(slot, [0, 100]));
        expect(yield stage.close(slot)).toBe(0);
      });
    });

    it('that resets before it is accepted, and after it was', async () => {
      await play(make, function* (stage) {
        const listener = listen(stage);
        yield* peer.do(stage, 'connect', { address: stage.engine.localAddress(listener) });
        yield* peer.do(stage, family === 'unix' ? 'destroy' : 'reset');
        yield stage.settle();
        const slot = yield stage.accept(listener);
        expect(slot >= 0 || slot === -errno.ECONNABORTED).toBe(true);
        if (slot >= 0) expect([0, -errno.ECONNRESET]).toContain(yield stage.recv(slot, 0, 100));
      });
    });

    it('sees the end when the engine is destroyed', async () => {
      const world = make();
      const seen: unknown[] = [];
      await play(
        () => ({ ...world, close: () => undefined }),
        function* (stage) {
          const slot = yield* accepted(stage);
          stage.recv(slot, 0, 100);
          yield stage.settle();
        },
      );
      world.close();
      const other = make();
      await play(
        () => other,
        function* (stage) {
          seen.push(yield* peer.do(stage, 'readToEnd'));
          yield* peer.do(stage, 'destroy');
        },
      );
      expect(seen).toMatchObject([{ receivedBytes: 0 }]);
    });
  });
}

function digestOf(pieces: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}
