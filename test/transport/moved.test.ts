import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { ConnectionTable } from '../../src/transport/connection-table.js';
import { Topic } from '../../src/transport/mailbox-messages.js';
import { TransportMemory } from '../../src/transport/memory.js';
import { UnixConnector } from '../../src/transport/unix-connector.js';
import { UnixServer, type MovedConnection } from '../../src/transport/unix-server.js';
import { IoOp } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import { MemoryServing, MemoryStore } from './memory-serving.js';
import { SimNetwork } from './sim-engine.js';
import { Area, connectShards, OpenPath, SMALL_MEMORY, SOCKET, TestRequest } from './worlds.js';

const MIB = 1 << 20;

describe('a connection of the Stargate socket', () => {
  it.each([1, 2, 3, 4, 5, 6])('moves to the shard of its vdisk with all that was received (seed %d)', seed => {
    const network = new SimNetwork(seed);
    const store = new MemoryStore();
    store.term = 4;
    const vdisks = [0, 1].map(shard => store.add(randomUUID(), 2 * MIB, shard));
    const engines = [network.engine(), network.engine()];
    const contexts = connectShards(engines);
    const listener = engines[0]!.listen({ family: 'unix', path: SOCKET });
    const servers = contexts.map((context, shard) => {
      const { engine } = context;
      const random = (below: number): number => network.random(below);
      const serving = new MemoryServing({
        engine,
        store,
        shard,
        base: Area.serving + shard * 8 * MIB,
        pages: 2_048,
        random,
        delayNs: 500_000,
      });
      const server = new UnixServer({
        engine,
        table: new ConnectionTable(engine),
        memory: new TransportMemory(Area.serverTransport + shard * 7 * MIB, SMALL_MEMORY),
        software: 'test',
        serving,
        shard,
        listener: shard === 0 ? listener : null,
        move: (to, moved) => context.send(to, Topic.moved, moved),
        log: silentLogger,
      });
      context.onMessage(Topic.moved, message => server.onMoved(message as MovedConnection));
      return server;
    });

    const client = network.engine();
    const memory = new TransportMemory(Area.clientTransport, SMALL_MEMORY);
    const connector = new UnixConnector({ engine: client, table: new ConnectionTable(client), memory, software: 'test' });
    const session = { generation: 1, datapathUuid: randomUUID(), shard: 0 };
    const opened = vdisks.map(({ id }) => {
      const result = new OpenPath();
      connector.open(SOCKET, { ...session, vdiskId: id }, result);
      return result;
    });
    network.run(() => opened.every(result => result.path !== null), 'both paths');
    expect(servers.map(server => server.connections)).toEqual([1, 1]);
    expect(opened.map(result => result.info!.term)).toEqual([4, 4]);

    const requests = opened.flatMap((result, i) =>
      Array.from({ length: 50 }, (_, n) => {
        const request = new TestRequest();
        const place = Area.client + (i * 50 + n) * 20_000;
        network.arena.bytes.fill(1 + i * 50 + n, place, place + 20_000);
        Object.assign(request, { op: IoOp.write, offsetBytes: n * 20_000, lengthBytes: 20_000, clientSeq: n + 1 });
        request.payload.add(place, 20_000);
        result.path!.submit(request);
        return request;
      }),
    );
    client.poke();
    network.run(() => requests.every(request => request.answers === 1), 'all answers');
    expect(requests.every(request => request.status === IoStatus.ok)).toBe(true);
    vdisks.forEach(({ content, violations, log }, i) => {
      expect(violations).toEqual([]);
      expect(log.length).toBe(50);
      for (let n = 0; n < 50; n++) expect(content.subarray(n * 20_000, (n + 1) * 20_000).every(byte => byte === 1 + i * 50 + n)).toBe(true);
    });

    // A stop ends the connections of both shards, tells the sessions to come again, and leaves nothing open.
    let stopped = 0;
    for (const server of servers) server.close(() => stopped++);
    for (const engine of engines) engine.poke();
    network.run(() => stopped === 2 && opened.every(result => result.ended !== null), 'the stop');
    expect(opened.map(result => result.ended)).toEqual(['fenced', 'fenced']);
    network.pass(20);
    expect(memory.free()).toEqual([64, 32, 4, 4]);
  });
});
