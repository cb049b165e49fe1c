import { randomUUID } from 'node:crypto';
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { Gather, type ArenaRegion } from 'uring-engine';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { DatapathMain } from '../../src/datapath/main.js';
import { DatapathShard } from '../../src/datapath/service.js';
import { keys } from '../../src/meta/model.js';
import type { ShardContext } from '../../src/shard/context.js';
import { ShardTransport } from '../../src/transport/shard-transport.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';
import { MemoryServing, MemoryStore, type MemoryVdisk } from '../transport/memory-serving.js';
import { SimNetwork, simArena, type SimEngine } from '../transport/sim-engine.js';
import { connectShards, SMALL_MEMORY } from '../transport/worlds.js';

const MIB = 1 << 20;
const NBD = '/sim/nbd.sock';
const NBD_LIMITS = { maxConnections: 8, extraStagingBuffers: 2, largeBuffers: 4, maxReadBytes: 8 * MIB };

/** Two shards with a Stargate and a datapath part each, the main thread's datapath part, and a metadata store. */
class World {
  readonly network: SimNetwork;
  readonly store = new MemoryStore();
  readonly metadata = new MemoryMetadata();
  readonly engines: SimEngine[];
  readonly contexts: ShardContext[];
  readonly datapaths: DatapathShard[];
  readonly servings: MemoryServing[];
  readonly main: DatapathMain;
  readonly #mainPorts: MessagePort[] = [];
  readonly #listeners = new Map<string, (message: unknown, shard: number) => void>();
  #region = 2 * MIB;

  constructor(seed: number) {
    this.network = new SimNetwork(seed, simArena(96 << 20));
    this.store.term = 1;
    this.engines = [this.network.engine(), this.network.engine()];
    const region = { take: (bytes: number) => this.#take(bytes) } as ArenaRegion;
    this.contexts = connectShards(this.engines, [region, region], this.#mainPorts);
    this.servings = this.contexts.map(
      ({ engine }, shard) =>
        new MemoryServing({
          engine,
          store: this.store,
          shard,
          base: this.#take(8 * MIB),
          pages: 2_048,
          random: n => this.network.random(n),
          delayNs: 300_000,
        }),
    );
    const listener = this.engines[0]!.listen({ family: 'unix', path: NBD });
    const datapathUuid = randomUUID();
    this.datapaths = this.contexts.map((context, shard) => {
      const serving = this.servings[shard]!;
      const transport = new ShardTransport({ context, software: 'test', memory: SMALL_MEMORY });
      transport.serve(serving, null);
      const targets = [{ kind: 'in-process' }] as const;
      const listeners = shard === 0 ? [listener] : [];
      return DatapathShard.start({
        context,
        transport,
        datapathUuid,
        targets,
        serving,
        listeners,
        acceptingShard: 0,
        nbdLimits: NBD_LIMITS,
      });
    });
    const shards = {
      count: 2,
      probes: (shard: number) => this.contexts[shard]!.probes,
      send: (shard: number, topic: string, message: unknown) => {
        this.#mainPorts[shard]!.postMessage({ topic, message });
        this.engines[shard]!.poke();
      },
      on: (topic: string, heard: (message: unknown, shard: number) => void) => void this.#listeners.set(topic, heard),
    };
    this.main = new DatapathMain({ store: this.metadata, host: 'here', shards, acceptingShard: 0, log: silentLogger });
  }

  async attach(
    name: string,
    shard: number,
    generation = 1,
    vdisk = this.store.add(randomUUID(), 2 * MIB, shard),
    shared = false,
  ): Promise<MemoryVdisk> {
    const record = { vdiskId: vdisk.id, vdiskName: name, host: 'here', generation, sizeBytes: vdisk.content.length, createdAt: '', shared };
    await this.metadata.put(keys.attachment('here', vdisk.id), record);
    await this.until(() => this.main.exports.some(one => one.vdiskId === vdisk.id && one.generation === generation && one.exported));
    return vdisk;
  }

  async detach(vdisk: MemoryVdisk): Promise<void> {
    await this.metadata.transaction([], [{ remove: keys.attachment('here', vdisk.id) }]);
  }

  /** Turns the shards and the main thread. */
  async until(holds: () => boolean): Promise<void> {
    for (let i = 0; i < 20_000 && !holds(); i++) {
      for (let n = 0; n < 20; n++) if (!this.network.step(this.network.nowNs + 1e6)) this.network.nowNs += 1e6;
      for (const [shard, port] of this.#mainPorts.entries()) {
        for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) {
          const { topic, message } = got.message as { topic: string; message: unknown };
          this.#listeners.get(topic)?.(message, shard);
        }
      }
      await new Promise(resolve => setImmediate(resolve));
    }
    expect(holds()).toBe(true);
  }

  connections(): number[] {
    return this.datapaths.map(datapath => datapath.status().reduce((sum, one) => sum + one.connections, 0));
  }

  #take(bytes: number): number {
    const at = this.#region;
    this.#region += Math.ceil(bytes / 4_096) * 4_096;
    if (this.#region > this.network.arena.byteLength) throw new Error('the arena of the test is too small');
    return at;
  }
}

/** An NBD client: fixed newstyle, GO, simple replies. */
class NbdClient {
  readonly #engine: SimEngine;
  readonly #client: number;
  #slot = -1;
  readonly #outbox: Buffer[] = [];
  #sending = false;
  #inbox: Buffer = Buffer.alloc(0);
  #phase: 'greeting' | 'options' | 'transmission' | 'refused' = 'greeting';
  #cookie = 0;
  readonly replies = new Map<number, { errno: number; data: Buffer }>();
  readonly #expected = new Map<number, number>();
  gone = false;

  constructor(
    readonly world: World,
    readonly name: string,
    readonly area: number,
  ) {
    this.#engine = world.network.engine();
    this.#client = this.#engine.register({ onCompletion: (tag, result) => this.#on(tag, result) });
    this.#engine.connect({ family: 'unix', path: NBD }, this.#client, 0);
  }

  get ready(): boolean {
    return this.#phase === 'transmission';
  }

  get refused(): boolean {
    return this.#phase === 'refused';
  }

  read(offset: number, length: number): number {
    return this.#request(0, offset, length, length);
  }

  write(offset: number, data: Buffer): number {
    return this.#request(1, offset, data.length, 0, data);
  }

  close(): void {
    this.#engine.shutdown(this.#slot);
  }

  #request(type: number, offset: number, length: number, expected: number, data: Buffer = Buffer.alloc(0)): number {
    const cookie = ++this.#cookie;
    const header = Buffer.alloc(28);
    header.writeUInt32BE(0x25609513, 0);
    header.writeUInt16BE(type, 6);
    header.writeUInt32BE(cookie, 12);
    header.writeUInt32BE(offset, 20);
    header.writeUInt32BE(length, 24);
    this.#expected.set(cookie, expected);
    this.#send(Buffer.concat([header, data]));
    return cookie;
  }

  #send(bytes: Buffer): void {
    this.#outbox.push(bytes);
    this.#pump();
  }

  #pump(): void {
    if (this.#sending || this.#outbox.length === 0) return;
    const bytes = this.#outbox.shift()!;
    this.#sending = true;
    this.world.network.arena.bytes.set(bytes, this.area);
    const gather = new Gather();
    gather.add(this.area, bytes.length);
    this.#engine.send(this.#slot, gather, 0, this.#client, 1);
  }

  #on(tag: number, result: number): void {
    if (tag === 0) this.#slot = result;
    else if (tag === 1) {
      this.#sending = false;
      this.#pump();
      return;
    } else if (result <= 0) {
      this.gone = true;
      return;
    } else {
      const at = this.area + 256 * 1_024;
      this.#inbox = Buffer.concat([this.#inbox, Uint8Array.from(this.world.network.arena.bytes.subarray(at, at + result))]);
      while (this.#parse());
    }
    this.#engine.recv(this.#slot, this.area + 256 * 1_024, 60_000, 0, this.#client, 2);
  }

  #take(length: number): Buffer | null {
    if (this.#inbox.length < length) return null;
    const taken = this.#inbox.subarray(0, length);
    this.#inbox = this.#inbox.subarray(length);
    return taken;
  }

  #parse(): boolean {
    if (this.#phase === 'greeting') return this.#take(18) !== null && this.#go();
    if (this.#phase === 'options') return this.#option();
    if (this.#phase === 'refused' || this.#inbox.length < 16) return false;
    const cookie = this.#inbox.readUInt32BE(12);
    const errno = this.#inbox.readUInt32BE(4);
    const reply = this.#take(16 + (errno === 0 ? this.#expected.get(cookie)! : 0));
    if (reply === null) return false;
    if (this.replies.has(cookie)) throw new Error('answered twice');
    this.replies.set(cookie, { errno, data: Buffer.from(reply.subarray(16)) });
    return true;
  }

  #go(): boolean {
    const name = Buffer.from(this.name);
    const bytes = Buffer.alloc(4 + 16 + 4 + name.length + 2);
    bytes.writeUInt32BE(3, 0);
    bytes.write('IHAVEOPT', 4);
    bytes.writeUInt32BE(7, 12);
    bytes.writeUInt32BE(4 + name.length + 2, 16);
    bytes.writeUInt32BE(name.length, 20);
    name.copy(bytes, 24);
    this.#send(bytes);
    this.#phase = 'options';
    return true;
  }

  #option(): boolean {
    if (this.#inbox.length < 20) return false;
    const type = this.#inbox.readUInt32BE(12);
    const length = this.#inbox.readUInt32BE(16);
    if (this.#take(20 + length) === null) return false;
    if (type === 1) this.#phase = 'transmission';
    else if (type >= 2 ** 31) this.#phase = 'refused';
    return true;
  }
}

describe('datapath service: two shards, NBD to Stargate', () => {
  it.each([1, 2, 3, 4])('serves a vdisk to connections on both shards, first that of its controller (seed %d)', async seed => {
    const world = new World(seed);
    const vdisk = await world.attach('demo', 1);
    const clients: NbdClient[] = [];
    for (let i = 0; i < 2; i++) {
      const client = new NbdClient(world, 'demo', i * 512 * 1_024);
      clients.push(client);
      await world.until(() => client.ready && world.connections()[1 - i] === 1);
    }
    expect(world.connections()).toEqual([1, 1]);
    const status = await statusOf(world);
    expect(status.sessions.map(one => `${one.shard} ${one.path} ${one.state}`).sort()).toEqual(['0 other-shard open', '1 same-shard open']);

    // Each writes its own blocks, and reads the other's back.
    clients.forEach((client, c) => {
      for (let n = 0; n < 60; n++) client.write((2 * n + c) * 4_096, Buffer.alloc(4_096, 1 + 2 * n + c));
    });
    await world.until(() => clients.every(client => client.replies.size === 60));
    for (let block = 0; block < 120; block++)
      expect(vdisk.content.subarray(block * 4_096, (block + 1) * 4_096).every(byte => byte === block + 1)).toBe(true);
    expect(vdisk.violations).toEqual([]);
    const reads = clients.map((client, c) => client.read((1 - c) * 4_096, 200_000));
    await world.until(() => clients.every((client, c) => client.replies.has(reads[c]!)));
    clients.forEach((client, c) => {
      const { errno, data } = client.replies.get(reads[c]!)!;
      expect(errno).toBe(0);
      expect(Buffer.compare(data, vdisk.content.subarray((1 - c) * 4_096, (1 - c) * 4_096 + 200_000))).toBe(0);
    });
    await world.until(() => world.servings.every(serving => serving.freePages.length === 2_048));

    const { shards } = await statusOf(world);
    expect(shards.length).toBe(2);
    for (const { hops } of shards) {
      expect(hops['nbd-receive'].requests).toBe(61);
      expect(hops.session.requests).toBe(61);
      expect(hops.path.requests).toBe(61);
      expect(hops.path.service.maxNs).toBeGreaterThan(0);
    }

    // A client that comes again finds the controller's shard.
    clients[0]!.close();
    await world.until(() => clients[0]!.gone && world.connections()[1] === 0);
    const again = new NbdClient(world, 'demo', 1 * MIB);
    await world.until(() => again.ready && world.connections()[1] === 1);
  });

  it('detach: outstanding requests are answered, connections end, the session is closed; attach again works', async () => {
    const world = new World(8);
    const vdisk = await world.attach('demo', 0);
    const clients = [0, 1].map(i => new NbdClient(world, 'demo', i * 512 * 1_024));
    await world.until(() => clients.every(client => client.ready) && world.connections().join() === '1,1');
    for (const client of clients) for (let n = 0; n < 20; n++) client.write(n * 4_096, Buffer.alloc(4_096, n));
    await world.until(() => clients.every(client => client.replies.size > 2));
    await world.detach(vdisk);
    await world.until(() => world.main.exports.length === 0);
    await world.until(() => clients.every(client => client.gone));
    for (const client of clients) for (const { errno } of client.replies.values()) expect(errno).toBe(0);
    await world.until(() => [...vdisk.sessions.values()].every(session => session.closed));
    expect(vdisk.sessions.size).toBe(2);
    await world.main.whenRemoved(vdisk.id, 1_000);

    const late = new NbdClient(world, 'demo', 0);
    await world.until(() => late.refused);
    await world.attach('demo', 0, 2, vdisk);
    const fresh = new NbdClient(world, 'demo', 0);
    await world.until(() => fresh.ready);
    const read = fresh.read(0, 4_096);
    await world.until(() => fresh.replies.has(read));
    expect(fresh.replies.get(read)!.errno).toBe(0);
  });

  it.each([
    ['in use', 1, ['shared', 'holder']],
    ['not in use', 0, ['holder']],
  ])('a shared attachment that is activated, %s, is opened as the holder’s, and its connections stay', async (_name, used, openings) => {
    const world = new World(10);
    const vdisk = await world.attach('demo', 0, 2, undefined, true);
    const clients = Array.from({ length: used }, () => new NbdClient(world, 'demo', 0));
    await world.until(() => clients.every(client => client.ready) && world.servings[0]!.openings.length === used);
    expect(world.main.exports).toMatchObject([{ shared: true, exported: true }]);
    const record = { vdiskId: vdisk.id, vdiskName: 'demo', host: 'here', generation: 2, sizeBytes: vdisk.content.length, createdAt: '' };
    await world.metadata.put(keys.attachment('here', vdisk.id), record);
    await world.until(() => !world.main.exports[0]!.shared);
    expect(world.servings[0]!.openings).toEqual(openings);
    for (const client of clients) {
      const read = client.read(0, 4_096);
      await world.until(() => client.replies.has(read));
      expect(client.replies.get(read)!.errno).toBe(0);
      expect(client.gone).toBe(false);
    }
  });

  it('an attachment that was activated while no datapath ran holds the vdisk when its session has said so, and not before', async () => {
    const world = new World(12);
    const vdisk = world.store.add(randomUUID(), 2 * MIB, 1);
    const shards = world.servings.map(serving => serving.shardOf.bind(serving));
    for (const serving of world.servings) serving.shardOf = () => -1;
    const record = { vdiskId: vdisk.id, vdiskName: 'demo', host: 'here', generation: 2, sizeBytes: vdisk.content.length, createdAt: '' };
    await world.metadata.put(keys.attachment('here', vdisk.id), { ...record, activatedAt: 'before' });
    await world.until(() => world.main.exports[0]?.exported === true);
    for (let turns = 0; turns < 5; turns++) await world.until(() => true);
    expect(world.main.exports[0]!.shared).toBe(true);
    world.servings.forEach((serving, i) => (serving.shardOf = shards[i]!));
    await world.until(() => !world.main.exports[0]!.shared);
    expect(world.servings[1]!.openings).toEqual(['holder']);
  });

  it('a vdisk that another attachment holds now answers ESHUTDOWN, and its session says why', async () => {
    const world = new World(11);
    const vdisk = await world.attach('demo', 0, 1);
    const client = new NbdClient(world, 'demo', 0);
    await world.until(() => client.ready && world.servings[0]!.openings.length === 1);
    const other = { vdiskId: vdisk.id, generation: 2, datapathUuid: randomUUID(), shard: 0 };
    world.servings[0]!.openSession(other, { onOpened: () => undefined, onRefused: () => undefined, onEnded: () => undefined });
    const [write, read] = [client.write(0, Buffer.alloc(4_096, 1)), client.read(0, 4_096)];
    await world.until(() => client.replies.has(write) && client.replies.has(read));
    expect([client.replies.get(write)!.errno, client.replies.get(read)!.errno]).toEqual([108, 108]);
    expect(client.gone).toBe(false);
    expect(world.datapaths[0]!.status()[0]).toMatchObject({
      state: 'closed',
      problem: expect.stringContaining('ERR_SUPERSEDED') as string,
    });
  });

  it('a guest waits while its vdisk is not served, without an error', async () => {
    const world = new World(9);
    const vdisk = await world.attach('demo', 1);
    const shards = world.servings.map(serving => serving.shardOf.bind(serving));
    for (const serving of world.servings) serving.shardOf = () => -1;
    const client = new NbdClient(world, 'demo', 0);
    await world.until(() => client.ready);
    const write = client.write(0, Buffer.alloc(4_096, 7));
    world.network.pass(2_000);
    expect(client.replies.size).toBe(0);
    const status = await statusOf(world);
    expect(status.sessions.find(one => one.connections > 0)).toMatchObject({
      unanswered: 1,
      problem: expect.stringContaining('not-served') as string,
    });
    world.servings.forEach((serving, shard) => (serving.shardOf = shards[shard]!));
    await world.until(() => client.replies.has(write));
    expect(client.replies.get(write)!.errno).toBe(0);
    expect(vdisk.content[0]).toBe(7);
  });

  it('removal does not wait for a Stargate that is away', async () => {
    const world = new World(10);
    const vdisk = await world.attach('demo', 1);
    for (const serving of world.servings) serving.shardOf = () => -1;
    const client = new NbdClient(world, 'demo', 0);
    await world.until(() => client.ready);
    client.write(0, Buffer.alloc(4_096, 7));
    world.network.pass(50);
    await world.detach(vdisk);
    await world.until(() => world.main.exports.length === 0 && client.gone);
    await world.main.whenRemoved(vdisk.id, 1_000);
  });

  it('stops under load: what was not answered is not, nothing hangs', async () => {
    const world = new World(11);
    const vdisk = await world.attach('demo', 1);
    const clients = [0, 1].map(i => new NbdClient(world, 'demo', i * 512 * 1_024));
    await world.until(() => clients.every(client => client.ready) && world.connections().join() === '1,1');
    for (const client of clients) for (let n = 0; n < 50; n++) client.write(n * 4_096, Buffer.alloc(4_096, n));
    await world.until(() => clients.some(client => client.replies.size > 5));
    let closed = 0;
    for (const datapath of world.datapaths) datapath.close(() => closed++);
    for (const engine of world.engines) engine.poke();
    await world.until(() => closed === 2);
    await world.until(() => clients.every(client => client.gone));
    for (const client of clients) for (const { errno } of client.replies.values()) expect(errno).toBe(0);
    expect(vdisk.violations).toEqual([]);
  });
});

async function statusOf(world: World): Promise<Awaited<ReturnType<DatapathMain['status']>>> {
  let status: Awaited<ReturnType<DatapathMain['status']>> | null = null;
  void world.main.status().then(got => (status = got));
  await world.until(() => status !== null);
  return status!;
}
