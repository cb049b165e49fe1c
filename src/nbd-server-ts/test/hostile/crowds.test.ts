import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { serverRegionBytes } from '../../src/limits.js';
import { Command } from '../../src/protocol/constants.js';
import { encodeOption, encodeRequest, goData, RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const { read, write } = Command;
const MIB = 1 << 20;

/** A Unix socket whose backlog is full says so: then a moment later. */
async function knock(path: string): Promise<RawClient> {
  for (;;) {
    try {
      return await RawClient.connect(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }
}

describe.each(ENGINES)('many clients at once, %s', engine => {
  let server: TestServer;
  const clients: RawClient[] = [];
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await server.stop();
  });

  async function ready(): Promise<RawClient> {
    const client = await RawClient.ready(server.socketPath, 'disk');
    clients.push(client);
    return client;
  }

  async function served(): Promise<void> {
    const client = await ready();
    client.request({ type: read, length: 512, cookie: 5n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 5n });
    client.destroy();
  }

  test('1,500 connects and drops, in every phase: nothing is left of them', async () => {
    server = await TestServer.start({ engine, limits: { maxConnections: 32 } });
    await served();
    await server.until('nobody is left', ({ counters }) => counters.openConnections === 0);
    const descriptors = readdirSync('/proc/self/fd').length;
    const drop = async (i: number): Promise<void> => {
      const client = await knock(server.socketPath);
      // A connection that is reset by its server is gone too.
      client.socket.on('error', () => undefined);
      if (i % 5 > 0) client.send(Buffer.from([0, 0, 0, 3]));
      if (i % 5 > 1) client.send(encodeOption(7, goData('disk')).subarray(0, i % 2 === 0 ? 11 : undefined));
      if (i % 5 > 2) client.send(encodeRequest({ type: read, length: MIB }));
      if (i % 5 > 3) client.send(encodeRequest({ type: write, length: 32 * MIB }));
      if (i % 3 === 0) await new Promise(resolve => setImmediate(resolve));
      client.destroy();
    };
    for (let i = 0; i < 1_500; i += 25) await Promise.all(Array.from({ length: 25 }, (_, k) => drop(i + k)));
    await server.until('nobody is left', ({ counters }) => counters.openConnections === 0);
    const { outstanding, counters } = await server.status();
    expect(counters.acceptedConnections).toBeGreaterThan(1_000);
    // One accept, and what the engine has for itself.
    expect(outstanding).toBeLessThan(8);
    await served();
    await server.until('nobody is left', ({ counters: { openConnections } }) => openConnections === 0);
    expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(descriptors + 8);
  });

  test('more clients than there are places: they wait, and come in one by one', async () => {
    server = await TestServer.start({ engine, limits: { maxConnections: 4 } });
    const inside = [await ready(), await ready(), await ready(), await ready()];
    const late = await RawClient.connect(server.socketPath);
    clients.push(late);
    late.send(Buffer.concat([Buffer.from([0, 0, 0, 3]), encodeOption(7, goData('disk'))]));
    expect((await server.status()).counters.acceptedConnections).toBe(4);
    // Those inside are served meanwhile.
    inside[1]!.request({ type: read, length: 512 });
    expect((await inside[1]!.outcome()).errno).toBe(0);
    inside[0]!.destroy();
    await late.read(18);
    expect((await late.answers()).at(-1)!.type).toBe(1);
    expect((await server.status()).counters.openConnections).toBe(4);
  });

  test('64 clients announce WRITEs of 32 MiB to a disk that stands still: memory stays under the configured bound', async () => {
    const limits = { maxConnections: 65, extraStagingBuffers: 4, largeBuffers: 8 };
    server = await TestServer.start({ engine, limits, gated: true });
    for (let i = 0; i < 64; i++) await ready();
    await server.command({ kind: 'gate', open: false });
    const before = process.memoryUsage.rss();
    // 4 MiB of each: sixteen times what the server has room for. The clients' side is this one buffer.
    const piece = new Uint8Array(4 * MIB);
    for (const client of clients) {
      client.request({ type: write, length: 32 * MIB });
      client.send(piece);
    }
    let most = 0;
    await server.until('buffers are full', status => {
      most = Math.max(most, process.memoryUsage.rss() - before);
      return status.waiting >= 8;
    });
    for (let i = 0; i < 20; i++) {
      await new Promise(resolve => setTimeout(resolve, 10));
      most = Math.max(most, process.memoryUsage.rss() - before);
    }
    const boundBytes = serverRegionBytes({ ...limits, handshakeTimeoutMs: 1, idleTimeoutMs: 0, maxReadBytes: 64 * MIB });
    // Beside the server's memory: this process's own heap, which holds 64 clients.
    expect(most).toBeLessThan(boundBytes + 32 * MIB);
    for (const client of clients.splice(0)) client.destroy();
    await server.command({ kind: 'gate', open: true });
    await server.command({ kind: 'let', count: 1_000, newestFirst: false });
    await server.until('nobody is left', ({ counters }) => counters.openConnections === 0);
    await served();
  });

  test('15 clients ask for all they can and take nothing: the READs under way are bounded, and the 16th is served', async () => {
    const limits = { maxConnections: 16, maxReadBytes: 4 * MIB };
    server = await TestServer.start({ engine, limits, gated: true });
    for (let i = 0; i < 15; i++) {
      const client = await ready();
      client.socket.pause();
      for (let k = 0; k < 256; k++) client.request({ type: read, length: MIB, offset: k % 60 });
    }
    await served();
    await server.until('no more is asked of the export', status => status.waiting === 0);
    // Each may have one piece beyond the budget, and what went to the sockets before is no longer counted.
    const { counters } = await server.status();
    expect(counters.byCommand[read]!).toBeLessThan(15 * 256);
    await served();
  });
});
