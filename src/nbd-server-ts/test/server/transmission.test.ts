import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MAX_EXTENTS } from '../../src/limits.js';
import { Command, CommandFlag } from '../../src/protocol/constants.js';
import { RawClient, type RawRequest } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';

const MIB = 1 << 20;
const SIZE = 64 * MIB;
const { read, write, disconnect, flush, trim, cache, writeZeroes, blockStatus } = Command;

describe.each(ENGINES)('transmission, %s', engine => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start({ engine, gated: true });
  });
  afterEach(() => server.stop());

  const ready = (options = {}): Promise<RawClient> => RawClient.ready(server.socketPath, 'disk', options);

  test.each([false, true])('errors leave the stream in step (structured replies %s)', async structured => {
    const client = await ready({ structured });
    const bad: [RawRequest, number][] = [
      [{ type: read, offset: SIZE, length: 512 }, 22],
      [{ type: read, length: 0 }, 22],
      [{ type: read, length: 33 * MIB }, 75],
      [{ type: write, offset: SIZE - 1, length: 2, payload: new Uint8Array(2) }, 28],
      [{ type: write, length: 512, flags: 0x40, payload: new Uint8Array(512) }, 22],
      [{ type: write, offset: SIZE, length: 300_000, payload: new Uint8Array(300_000) }, 28],
      [{ type: trim, offset: SIZE, length: 1 }, 22],
      [{ type: writeZeroes, offset: SIZE, length: 1 }, 28],
      [{ type: blockStatus, length: 512 }, 22],
      [{ type: 77, length: 512 }, 22],
      [{ type: 0x1234, flags: 0xffff, offset: 0xffff_ffff_ffff_ffffn, length: 0xffff_ffff }, 22],
    ];
    let cookie = 0x8000_0000_0000_0000n;
    for (const [request, errno] of bad) {
      cookie += 0x1_0000_0001n;
      client.request({ ...request, cookie });
      expect(await client.outcome()).toEqual({ errno, cookie });
    }
    client.request({ type: flush, cookie: 5n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 5n });
    const { counters } = await server.status();
    expect(counters.refusedRequests).toBe(bad.length);
    expect(counters.violations).toBe(0);
    client.destroy();
  });

  test('after STRUCTURED_REPLY a READ has no simple reply, errors included', async () => {
    const client = await ready({ structured: true });
    client.request({ type: read, length: 4096, cookie: 1n });
    const data = await client.reply();
    expect(data).toMatchObject({ kind: 'chunk', done: true, type: 1, cookie: 1n });
    await server.command({ kind: 'fail', from: 0, errno: 5 });
    client.request({ type: read, length: 4096, cookie: 2n });
    expect(await client.reply()).toMatchObject({ kind: 'chunk', done: true, type: 0x8001, cookie: 2n });
    client.destroy();
  });

  test('answers may come in another order than the requests', async () => {
    const client = await ready();
    await server.command({ kind: 'gate', open: false });
    for (let i = 1; i <= 5; i++)
      client.request({ type: write, offset: i * 4096, length: 4096, payload: new Uint8Array(4096).fill(i), cookie: BigInt(i) });
    await server.until('five wait', status => status.waiting === 5);
    await server.command({ kind: 'let', count: 5, newestFirst: true });
    for (let i = 5; i >= 1; i--) expect(await client.outcome()).toEqual({ errno: 0, cookie: BigInt(i) });
    await server.command({ kind: 'gate', open: true });
    client.request({ type: read, offset: 4096, length: 5 * 4096, cookie: 9n });
    await client.reply();
    const data = await client.read(5 * 4096);
    for (let i = 1; i <= 5; i++) expect(data.subarray((i - 1) * 4096, i * 4096).every(byte => byte === i)).toBe(true);
    client.destroy();
  });

  test('DISC: what is outstanding is answered, then closed at once; nothing after it is done', async () => {
    const client = await ready();
    await server.command({ kind: 'gate', open: false });
    client.request(
      { type: write, length: 3, payload: new Uint8Array([1, 2, 3]), cookie: 1n },
      { type: read, length: 3, cookie: 2n },
      { type: disconnect },
    );
    client.request({ type: write, length: 1, payload: new Uint8Array([9]), cookie: 3n });
    await server.until('two wait', status => status.waiting === 2);
    expect(client.ended).toBe(false);
    await server.command({ kind: 'let', count: 2, newestFirst: false });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 2n });
    expect([...(await client.end())]).toEqual([1, 2, 3]);
    const status = await server.until('gone', ({ counters }) => counters.openConnections === 0);
    expect(status.sessionsOpen).toBe(0);
  });

  test('a half-closed client gets its answers too', async () => {
    const client = await ready();
    await server.command({ kind: 'gate', open: false });
    client.request({ type: flush, cookie: 1n });
    client.socket.end();
    await server.until('one waits', status => status.waiting === 1);
    await server.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    await client.end();
  });

  test('a client that vanishes while its requests are at the export', async () => {
    const client = await ready({ structured: true });
    await server.command({ kind: 'gate', open: false });
    client.request({ type: read, length: 4 * MIB }, { type: write, offset: 0, length: 4096, payload: new Uint8Array(4096) });
    await server.until('waiting', status => status.waiting >= 5);
    client.destroy();
    await server.command({ kind: 'let', count: 100, newestFirst: true });
    await server.until('gone', status => status.counters.openConnections === 0 && status.sessionsOpen === 0);
  });

  test('a client that vanishes in the middle of a payload', async () => {
    for (const length of [40_000, 3 * MIB]) {
      const client = await ready();
      client.request({ type: write, length, payload: new Uint8Array(length - 7) });
      await new Promise(resolve => setTimeout(resolve, 30));
      client.destroy();
      await server.until('gone', status => status.counters.openConnections === 0 && status.sessionsOpen === 0);
    }
  });

  test('bad magic closes', async () => {
    const client = await ready();
    client.request({ type: read, length: 512, magic: 0x25609514 });
    await client.end();
    const { counters } = await server.until('gone', status => status.counters.openConnections === 0);
    expect(counters.violations).toBe(1);
  });

  test('zeroes, holes and their map', async () => {
    const client = await ready({ contexts: true, structured: true });
    const ones = new Uint8Array(64 << 10).fill(1);
    client.request({ type: write, offset: MIB, length: ones.length, payload: ones });
    expect((await client.outcome()).errno).toBe(0);
    client.request({ type: writeZeroes, offset: MIB + 4096, length: 4096, flags: CommandFlag.fastZero | CommandFlag.fua });
    expect((await client.outcome()).errno).toBe(0);
    client.request({ type: cache, length: SIZE });
    expect((await client.outcome()).errno).toBe(0);
    client.request({ type: blockStatus, length: SIZE, cookie: 4n });
    const all = await client.reply();
    expect(all).toMatchObject({ kind: 'chunk', done: true, type: 5 });
    expect(extents(all)).toEqual([MIB, 3, 4096, 0, 4096, 3, ones.length - 8192, 0, SIZE - MIB - ones.length, 3]);
    client.request({ type: blockStatus, offset: MIB + 100, length: MIB, flags: CommandFlag.requestOne });
    expect(extents(await client.reply())).toEqual([3996, 0]);
    client.destroy();
  });

  test('more extents than fit: as many as fit, and the rest is asked for again', async () => {
    const client = await ready({ contexts: true, structured: true });
    const payload = new Uint8Array(4096).fill(7);
    for (let i = 0; i < 700; i++) client.request({ type: write, offset: i * 8192, length: 4096, payload });
    for (let i = 0; i < 700; i++) await client.outcome();
    client.request({ type: blockStatus, length: SIZE });
    expect(extents(await client.reply()).length).toBe(2 * MAX_EXTENTS);
    client.destroy();
  });

  test('a slow reader is not read from, and gets everything in the end', async () => {
    const client = await ready();
    client.socket.pause();
    const count = 3_000;
    for (let i = 0; i < count; i++) client.request({ type: read, offset: 0, length: 65_536, cookie: BigInt(i) });
    await new Promise(resolve => setTimeout(resolve, 200));
    const before = (await server.status()).counters.byCommand[read]!;
    // What was taken on is bounded: 8 MiB of READs under way, and what the socket holds.
    expect(before).toBeLessThan(1_000);
    client.socket.resume();
    for (let i = 0; i < count; i++) {
      expect(await client.outcome()).toEqual({ errno: 0, cookie: BigInt(i) });
      await client.read(65_536);
    }
    client.destroy();
  });

  test('probes and counters see what was done', async () => {
    const client = await ready();
    client.request({ type: read, length: 4096 }, { type: flush });
    await client.outcome();
    await client.read(4096);
    await client.outcome();
    const { counters, probed } = await server.status();
    expect(counters.byCommand).toEqual([1, 0, 0, 1, 0, 0, 0, 0, 0]);
    expect(counters.readBytes).toBe(4096);
    expect(probed.received).toBe(2);
    expect(probed.replied).toBeGreaterThanOrEqual(4096 + 32);
    client.destroy();
  });
});

function extents(reply: Awaited<ReturnType<RawClient['reply']>>): number[] {
  if (reply.kind !== 'chunk') throw new Error('not a chunk');
  const data = Buffer.from(reply.data);
  expect(data.readUInt32BE(0)).toBe(1);
  return Array.from({ length: (data.length - 4) / 4 }, (_, i) => data.readUInt32BE(4 + 4 * i));
}
