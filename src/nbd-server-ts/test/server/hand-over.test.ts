import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { HandedOver } from '../../src/index.js';
import { Command } from '../../src/protocol/constants.js';
import { Certificates } from '../support/certificates.js';
import { encodeRequest, goData, RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const { read, write, flush, disconnect } = Command;
const MIB = 1 << 20;

describe.each(ENGINES)('a server hands over, %s', engine => {
  async function pair(): Promise<[TestServer, TestServer]> {
    return [await TestServer.start({ engine, gated: true }), await TestServer.start({ engine, gated: true, address: null })];
  }

  async function handOver(server: TestServer): Promise<HandedOver> {
    const handed = await server.handOver();
    if (typeof handed === 'string') throw new Error(handed);
    return handed;
  }

  async function expectAnswered(client: RawClient, cookie: bigint): Promise<void> {
    client.request({ type: flush, cookie });
    expect(await client.outcome()).toEqual({ errno: 0, cookie });
  }

  test('its listener, idle connections and those in the handshake; the next server goes on with them', async () => {
    const [first, second] = await pair();
    const idle = await RawClient.ready(first.socketPath, 'disk');
    await expectAnswered(idle, 1n);
    const structured = await RawClient.ready(first.socketPath, 'disk', { structured: true });
    const greeted = await RawClient.connect(first.socketPath);
    const between = await RawClient.connect(first.socketPath);
    await between.begin();
    await between.option(8);
    const handed = await handOver(first);
    expect(handed.connections.map(({ stage }) => stage.kind).sort()).toEqual(['handshake', 'handshake', 'transmission', 'transmission']);
    expect(handed.listeners.length).toBe(1);
    expect(await first.status()).toMatchObject({ sessionsOpen: 0, outstanding: 0, counters: { openConnections: 0 } });
    // Nobody serves now. What is asked meanwhile waits, in the sockets.
    idle.request({ type: flush, cookie: 2n });
    const late = RawClient.ready(first.socketPath, 'disk');
    await second.command({ kind: 'takeBack', handed });
    expect(await idle.outcome()).toEqual({ errno: 0, cookie: 2n });
    await expectAnswered(await late, 1n);
    structured.request({ type: read, length: 512, cookie: 3n });
    expect(await structured.reply()).toMatchObject({ kind: 'chunk', cookie: 3n });
    await greeted.begin();
    for (const client of [greeted, between]) {
      expect((await client.option(7, goData('disk'))).map(answer => answer.type)).toEqual([3, 1]);
      client.request({ type: read, length: 512, cookie: 4n });
      // What was negotiated before holds after.
      const reply = await client.reply();
      expect(reply.kind).toBe(client === between ? 'chunk' : 'simple');
      if (reply.kind === 'simple') await client.read(512);
    }
    for (const client of [idle, structured, greeted, between]) {
      client.request({ type: disconnect });
      await client.end();
    }
    await first.stop();
    await second.stop();
  });

  test('a connection when all that it was asked is answered, and what was received behind that goes along', async () => {
    const [first, second] = await pair();
    const client = await RawClient.ready(first.socketPath, 'disk');
    await first.command({ kind: 'gate', open: false });
    client.request({ type: write, length: 4096, payload: new Uint8Array(4096).fill(1), cookie: 1n });
    await first.until('one waits', status => status.waiting === 1);
    const handing = handOver(first);
    // Its answer comes behind the order to hand over: what is sent from here on is received by a server that lets go.
    await first.status();
    const header = encodeRequest({ type: write, length: 4096, payload: new Uint8Array(4096).fill(2), cookie: 3n });
    client.send(Buffer.concat([encodeRequest({ type: read, length: 4096, cookie: 2n }), header.subarray(0, 1_000)]));
    await new Promise(resolve => setTimeout(resolve, 50));
    expect((await first.status()).counters.byCommand[read]).toBe(0);
    await first.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    const handed = await handing;
    expect(handed.connections.length).toBe(1);
    client.send(header.subarray(1_000));
    await second.command({ kind: 'takeBack', handed });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 2n });
    expect((await client.read(4096)).every(byte => byte === 0)).toBe(true);
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 3n });
    expect((await first.status()).counters.byCommand).toMatchObject({ [read]: 0, [write]: 1 });
    expect((await second.status()).counters.byCommand).toMatchObject({ [read]: 1, [write]: 1 });
    client.destroy();
    await first.stop();
    await second.stop();
  });

  test('a connection in the middle of a large WRITE when that is whole', async () => {
    const [first, second] = await pair();
    const client = await RawClient.ready(first.socketPath, 'disk');
    const payload = Buffer.alloc(8 * MIB, 3);
    const request = Buffer.from(encodeRequest({ type: write, length: payload.length, payload, cookie: 1n }));
    client.send(request.subarray(0, 3 * MIB));
    await first.until('it has begun', status => status.counters.byCommand[write] === 1);
    const handing = handOver(first);
    await new Promise(resolve => setTimeout(resolve, 50));
    client.send(request.subarray(3 * MIB));
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    await second.command({ kind: 'takeBack', handed: await handing });
    await expectAnswered(client, 2n);
    client.destroy();
    await first.stop();
    await second.stop();
  });

  test('nothing, where something is not answered in time: it serves on as before, and hands over later', async () => {
    const [first, second] = await pair();
    const [busy, idle] = [await RawClient.ready(first.socketPath, 'disk'), await RawClient.ready(first.socketPath, 'disk')];
    await first.command({ kind: 'gate', open: false });
    busy.request({ type: flush, cookie: 1n });
    await first.until('one waits', status => status.waiting === 1);
    expect(await first.handOver(50)).toContain('1 connections have requests that were not answered, or not sent whole, in time (disk)');
    await first.command({ kind: 'gate', open: true });
    await expectAnswered(idle, 2n);
    await first.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await busy.outcome()).toEqual({ errno: 0, cookie: 1n });
    await expectAnswered(busy, 3n);
    await expectAnswered(await RawClient.ready(first.socketPath, 'disk'), 4n);
    await second.command({ kind: 'takeBack', handed: await handOver(first) });
    for (const client of [busy, idle]) await expectAnswered(client, 5n);
    await first.stop();
    await second.stop();
  });

  test('and takes back what it has handed over', async () => {
    const [first, second] = await pair();
    const client = await RawClient.ready(first.socketPath, 'disk');
    for (let round = 0; round < 3; round++) {
      await first.command({ kind: 'takeBack', handed: await handOver(first) });
      await expectAnswered(client, 1n);
      const another = await RawClient.ready(first.socketPath, 'disk');
      await expectAnswered(another, 1n);
    }
    await first.stop();
    await second.stop();
  });

  test('nothing, where a client is in TLS', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nbd-ho-'));
    const certificates = Certificates.make(directory);
    const credentials = { cert: certificates.read('server-cert.pem'), key: certificates.read('server-key.pem') };
    const server = await TestServer.start({ engine, tls: { mode: 'selective', credentials } });
    const client = await RawClient.connect(server.socketPath);
    await client.begin();
    await client.option(5);
    await client.startTls(certificates.anonymous);
    await client.option(7, goData('disk'));
    expect(await server.handOver()).toContain('TLS');
    await expectAnswered(client, 1n);
    client.destroy();
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
});
