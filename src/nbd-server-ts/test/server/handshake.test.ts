import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Command } from '../../src/protocol/constants.js';
import { ascii, u32, unhex } from '../support/hex.js';
import { encodeOption, goData, RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const MIB = 1 << 20;

describe.each(ENGINES)('over a socket, %s', engine => {
  let server: TestServer;

  beforeEach(async () => {
    server = await TestServer.start({
      engine,
      memory: [
        { name: 'disk', sizeBytes: MIB, description: 'the first' },
        { name: 'two', sizeBytes: 2 * MIB, readOnly: true },
      ],
      limits: { handshakeTimeoutMs: 300, maxConnections: 3 },
    });
  });
  afterEach(() => server.stop());

  test('one byte at a time', async () => {
    const client = await RawClient.connect(server.socketPath);
    client.socket.setNoDelay(true);
    await client.begin();
    for (const byte of [...encodeOption(3), ...encodeOption(7, goData('two'))]) client.send(new Uint8Array([byte]));
    expect((await client.answers()).map(answer => answer.type)).toEqual([2, 2, 1]);
    expect((await client.answers()).map(answer => answer.type)).toEqual([3, 1]);
    client.destroy();
  });

  test('everything at once, requests behind GO included', async () => {
    const client = await RawClient.connect(server.socketPath);
    await client.begin();
    client.send(Buffer.concat([encodeOption(99, 'ffff'), encodeOption(7, goData('disk'))]));
    client.request({ type: Command.read, offset: 0, length: 512, cookie: 7n }, { type: Command.disconnect });
    expect((await client.answers()).map(answer => answer.type)).toEqual([0x80000001]);
    expect((await client.answers()).map(answer => answer.type)).toEqual([3, 1]);
    expect(await client.reply()).toEqual({ kind: 'simple', errno: 0, cookie: 7n });
    expect((await client.read(512)).equals(Buffer.alloc(512))).toBe(true);
    expect((await client.end()).length).toBe(0);
  });

  test('EXPORT_NAME', async () => {
    const client = await RawClient.connect(server.socketPath);
    await client.begin(1);
    client.send(encodeOption(1, ascii('two')));
    expect((await client.read(134)).readBigUInt64BE(0)).toBe(BigInt(2 * MIB));
    client.request({ type: Command.write, length: 1, payload: new Uint8Array(1) });
    expect(await client.reply()).toEqual({ kind: 'simple', errno: 1, cookie: 0n });
    client.destroy();
  });

  test('EXPORT_NAME of an unknown export, unknown client flags, bad magic: closed', async () => {
    for (const bytes of [
      unhex(u32(3) + Buffer.from(encodeOption(1, ascii('nope'))).toString('hex')),
      unhex(u32(4)),
      unhex(u32(3) + '00'.repeat(16)),
    ]) {
      const client = await RawClient.connect(server.socketPath);
      await client.read(18);
      client.send(bytes);
      expect((await client.end()).length).toBe(0);
      client.destroy();
    }
    await server.until('no connection', status => status.counters.openConnections === 0);
    expect((await server.status()).counters.failedHandshakes).toBe(3);
  });

  test('ABORT is acknowledged, then closed', async () => {
    const client = await RawClient.connect(server.socketPath);
    await client.begin();
    expect(await client.option(2, 'abcd')).toEqual([{ option: 2, type: 1, data: '' }]);
    await client.end();
  });

  test('a client that says nothing is let go', async () => {
    const client = await RawClient.connect(server.socketPath);
    await client.read(18);
    const before = Date.now();
    await client.end();
    expect(Date.now() - before).toBeLessThan(2_000);
    await server.until('no connection', status => status.counters.openConnections === 0);
  });

  test('a client that is in the transmission phase is not', async () => {
    const client = await RawClient.ready(server.socketPath, 'disk');
    await new Promise(resolve => setTimeout(resolve, 700));
    client.request({ type: Command.flush, cookie: 3n });
    expect(await client.reply()).toEqual({ kind: 'simple', errno: 0, cookie: 3n });
    client.destroy();
  });

  test('more connections than the bound wait, and come in when one goes', async () => {
    const clients = await Promise.all([0, 1, 2].map(() => RawClient.ready(server.socketPath, 'disk')));
    const fourth = await RawClient.connect(server.socketPath);
    const greeted = fourth.read(18).then(() => true);
    expect(await Promise.race([greeted, new Promise(resolve => setTimeout(resolve, 100, 'waits'))])).toBe('waits');
    clients[0]!.request({ type: Command.disconnect });
    await clients[0]!.end();
    expect(await greeted).toBe(true);
    for (const client of [...clients, fourth]) client.destroy();
    await server.until('all gone', status => status.counters.openConnections === 0);
  });
});
