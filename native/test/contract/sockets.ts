import { describe, expect, it } from 'vitest';
import { MAX_GATHER, RECV_ALL, SEND_LAZY, type Slot, type SocketAddress } from '../../src/engine.js';
import { errno } from '../../src/errno.js';
import { Gather } from '../../src/gather.js';
import { interruptsContract } from './interrupts.js';
import { peersContract } from './peers.js';
import { codeOf, gatherOf, isSame, pattern, play, type Scenario, type Stage } from './stage.js';
import type { MakeWorld } from './world.js';

const MIB = 1 << 20;
const FAMILIES = ['unix', 'tcp', 'tcp over IPv6'] as const;

/** Connections between two slots of one engine, and with peers that are Node's own sockets. */
export function socketsContract(make: MakeWorld): void {
  describe.each(FAMILIES)('sockets: %s', family => {
    const listen = (stage: Stage): Slot => {
      if (family === 'unix') return stage.engine.listen({ family, path: `${stage.world.directory}/s` });
      return stage.engine.listen({ family: 'tcp', host: family === 'tcp' ? '127.0.0.1' : '::1', port: 0 });
    };
    const playPair = (scenario: (stage: Stage, near: Slot, far: Slot) => Scenario): Promise<void> =>
      play(make, function* (stage) {
        const [near, far] = yield* stage.pair(listen(stage));
        yield* scenario(stage, near, far);
      });
    transferContract(playPair);
    lazyContract(playPair);
    endContract(playPair);
    acceptContract(make, listen);
    interruptsContract(make, listen);
    if (family !== 'tcp over IPv6') peersContract(make, listen, family);
  });
}

type PlayPair = (scenario: (stage: Stage, near: Slot, far: Slot) => Scenario) => Promise<void>;

function transferContract(playPair: PlayPair): void {
  it('receive what has come, and with RECV_ALL all of it', async () => {
    await playPair(function* (stage, near, far) {
      stage.fill(0, 100_000, 1);
      expect(yield stage.send(near, [0, 1_000])).toBe(1_000);
      const some = yield stage.recv(far, 200_000, 4_096);
      expect(some).toBeGreaterThanOrEqual(1);
      expect(some).toBeLessThanOrEqual(1_000);
      if (some < 1_000) expect(yield stage.recv(far, 200_000 + some, 1_000 - some, RECV_ALL)).toBe(1_000 - some);
      const all = stage.recv(far, 201_000, 99_000, RECV_ALL);
      for (let at = 1_000; at < 100_000; at += 9_900) {
        expect(all.result).toBe(null);
        expect(yield stage.send(near, [at, 9_900])).toBe(9_900);
      }
      expect(yield all).toBe(99_000);
      expect(isSame(stage.bytes.subarray(200_000, 300_000), pattern(100_000, 1))).toBe(true);
    });
  });

  it('receive no more than is asked for, and leave the memory behind it alone', async () => {
    await playPair(function* (stage, near, far) {
      stage.fill(0, 5_000, 2);
      expect(yield stage.send(near, [0, 5_000])).toBe(5_000);
      stage.bytes.fill(0xee, 100_000, 110_000);
      expect(yield stage.recv(far, 101_000, 7, RECV_ALL)).toBe(7);
      expect(yield stage.recv(far, 102_000, 4_993, RECV_ALL)).toBe(4_993);
      expect(isSame(stage.bytes.subarray(101_000, 101_007), pattern(5_000, 2).subarray(0, 7))).toBe(true);
      expect(isSame(stage.bytes.subarray(102_000, 106_993), pattern(5_000, 2).subarray(7))).toBe(true);
      for (const [from, to] of [
        [100_000, 101_000],
        [101_007, 102_000],
        [106_993, 110_000],
      ]) {
        expect(stage.bytes.subarray(from, to).every(byte => byte === 0xee)).toBe(true);
      }
    });
  });

  it('send gather lists in order, up to MAX_GATHER pieces; the list may be used again at once', async () => {
    await playPair(function* (stage, near, far) {
      const gather = new Gather();
      for (const pieces of [1, 2, 3, 100, MAX_GATHER]) {
        const expected: number[] = [];
        gather.clear();
        for (let i = 0; i < pieces; i++) {
          // Pieces lie apart, and backwards.
          const offset = (pieces - i) * 64;
          stage.bytes.fill((i * 7 + pieces) & 0xff, offset, offset + 1 + (i % 60));
          gather.add(offset, 1 + (i % 60));
          for (let j = 0; j < 1 + (i % 60); j++) expected.push((i * 7 + pieces) & 0xff);
        }
        expect(gather.count).toBe(pieces);
        const sent = stage.sendAll(near, gather);
        gather.clear();
        gather.add(MIB, 10);
        expect(yield sent).toBe(expected.length);
        expect(yield stage.recv(far, MIB, expected.length, RECV_ALL)).toBe(expected.length);
        expect(isSame(stage.bytes.subarray(MIB, MIB + expected.length), Uint8Array.from(expected))).toBe(true);
      }
    });
  });

  it('carry megabytes both ways at once', async () => {
    await playPair(function* (stage, near, far) {
      stage.fill(0, 2 * MIB, 3);
      stage.fill(2 * MIB, MIB, 4);
      const sends = [stage.send(near, [0, MIB], [MIB + 4096, MIB - 4096]), stage.send(far, [2 * MIB, MIB])];
      const receives = [stage.recv(far, 3 * MIB, 2 * MIB - 4096, RECV_ALL), stage.recv(near, 5 * MIB, MIB, RECV_ALL)];
      expect(yield* stage.all([...sends, ...receives])).toEqual([2 * MIB - 4096, MIB, 2 * MIB - 4096, MIB]);
      const sent = pattern(2 * MIB, 3);
      expect(isSame(stage.bytes.subarray(3 * MIB, 4 * MIB), sent.subarray(0, MIB))).toBe(true);
      expect(isSame(stage.bytes.subarray(4 * MIB, 5 * MIB - 4096), sent.subarray(MIB + 4096))).toBe(true);
      expect(isSame(stage.bytes.subarray(5 * MIB, 6 * MIB), pattern(MIB, 4))).toBe(true);
    });
  });

  it('have one receive and one send outstanding each', async () => {
    await playPair(function* (stage, near, far) {
      const { engine, client } = stage;
      const received = stage.recv(near, 0, 100);
      expect(codeOf(() => engine.recv(near, 0, 100, 0, client, 0))).toBe('ERR_ARGUMENT');
      const sent = stage.send(near, [0, 6 * MIB]);
      expect(codeOf(() => engine.send(near, gatherOf([[0, 10]]), 0, client, 0))).toBe('ERR_ARGUMENT');
      expect(codeOf(() => engine.send(far, new Gather(), 0, client, 0))).toBe('ERR_ARGUMENT');
      expect(codeOf(() => engine.recv(far, 0, 100, 2, client, 0))).toBe('ERR_ARGUMENT');
      expect(engine.outstanding).toBe(2);
      for (let left = 6 * MIB; left > 0;) left -= yield stage.recv(far, 7 * MIB, Math.min(left, MIB));
      expect(yield sent).toBe(6 * MIB);
      expect(yield stage.send(far, [0, 50])).toBe(50);
      expect(yield received).toBe(50);
      expect(engine.outstanding).toBe(0);
    });
  });
}

function lazyContract(playPair: PlayPair): void {
  it('send lazily: it is told, with or without something else to tell', async () => {
    await playPair(function* (stage, near, far) {
      stage.fill(0, 10_000, 5);
      expect(yield stage.sendAll(near, gatherOf([[0, 4_000]]), SEND_LAZY)).toBe(4_000);
      expect(yield stage.recv(far, 20_000, 4_000, RECV_ALL)).toBe(4_000);
      // So many that waiting for a tick in each of them ends in the deadline.
      for (let round = 0; round < 300; round++) {
        const pieces = round % 2 === 0 ? ([[4_000, 6_000]] as const) : ([[4_000, 1_000], [5_000, 5_000]] as const); // prettier-ignore
        const sent = stage.sendAll(near, gatherOf(pieces), SEND_LAZY);
        const received = stage.recv(far, 24_000, 6_000, RECV_ALL);
        expect(yield* stage.all([sent, received])).toEqual([6_000, 6_000]);
        expect(isSame(stage.bytes.subarray(20_000, 30_000), pattern(10_000, 5))).toBe(true);
      }
    });
  });

  it('send lazily more than the peer takes at once: all of it arrives, in order', async () => {
    await playPair(function* (stage, near, far) {
      stage.fill(0, 6 * MIB, 6);
      const sent = stage.sendAll(near, gatherOf([[0, 1_000], [2_000, 4 * MIB], [4 * MIB + 2_000, MIB]]), SEND_LAZY); // prettier-ignore
      const total = 5 * MIB + 1_000;
      yield stage.settle();
      const whole = pattern(6 * MIB, 6);
      for (let at = 0; at < total; at += MIB) {
        const bytes = Math.min(MIB, total - at);
        expect(yield stage.recv(far, 7 * MIB, bytes, RECV_ALL)).toBe(bytes);
        const wanted =
          at === 0 ? concat(whole.subarray(0, 1_000), whole.subarray(2_000, MIB + 1_000)) : whole.subarray(at + 1_000, at + 1_000 + bytes);
        expect(isSame(stage.bytes.subarray(7 * MIB, 7 * MIB + bytes), wanted)).toBe(true);
      }
      expect(yield sent).toBe(total);
      expect(yield stage.sendAll(near, gatherOf([[0, 100]]), SEND_LAZY)).toBe(100);
      expect(codeOf(() => stage.engine.send(near, gatherOf([[0, 10]]), 2, stage.client, 0))).toBe('ERR_ARGUMENT');
    });
  });

  it('send lazily until nothing goes any more, and on when the peer has made room', async () => {
    await playPair(function* (stage, near, far) {
      const bytes = 100_000;
      stage.fill(0, bytes, 7);
      let sends = 0;
      let last = stage.sendAll(near, gatherOf([[0, bytes]]), SEND_LAZY);
      for (; sends < 200; sends++) {
        yield stage.settle();
        if (last.result === null) yield stage.delay(300e6);
        if (last.result === null) break;
        expect(last.result).toBe(bytes);
        last = stage.sendAll(near, gatherOf([[0, bytes]]), SEND_LAZY);
      }
      expect(last.result).toBe(null);
      const whole = pattern(bytes, 7);
      for (let i = 0; i <= sends; i++) {
        stage.bytes.fill(0, MIB, MIB + bytes);
        expect(yield stage.recv(far, MIB, bytes, RECV_ALL)).toBe(bytes);
        expect(isSame(stage.bytes.subarray(MIB, MIB + bytes), whole)).toBe(true);
      }
      expect(yield last).toBe(bytes);
    });
  });

  it('end a lazy send that waits as any other', async () => {
    await playPair(function* (stage, near, far) {
      const closed = stage.sendAll(near, gatherOf([[0, 8 * MIB]]), SEND_LAZY);
      const broken = stage.sendAll(far, gatherOf([[0, 8 * MIB]]), SEND_LAZY);
      yield stage.settle();
      expect([closed.result, broken.result]).toEqual([null, null]);
      expect(yield stage.close(near)).toBe(0);
      expect(closed.result).toBe(-errno.ECANCELED);
      expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(yield broken);
    });
  });
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  return Uint8Array.from([...first, ...second]);
}

function endContract(playPair: PlayPair): void {
  it('tell the end of the peer by 0, after all that it has sent, again and again', async () => {
    await playPair(function* (stage, near, far) {
      expect(yield stage.send(near, [0, 1_000])).toBe(1_000);
      expect(yield stage.close(near)).toBe(0);
      expect(yield stage.recv(far, 4_096, 400, RECV_ALL)).toBe(400);
      // Exactly that many, or fewer where the peer closes before.
      expect(yield stage.recv(far, 4_096, 4_096, RECV_ALL)).toBe(600);
      expect(yield stage.recv(far, 4_096, 4_096, RECV_ALL)).toBe(0);
      expect(yield stage.recv(far, 4_096, 4_096)).toBe(0);
      expect(yield stage.close(far)).toBe(0);
    });
  });

  it('fail to send to a peer that is gone, with EPIPE or ECONNRESET', async () => {
    await playPair(function* (stage, near, far) {
      expect(yield stage.close(near)).toBe(0);
      const results = new Set<number>();
      for (let i = 0; i < 50 && !results.has(-errno.EPIPE); i++) {
        results.add(yield stage.send(far, [0, 1_000]));
        yield stage.delay(1e6);
      }
      expect([...results].filter(result => ![1_000, -errno.EPIPE, -errno.ECONNRESET].includes(result))).toEqual([]);
      expect(results.has(-errno.EPIPE)).toBe(true);
    });
  });

  it('fail a send that waits when the peer closes', async () => {
    await playPair(function* (stage, near, far) {
      const sent = stage.send(near, [0, 8 * MIB]);
      expect(yield stage.recv(far, 0, 1_000, RECV_ALL)).toBe(1_000);
      expect(sent.result).toBe(null);
      expect(yield stage.close(far)).toBe(0);
      expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(yield sent);
    });
  });

  it('are shut down in both directions: what waits ends, the peer sees the end', async () => {
    await playPair(function* (stage, near, far) {
      const received = stage.recv(near, 0, 100, RECV_ALL);
      const sent = stage.send(near, [0, 8 * MIB]);
      yield stage.delay(1e6);
      stage.engine.shutdown(near);
      expect(yield received).toBe(0);
      expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(yield sent);
      expect(yield stage.recv(near, 0, 100)).toBe(0);
      expect([-errno.EPIPE, -errno.ECONNRESET]).toContain(yield stage.send(near, [0, 100]));
      let result = 1;
      for (let i = 0; i < 1_000 && result > 0; i++) result = yield stage.recv(far, MIB, MIB);
      expect([0, -errno.ECONNRESET]).toContain(result);
      expect(yield* stage.all([stage.close(near), stage.close(far)])).toEqual([0, 0]);
    });
  });

  it('are closed with a receive and a send waiting: both complete, the close last', async () => {
    await playPair(function* (stage, near, far) {
      const received = stage.recv(near, 0, 100);
      const sent = stage.send(near, [0, 8 * MIB]);
      yield stage.delay(1e6);
      const close = stage.close(near);
      expect(yield close).toBe(0);
      expect([0, -errno.ECANCELED]).toContain(received.result);
      expect(sent.result).toBe(-errno.ECANCELED);
      expect(close.order).toBeGreaterThan(Math.max(received.order, sent.order));
      let result = 1;
      for (let i = 0; i < 1_000 && result > 0; i++) result = yield stage.recv(far, MIB, MIB);
      expect([0, -errno.ECONNRESET]).toContain(result);
    });
  });

  it.each(['receive', 'send'] as const)('are closed when a %s has failed and the other operation ends in that same turn', async which => {
    await playPair(function* (stage, near, far) {
      const { engine } = stage;
      const spare = engine.release(engine.files.open(`${stage.world.directory}/spare`, { write: true, create: true }));
      const sent = stage.send(near, [0, 8 * MIB]);
      const received = stage.recv(near, 0, 100, RECV_ALL);
      yield stage.delay(1e6);
      // The peer goes away: the send that waits for room and the receive end together.
      const gone = stage.close(far);
      yield which === 'send' ? sent : received;
      expect(yield stage.close(near)).toBe(0);
      // Whoever gets the number now has nothing to do with what was to be cancelled a moment ago.
      const next = engine.adopt(spare, 'file');
      expect(yield stage.close(next)).toBe(0);
      expect(yield gone).toBe(0);
      expect(sent.result).toBeLessThan(0);
      expect(received.result).not.toBe(null);
      yield stage.settle();
      expect(engine.outstanding).toBe(0);
    });
  });

  it('are closed in the turn in which something was enqueued on them', async () => {
    await playPair(function* (stage, near, far) {
      const operations = [stage.recv(near, 0, 100), stage.send(near, [0, 100]), stage.recv(far, 0, 100, RECV_ALL)];
      const closes = [stage.close(near), stage.close(far)];
      expect(yield* stage.all(closes)).toEqual([0, 0]);
      expect(operations.map(one => one.result === null)).toEqual([false, false, false]);
      expect(stage.engine.outstanding).toBe(0);
    });
  });

  it('go to another slot with what has not been received', async () => {
    await playPair(function* (stage, near, far) {
      let slot = near;
      if (!stage.world.features.release) {
        expect(codeOf(() => stage.engine.release(slot))).toBe('ERR_UNSUPPORTED');
        return;
      }
      for (let round = 0; round < 5; round++) {
        slot = stage.engine.adopt(stage.engine.release(slot), 'socket');
        expect(yield stage.send(far, [0, 100])).toBe(100);
        expect(yield stage.recv(slot, 4_096, 100, RECV_ALL)).toBe(100);
        expect(yield stage.send(slot, [0, 200])).toBe(200);
        expect(yield stage.recv(far, 4_096, 200, RECV_ALL)).toBe(200);
      }
      const received = stage.recv(slot, 0, 100);
      expect(codeOf(() => stage.engine.release(slot))).toBe('ERR_SLOT');
      expect(yield stage.close(far)).toBe(0);
      expect(yield received).toBe(0);
    });
  });
}

function acceptContract(make: MakeWorld, listen: (stage: Stage) => Slot): void {
  it('accept one connection per call, in any order of calls', async () => {
    await play(make, function* (stage) {
      const listener = listen(stage);
      const address = stage.engine.localAddress(listener);
      const before = [stage.accept(listener), stage.accept(listener)];
      const clients = yield* stage.all(Array.from({ length: 10 }, () => stage.connect(address)));
      const servers = yield* stage.all(before);
      yield stage.settle();
      expect(stage.engine.outstanding).toBe(0);
      for (let i = 0; i < 8; i++) servers.push(yield stage.accept(listener));
      expect(new Set([...clients, ...servers, listener]).size).toBe(21);
      // Who is connected to whom.
      for (const [i, slot] of clients.entries()) {
        stage.bytes[i] = i;
        expect(yield stage.send(slot, [i, 1])).toBe(1);
      }
      const seen: number[] = [];
      for (const slot of servers) {
        expect(yield stage.recv(slot, 4_096, 10)).toBe(1);
        seen.push(stage.bytes[4_096]!);
      }
      expect(seen.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
  });

  it('cancel accepts when the listener closes; nobody connects any more', async () => {
    await play(make, function* (stage) {
      const listener = listen(stage);
      const address = stage.engine.localAddress(listener);
      const accepts = [stage.accept(listener), stage.accept(listener)];
      yield stage.delay(1e6);
      const close = stage.close(listener);
      expect(yield close).toBe(0);
      expect(accepts.map(one => one.result)).toEqual([-errno.ECANCELED, -errno.ECANCELED]);
      expect([-errno.ECONNREFUSED, -errno.ENOENT]).toContain(yield stage.connect(address));
    });
  });

  it('can be released and taken over as listeners', async () => {
    await play(make, function* (stage) {
      const listener = listen(stage);
      const address = stage.engine.localAddress(listener);
      if (!stage.world.features.release) {
        expect(codeOf(() => stage.engine.release(listener))).toBe('ERR_UNSUPPORTED');
        return;
      }
      const again = stage.engine.adopt(stage.engine.release(listener), 'listener');
      expect(stage.engine.localAddress(again)).toEqual(address);
      const accepted = stage.accept(again);
      expect(yield stage.connect(address)).toBeGreaterThanOrEqual(0);
      expect(yield accepted).toBeGreaterThanOrEqual(0);
    });
  });

  it('end with their engine', async () => {
    const first = make();
    const second = make();
    let address: SocketAddress | null = null;
    await play(
      () => ({ ...first, close: () => undefined }),
      function* (stage) {
        const listener = listen(stage);
        address = stage.engine.localAddress(listener);
        stage.accept(listener);
        yield stage.settle();
      },
    );
    first.engine.destroy();
    await play(
      () => second,
      function* (stage) {
        expect([-errno.ECONNREFUSED, -errno.ENOENT]).toContain(yield stage.connect(address!));
      },
    );
    first.close();
  });
}
