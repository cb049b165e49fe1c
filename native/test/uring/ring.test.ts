import fs from 'node:fs';
import net from 'node:net';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { loadAddon } from '../../src/addon.js';
import { RECV_ALL, WRITE_DSYNC, type SocketAddress } from '../../src/engine.js';
import { makeRealWorld } from '../contract/real-world.js';
import { play, Stage } from '../contract/stage.js';
import type { World } from '../contract/world.js';
import { useWatchdog } from '../support/watchdog.js';

// What is particular to io_uring: the limits of its queues, sockets that come from Node, threads that end, and what it costs.

const make = (): World => makeRealWorld('io_uring');
useWatchdog();

describe('the queues of the ring', () => {
  it('take more operations in one turn than there is room for descriptors and completions', async () => {
    await play(make, function* (stage) {
      const slot = stage.engine.files.open(`${stage.world.directory}/file`, { write: true, create: true });
      stage.fill(0, 65_536, 1);
      expect(yield stage.write(slot, 0, 65_536, 0)).toBe(65_536);
      // 4,096 descriptors, 1,024 submissions, 8,192 completions.
      const reads = Array.from({ length: 20_000 }, (_, i) => stage.read(slot, 100_000 + i * 4, 4, (i * 4) % 65_536));
      const results = yield* stage.all(reads);
      expect(results.every(result => result === 4)).toBe(true);
      for (let i = 0; i < 80_000; i++) {
        if (stage.bytes[100_000 + i] !== stage.bytes[i % 65_536]) throw new Error(`byte ${i} is another's`);
      }
    });
  });

  it('take more pieces in one turn than there is room for', async () => {
    await play(make, function* (stage) {
      const listener = stage.engine.listen({ family: 'unix', path: `${stage.world.directory}/s` });
      const pairs: [number, number][] = [];
      // 32,768 pairs of numbers.
      for (let i = 0; i < 40; i++) pairs.push(yield* stage.pair(listener));
      const ranges = Array.from({ length: 1_024 }, (_, i) => [i * 8, 3] as const);
      stage.fill(0, 8_192, 3);
      const sends = pairs.map(([near]) => stage.send(near, ...ranges));
      const receives = pairs.map(([, far], i) => stage.recv(far, 65_536 + i * 4_096, 3_072, RECV_ALL));
      expect(yield* stage.all([...sends, ...receives])).toEqual(Array<number>(80).fill(3_072));
      for (let i = 0; i < 40 * 1_024; i++) {
        const at = 65_536 + Math.floor(i / 1_024) * 4_096 + (i % 1_024) * 3;
        const from = (i % 1_024) * 8;
        for (let j = 0; j < 3; j++) if (stage.bytes[at + j] !== stage.bytes[from + j]) throw new Error(`piece ${i} is another's`);
      }
    });
  });

  it('let the thread sleep: a turn is what something has completed in, not each look at the clock', async () => {
    const world = make();
    let turns = 0;
    world.engine.atTurnEnd(0, () => turns++);
    world.engine.timer(450e6, world.engine.register({ onCompletion: () => world.engine.stop() }), 0);
    const before = process.cpuUsage();
    await world.engine.run();
    const { user, system } = process.cpuUsage(before);
    expect(turns).toBeLessThanOrEqual(2);
    expect(user + system).toBeLessThan(200_000);
    world.close();
  });
});

describe('descriptors from elsewhere', () => {
  it('of Node, which are set not to block, are waited for all the same', async () => {
    const world = make();
    const path = `${world.directory}/node`;
    const server = net.createServer({ pauseOnConnect: true });
    await new Promise<void>(resolve => server.listen(path, resolve));
    const connected = new Promise<net.Socket>(resolve => server.once('connection', resolve));
    const client = net.connect(path);
    const [socket] = await Promise.all([connected, new Promise(resolve => client.once('connect', resolve))]);
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const stage = new Stage(world);
    await stage.play(function* () {
      const slot = stage.engine.adopt(loadAddon()!.duplicate(fd), 'socket');
      const received = stage.recv(slot, 0, 100);
      yield stage.settle();
      expect(received.result).toBe(null);
      const peer = stage.engine.adopt(loadAddon()!.duplicate((client as unknown as { _handle: { fd: number } })._handle.fd), 'socket');
      const accepting = stage.accept(
        stage.engine.adopt(loadAddon()!.duplicate((server as unknown as { _handle: { fd: number } })._handle.fd), 'listener'),
      );
      yield stage.settle();
      expect(accepting.result).toBe(null);
      expect(yield stage.send(peer, [0, 50])).toBe(50);
      expect(yield received).toBe(50);
      expect(yield stage.connect({ family: 'unix', path })).toBeGreaterThanOrEqual(0);
      expect(yield accepting).toBeGreaterThanOrEqual(0);
    });
    for (const one of [socket, client]) one.destroy();
    server.close();
    world.close();
  });
});

describe('a thread that ends without a word', () => {
  const MODULE = new URL('../../dist/index.js', import.meta.url).href;
  const THREAD = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData).then(async ({ createArena, createEngine }) => {
      const engine = createEngine({ arena: createArena(1 << 20), kind: 'io_uring' });
      const listener = engine.listen({ family: 'tcp', host: '127.0.0.1', port: 0 });
      const client = engine.register({ onCompletion: (tag, slot) => engine.recv(slot, 0, 100, 0, client, 1) });
      engine.accept(listener, client, 0);
      engine.onWake(() => process.exit(0));
      parentPort.postMessage({ address: engine.localAddress(listener), wakeHandle: engine.wakeHandle });
      await engine.run();
    });
  `;

  it('takes its listeners and connections with it', async () => {
    const worker = new Worker(THREAD, { eval: true, workerData: MODULE });
    const { address } = await new Promise<{ address: SocketAddress & { port: number } }>((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
    });
    const socket = net.connect(address.port, '127.0.0.1');
    await new Promise(resolve => socket.once('connect', resolve));
    // One that was not accepted yet is reset.
    socket.on('error', () => undefined);
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.resume();
    await worker.terminate();
    await closed;
    const refused = net.connect(address.port, '127.0.0.1');
    expect(await new Promise(resolve => refused.once('error', resolve).once('connect', resolve))).toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('what destroy leaves', () => {
  it('is no file open, and no memory written to, whatever was under way', async () => {
    const before = openFiles();
    for (let round = 0; round < 5; round++) {
      const world = make();
      const { engine } = world;
      const stage = new Stage(world);
      await stage.play(function* () {
        const listener = engine.listen({ family: 'unix', path: `${world.directory}/s` });
        for (let i = 0; i < 20; i++) {
          const [near, far] = yield* stage.pair(listener);
          stage.recv(near, i * 4_096, 4_096);
          stage.recv(far, 100_000 + i * 4_096, 4_096);
          stage.send(far, [200_000, 1_000]);
        }
        stage.accept(listener);
        // One that comes when nobody takes its completion any more.
        stage.connect({ family: 'unix', path: `${world.directory}/s` });
        const slot = engine.files.open(`${world.directory}/file`, { write: true, create: true, direct: true });
        for (let i = 0; i < 100; i++) stage.write(slot, 0, 1 << 20, i << 20, WRITE_DSYNC);
        for (let i = 0; i < 100; i++) stage.read(slot, 1 << 20, 1 << 20, i << 20);
      });
      engine.destroy();
      stage.bytes.fill(0xee);
      await new Promise(resolve => setTimeout(resolve, 30));
      expect(stage.bytes.every(byte => byte === 0xee)).toBe(true);
      world.close();
    }
    expect(openFiles()).toBe(before);
  });

  const openFiles = (): number => fs.readdirSync('/proc/self/fd').length;
});

describe('an operation', () => {
  it('allocates nothing', async () => {
    const world = make();
    const { engine } = world;
    const slot = engine.files.open(`${world.directory}/file`, { write: true, create: true });
    engine.files.write(slot, 0, 65_536, 0);
    const perRound = 20_000;
    const rounds = 6;
    const used: number[] = [];
    let left = perRound;
    const client = engine.register({
      onCompletion: (tag, result) => {
        if (result !== 512) throw new Error(`read: ${result}`);
        if (--left === 0) {
          used.push(process.memoryUsage().heapUsed);
          if (used.length > rounds) return engine.stop();
          left = perRound;
        }
        engine.read(slot, tag * 512, 512, tag * 512, client, tag);
      },
    });
    for (let tag = 0; tag < 32; tag++) engine.read(slot, tag * 512, 512, tag * 512, client, tag);
    await engine.run();
    world.close();
    // The first rounds compile; a collection in one of the others would make it smaller, so the smallest growth counts only if it is not negative.
    const growth = used.slice(1).map((bytes, i) => (bytes - used[i]!) / perRound);
    const last = growth.slice(-4).filter(bytes => bytes >= 0);
    expect(last.length).toBeGreaterThan(0);
    expect(Math.min(...last)).toBeLessThan(2);
  });
});

describe('the last turn', () => {
  it('lets out what it has enqueued', async () => {
    const world = make();
    const stage = new Stage(world);
    const ends: number[] = [];
    await stage.play(function* () {
      const [near, far] = yield* stage.pair(stage.engine.listen({ family: 'unix', path: `${world.directory}/s` }));
      ends.push(stage.engine.release(far));
      stage.fill(0, 1_000, 1);
      stage.send(near, [0, 1_000]);
    });
    const received = Buffer.alloc(2_000);
    expect(fs.readSync(ends[0]!, received)).toBe(1_000);
    fs.closeSync(ends[0]!);
    world.close();
  });
});
