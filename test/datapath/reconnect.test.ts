import { Gather } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { createTermFloor, SharedTermFloor } from '../../src/datapath/floor.js';
import { NodeTable } from '../../src/datapath/nodes.js';
import { HealthTable } from '../../src/datapath/paths.js';
import { ShardSession } from '../../src/datapath/shard-session.js';
import type { SessionFrontEnd, SessionRequest } from '../../src/datapath/session-request.js';
import type { ShardTransport } from '../../src/transport/shard-transport.js';
import { IoOp } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import { Area, connectShards, PathWorld, SERVING_PAGES, SOCKET, VDISK_BYTES } from '../transport/worlds.js';

const BLOCK = 4_096;
const BLOCKS = VDISK_BYTES / BLOCK;
/** Payload places of a front end, one per request under way. */
const PLACES = 600;

/** A front end that writes and reads blocks of which each is of one pattern, and spoils its buffers as soon as they are its own again. */
class Load implements SessionFrontEnd {
  readonly session: ShardSession;
  readonly world: PathWorld;
  readonly floor = createTermFloor();
  readonly #free = Array.from({ length: PLACES }, (_, i) => Area.client + i * BLOCK);
  /** Writes in the order of submission. */
  readonly writes: { block: number; value: number }[] = [];
  readonly answers = new Map<SessionRequest, number>();
  underWay = 0;
  done = 0;
  torn = 0;
  readonly failures: number[] = [];
  readonly #held: { request: SessionRequest; atNs: number }[] = [];

  constructor(world: PathWorld) {
    this.world = world;
    const [context] = connectShards([world.client]);
    const parts = {
      context: context!,
      transport: { unix: world.connector } as unknown as ShardTransport,
      nodes: new NodeTable([{ kind: 'unix', socketPath: SOCKET }]),
      health: new HealthTable(),
      failbackAfterMs: null,
      serving: null,
      client: world.client.register({ onCompletion: timer => this.session.onTimer(timer) }),
      nothing: new Gather(1),
    };
    this.session = new ShardSession(parts, world.session(), 'test', this.floor, 0);
    this.session.session.start();
  }

  write(block: number): void {
    const place = this.#free.pop();
    if (place === undefined) return;
    const value = this.writes.length + 1;
    this.writes.push({ block, value });
    new Uint32Array(this.world.arena.buffer, place, BLOCK / 4).fill(value);
    const request = this.session.session.acquire();
    request.set(IoOp.write, block * BLOCK, BLOCK, this, place);
    request.payload = new Gather(1);
    request.payload.add(place, BLOCK);
    this.#submit(request);
  }

  read(block: number): void {
    const request = this.session.session.acquire();
    request.set(IoOp.read, block * BLOCK, BLOCK, this, null);
    request.data = new Gather(8);
    this.#submit(request);
  }

  onAnswer(request: SessionRequest): void {
    this.underWay--;
    this.done++;
    if (request.status !== IoStatus.ok) this.failures.push(request.status);
    if (request.op === IoOp.write) {
      const place = request.context as number;
      this.world.arena.fill(0xee, place, place + BLOCK);
      this.#free.push(place);
    } else if (request.status === IoStatus.ok) {
      const from = request.data.offsets[0]!;
      const words = new Uint32Array(this.world.arena.slice(from, from + BLOCK).buffer);
      if (request.data.totalBytes !== BLOCK || words.some(word => word !== words[0])) this.torn++;
      this.#held.push({ request, atNs: this.world.network.nowNs + this.world.network.random(3e6) });
    }
  }

  /** Lets go of read data some time after it came; and of the vdisk, when kills follow each other so fast that it is held (rule 19). */
  releaseDue(all = false): void {
    new SharedTermFloor(this.floor).release();
    for (let i = this.#held.length - 1; i >= 0; i--) {
      if (!all && this.#held[i]!.atNs > this.world.network.nowNs) continue;
      this.session.session.release(this.#held.splice(i, 1)[0]!.request);
    }
  }

  #submit(request: SessionRequest): void {
    this.underWay++;
    this.session.session.submit(request);
    this.world.client.poke();
  }
}

describe('a session over a Unix socket', () => {
  it.each(Array.from({ length: 25 }, (_, i) => i + 1))(
    'loses and doubles nothing while the Stargate is killed and connections break (seed %d)',
    seed => {
      const world = new PathWorld('unix', seed, 1_000_000);
      const { network } = world;
      const load = new Load(world);
      let kills = 0;
      let cuts = 0;
      let restartAtNs = Infinity;
      for (let step = 0; step < 6_000; step++) {
        const dice = network.random(1_000);
        if (load.underWay < 200 && dice < 500) load.write(network.random(BLOCKS));
        else if (load.underWay < 200 && dice < 600) load.read(network.random(BLOCKS));
        else if (dice < 603 && restartAtNs === Infinity) {
          kills++;
          world.killServer();
          restartAtNs = network.nowNs + network.random(1_500e6);
        } else if (dice < 606 && world.client.cutLast()) cuts++;
        if (network.nowNs >= restartAtNs) {
          world.startServer();
          restartAtNs = Infinity;
        }
        load.releaseDue();
        network.step();
      }
      if (restartAtNs !== Infinity) world.startServer();
      network.run(() => {
        load.releaseDue();
        return load.underWay === 0;
      }, 'all answers');
      load.releaseDue(true);

      const { log, violations, content } = world.vdisk;
      expect(violations).toEqual([]);
      expect(new Set(log).size).toBe(log.length);
      expect(log.length).toBe(load.writes.length);
      expect(load.failures).toEqual([]);
      expect(load.torn).toBe(0);
      const words = new Uint32Array(content.buffer);
      const last = new Map(load.writes.map(({ block, value }) => [block, value]));
      for (const [block, value] of last)
        expect(words.subarray((block * BLOCK) / 4, ((block + 1) * BLOCK) / 4).every(word => word === value)).toBe(true);
      // The schedule did what it is for.
      expect(kills + cuts).toBeGreaterThan(3);
      expect(load.session.session.counters.replayed).toBeGreaterThan(0);
      load.session.session.detach();
      network.pass(100);
      expect(world.serving.freePages.length).toBe(SERVING_PAGES);
      expect(world.clientMemory.free()).toEqual([64, 32, 4, 4]);
    },
  );

  it('goes on within 250 ms + one connection after the Stargate is back', () => {
    const world = new PathWorld('unix', 77, 100_000);
    const load = new Load(world);
    load.write(1);
    world.network.run(() => load.done === 1, 'an answer');
    world.killServer();
    load.write(2);
    world.network.pass(5_000);
    expect(load.done).toBe(1);
    expect(load.session.problem).toContain('no connection to the Stargate');
    world.startServer();
    const fromNs = world.network.nowNs;
    world.network.run(() => load.done === 2, 'the answer');
    expect((world.network.nowNs - fromNs) / 1e6).toBeLessThan(270);
    expect(load.session.problem).toBe('');
  });

  it('drops a Stargate that is silent for a second, and one that only hangs on its disk not', () => {
    const world = new PathWorld('unix', 78, 100_000);
    const load = new Load(world);
    load.write(1);
    world.network.run(() => load.done === 1, 'an answer');
    // A controller that never answers: heartbeats go on, the path stays.
    world.serving.onCompletion = () => undefined;
    load.write(2);
    world.network.pass(3_000);
    expect(load.session.session.counters.lost).toBe(0);
    // The process is stopped (SIGSTOP): nothing comes any more, the connection stays open.
    const stopped = world.serverEngine;
    stopped.dead = true;
    world.network.pass(900);
    expect(load.session.session.counters.lost).toBe(0);
    world.network.pass(600);
    expect(load.session.session.counters.lost).toBe(1);
  });

  it('stops when its last answers have come, and leaves the session to the next start', () => {
    const world = new PathWorld('unix', 81, 5_000_000);
    const load = new Load(world);
    for (let i = 0; i < 30; i++) load.write(i);
    world.network.run(() => load.done > 0, 'an answer');
    let closed = false;
    world.connector!.close(() => (closed = true));
    world.network.run(() => load.done === 30, 'the other answers');
    expect(closed).toBe(false);
    load.session.stop();
    world.client.poke();
    world.network.run(() => closed, 'the stop');
    expect(load.failures).toEqual([]);
    world.network.pass(100);
    expect([...world.vdisk.sessions.values()].map(session => session.closed)).toEqual([false]);
  });

  it('answers "closed" when a newer attachment takes over, and ends itself for good on detach', () => {
    const world = new PathWorld('unix', 79, 100_000);
    const load = new Load(world);
    load.write(1);
    world.network.run(() => load.done === 1, 'an answer');
    world.open(world.session(2, 3));
    load.write(2);
    world.network.run(() => load.done === 2, 'the answer');
    expect(load.failures).toEqual([IoStatus.closed]);

    const other = new PathWorld('unix', 80, 100_000);
    const detached = new Load(other);
    detached.write(1);
    other.network.run(() => detached.done === 1, 'an answer');
    detached.session.session.detach();
    other.client.poke();
    other.network.pass(100);
    expect([...other.vdisk.sessions.values()].map(session => session.closed)).toEqual([true]);
    expect(other.server!.connections).toBe(0);
  });
});
