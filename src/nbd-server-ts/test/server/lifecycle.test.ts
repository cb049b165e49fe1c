import { describe, expect, test } from 'vitest';
import { Command } from '../../src/protocol/constants.js';
import { encodeOption, encodeRequest, goData, RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const { read, write, flush, disconnect } = Command;
const MIB = 1 << 20;

describe.each(ENGINES)('life of a server, %s', engine => {
  test('close: outstanding requests finish, new ones get ESHUTDOWN, then everything is closed', async () => {
    const server = await TestServer.start({ engine, gated: true });
    const busy = await RawClient.ready(server.socketPath, 'disk');
    const idle = await RawClient.ready(server.socketPath, 'disk');
    const negotiating = await RawClient.connect(server.socketPath);
    await negotiating.begin();
    await server.command({ kind: 'gate', open: false });
    busy.request({ type: write, length: 4096, payload: new Uint8Array(4096), cookie: 1n });
    await server.until('one waits', status => status.waiting === 1);
    await server.command({ kind: 'close', options: { deadlineMs: 5_000 } });
    await idle.end();
    busy.request({ type: read, length: 4096, cookie: 2n });
    expect(await busy.outcome()).toEqual({ errno: 108, cookie: 2n });
    await negotiating.end();
    expect(server.closed).toBe(false);
    await server.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await busy.outcome()).toEqual({ errno: 0, cookie: 1n });
    await busy.end();
    await server.whenClosed();
    expect((await server.status()).sessionsOpen).toBe(0);
    await expect(RawClient.connect(server.socketPath)).rejects.toThrow();
    await server.stop();
  });

  test('close that ignores new requests: no error is told', async () => {
    const server = await TestServer.start({ engine, gated: true });
    const client = await RawClient.ready(server.socketPath, 'disk');
    await server.command({ kind: 'gate', open: false });
    client.request({ type: flush, cookie: 1n });
    await server.until('one waits', status => status.waiting === 1);
    await server.command({ kind: 'close', options: { newRequests: 'ignore', deadlineMs: 5_000 } });
    client.request({ type: flush, cookie: 2n });
    await server.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    expect((await client.end()).length).toBe(0);
    await server.whenClosed();
    await server.stop();
  });

  test('close has a deadline', async () => {
    const server = await TestServer.start({ engine, gated: true });
    const client = await RawClient.ready(server.socketPath, 'disk');
    await server.command({ kind: 'gate', open: false });
    client.request({ type: flush }, { type: read, length: 4096 });
    await server.until('two wait', status => status.waiting === 2);
    await server.command({ kind: 'close', options: { deadlineMs: 100 } });
    await client.end();
    // The export still has them: the server is not done before it gives them back.
    await server.command({ kind: 'let', count: 2, newestFirst: false });
    await server.whenClosed();
    await server.stop();
  });

  test('disconnect ends the connections to one export', async () => {
    const server = await TestServer.start({
      engine,
      memory: [
        { name: 'disk', sizeBytes: MIB },
        { name: 'other', sizeBytes: MIB },
      ],
    });
    const [one, other] = [await RawClient.ready(server.socketPath, 'disk'), await RawClient.ready(server.socketPath, 'other')];
    await server.command({ kind: 'disconnect', name: 'disk' });
    await one.end();
    other.request({ type: flush, cookie: 1n });
    expect(await other.outcome()).toEqual({ errno: 0, cookie: 1n });
    other.destroy();
    await server.stop();
  });

  test('over TCP, on a port of the kernel’s choice', async () => {
    const server = await TestServer.start({ engine, address: { family: 'tcp', host: '127.0.0.1', port: 0 } });
    expect(server.address).toMatchObject({ family: 'tcp' });
    const { port } = server.address as { port: number };
    expect(port).toBeGreaterThan(0);
    const client = await RawClient.ready({ host: '127.0.0.1', port }, 'disk');
    client.request({ type: read, length: 4096, cookie: 1n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    client.destroy();
    await server.stop();
  });
});

describe('a connection moves to another thread', () => {
  async function begin(engine: 'io_uring' | 'libuv'): Promise<{ first: TestServer; second: TestServer; client: RawClient }> {
    const first = await TestServer.start({ engine, moveAll: true });
    const second = await TestServer.start({ engine, address: null });
    first.onMoved = connection => void second.command({ kind: 'adopt', moved: connection });
    const client = await RawClient.connect(first.socketPath);
    await client.begin();
    await client.option(8);
    return { first, second, client };
  }
  const payload = new Uint8Array(50_000).fill(0x5a);
  const requests = [
    encodeRequest({ type: write, offset: 1, length: payload.length, payload, cookie: 1n }),
    encodeRequest({ type: read, offset: 1, length: 4, cookie: 2n }),
  ];
  async function answered(client: RawClient): Promise<void> {
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    const reply = await client.reply();
    expect(reply).toMatchObject({ kind: 'chunk', type: 1, done: true, cookie: 2n });
    expect(reply.kind === 'chunk' && [...reply.data.subarray(8)]).toEqual([0x5a, 0x5a, 0x5a, 0x5a]);
    client.request({ type: disconnect });
    await client.end();
  }

  test.each(ENGINES)('%s', async engine => {
    const { first, second, client } = await begin(engine);
    expect((await client.option(7, goData('disk'))).map(answer => answer.type)).toEqual([3, 1]);
    // libuv reads ahead: what comes before it has let go keeps the connection where it is (the next test).
    await first.until('moved', status => status.counters.movedConnections === 1);
    client.send(Buffer.concat(requests));
    await answered(client);
    const left = await first.until('let go', status => status.counters.openConnections === 0);
    expect(left.counters.movedConnections, first.log.join('\n')).toBe(1);
    const took = await second.until('gone', status => status.counters.openConnections === 0);
    expect(took.counters.byCommand[write]).toBe(1);
    await first.stop();
    await second.stop();
  });

  test.each(ENGINES)('with requests right behind GO: those go along, or it stays where it is, %s', async engine => {
    const { first, second, client } = await begin(engine);
    client.send(Buffer.concat([encodeOption(7, goData('disk')), ...requests]));
    expect((await client.answers()).map(answer => answer.type)).toEqual([3, 1]);
    await answered(client);
    const left = await first.until('let go', status => status.counters.openConnections === 0);
    const took = await second.until('gone', status => status.counters.openConnections === 0);
    expect(left.counters.byCommand[write]! + took.counters.byCommand[write]!).toBe(1);
    if (engine === 'io_uring') expect(left.counters.movedConnections).toBe(1);
    await first.stop();
    await second.stop();
  });

  test('to a server without that export: closed', async () => {
    const first = await TestServer.start({ engine: 'libuv', moveAll: true });
    const second = await TestServer.start({ engine: 'libuv', address: null, memory: [{ name: 'other', sizeBytes: MIB }] });
    first.onMoved = connection => void second.command({ kind: 'adopt', moved: connection });
    const client = await RawClient.ready(first.socketPath, 'disk');
    await client.end();
    await first.stop();
    await second.stop();
  });
});
