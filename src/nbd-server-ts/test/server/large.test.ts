import { afterEach, describe, expect, test } from 'vitest';
import { Command, CommandFlag } from '../../src/protocol/constants.js';
import { RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';
import type { ServerSetup } from '../support/setup.js';

const MIB = 1 << 20;
const { read, write, flush } = Command;

/** Bytes that differ everywhere, from a seed: a 32-bit xorshift. */
function bytesOf(seed: number, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2_654_435_761) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** The data of a READ in chunks: every byte exactly once, DONE on the last chunk only. */
async function readChunks(client: RawClient, cookie: bigint, offset: number, length: number): Promise<{ data: Buffer; chunks: number }> {
  const data = Buffer.alloc(length);
  let filled = 0;
  for (let chunks = 1; ; chunks++) {
    const reply = await client.reply();
    if (reply.kind !== 'chunk' || reply.type !== 1)
      throw new Error(`unexpected ${JSON.stringify(reply, (_k, v: unknown) => (typeof v === 'bigint' ? `${v}` : v))}`);
    expect(reply.cookie).toBe(cookie);
    const at = Number(Buffer.from(reply.data).readBigUInt64BE(0)) - offset;
    Buffer.from(reply.data).copy(data, at, 8);
    filled += reply.data.length - 8;
    if (reply.done) {
      expect(filled).toBe(length);
      return { data, chunks };
    }
  }
}

const memory: readonly [string, NonNullable<ServerSetup['limits']>][] = [
  ['with large buffers', {}],
  ['with one large buffer and no shared staging', { largeBuffers: 1, extraStagingBuffers: 0 }],
  ['with its own memory alone', { largeBuffers: 0, extraStagingBuffers: 0, maxReadBytes: MIB }],
];

describe.each(ENGINES)('large requests, %s', engine => {
  let server: TestServer | null = null;
  afterEach(async () => {
    await server?.stop();
    server = null;
  });

  test.each(memory)('any size and alignment comes back as it was, %s', async (_what, limits) => {
    server = await TestServer.start({ engine, limits });
    const simple = await RawClient.ready(server.socketPath, 'disk');
    const structured = await RawClient.ready(server.socketPath, 'disk', { structured: true });
    const cases: readonly (readonly [number, number])[] = [
      [0, 32 * MIB],
      [1, 65_537],
      [4095, 65_536],
      [123_457, 3 * MIB + 17],
      [MIB - 1, MIB],
      [511, 2 * MIB],
      [9, MIB + 1],
    ];
    let cookie = 1n;
    for (const [offset, length] of cases) {
      const payload = bytesOf(length, length);
      simple.request({ type: write, offset, length, cookie, payload });
      expect(await simple.outcome()).toEqual({ errno: 0, cookie });
      simple.request({ type: read, offset, length, cookie });
      expect(await simple.outcome()).toEqual({ errno: 0, cookie });
      expect((await simple.read(length)).equals(payload)).toBe(true);
      structured.request({ type: read, offset, length, cookie });
      expect((await readChunks(structured, cookie, offset, length)).data.equals(payload)).toBe(true);
      cookie++;
    }
    simple.destroy();
    structured.destroy();
  });

  test('DF: one chunk up to 1 MiB, EOVERFLOW above', async () => {
    server = await TestServer.start({ engine });
    const client = await RawClient.ready(server.socketPath, 'disk', { structured: true });
    client.request({ type: read, offset: 5, length: MIB, flags: CommandFlag.dontFragment, cookie: 1n });
    expect((await readChunks(client, 1n, 5, MIB)).chunks).toBe(1);
    client.request({ type: read, length: MIB + 1, flags: CommandFlag.dontFragment, cookie: 2n });
    expect(await client.outcome()).toEqual({ errno: 75, cookie: 2n });
    client.destroy();
  });

  test('pieces in any order: chunks as they come, simple data in order', async () => {
    server = await TestServer.start({ engine, gated: true });
    const length = 5 * MIB;
    const payload = bytesOf(1, length);
    const clients = [
      await RawClient.ready(server.socketPath, 'disk', { structured: true }),
      await RawClient.ready(server.socketPath, 'disk'),
    ] as const;
    clients[0].request({ type: write, length, payload });
    expect((await clients[0].outcome()).errno).toBe(0);
    for (const client of clients) {
      await server.command({ kind: 'gate', open: false });
      client.request({ type: read, length, cookie: 6n }, { type: flush, cookie: 7n });
      await server.until('all wait', status => status.waiting === 6);
      // The flush goes first, then the pieces from the last to the first but one, then the rest.
      await server.command({ kind: 'let', count: 5, newestFirst: true });
      expect(await client.outcome().then(outcome => (client === clients[1] ? outcome.cookie : 7n))).toBe(7n);
      await server.command({ kind: 'let', count: 1, newestFirst: true });
      if (client === clients[1]) {
        expect(await client.outcome()).toEqual({ errno: 0, cookie: 6n });
        expect((await client.read(length)).equals(payload)).toBe(true);
      } else expect((await readChunks(client, 6n, 0, length)).data.equals(payload)).toBe(true);
      await server.command({ kind: 'gate', open: true });
      client.destroy();
    }
  });

  test('a simple READ is not interrupted by other answers', async () => {
    server = await TestServer.start({ engine, gated: true });
    const client = await RawClient.ready(server.socketPath, 'disk');
    await server.command({ kind: 'gate', open: false });
    client.request({ type: read, length: 3 * MIB, cookie: 1n }, { type: flush, cookie: 2n }, { type: flush, cookie: 3n });
    await server.until('all wait', status => status.waiting === 5);
    await server.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    await server.command({ kind: 'let', count: 2, newestFirst: true });
    await server.command({ kind: 'let', count: 2, newestFirst: true });
    await client.read(3 * MIB);
    expect((await client.outcome()).cookie).toBe(3n);
    expect((await client.outcome()).cookie).toBe(2n);
    client.destroy();
  });

  test('errors of pieces', async () => {
    server = await TestServer.start({ engine, gated: true });
    const status = async (): Promise<number> => (await server!.status()).counters.openConnections;
    const structured = await RawClient.ready(server.socketPath, 'disk', { structured: true });
    const simple = await RawClient.ready(server.socketPath, 'disk');
    // Above 2 MiB everything fails.
    await server.command({ kind: 'fail', from: 2 * MIB, errno: 28 });
    for (const client of [structured, simple]) {
      client.request({ type: write, offset: MIB, length: 4 * MIB, payload: new Uint8Array(4 * MIB), cookie: 1n });
      expect(await client.outcome()).toEqual({ errno: 28, cookie: 1n });
      client.request({ type: flush, cookie: 2n });
      expect(await client.outcome()).toEqual({ errno: 0, cookie: 2n });
    }
    structured.request({ type: read, offset: 0, length: 8 * MIB, cookie: 3n });
    let last = await structured.reply();
    while (last.kind === 'chunk' && !last.done) last = await structured.reply();
    expect(last).toMatchObject({ kind: 'chunk', done: true, type: 0x8001, cookie: 3n });
    // The first piece fails: an error. A later one, behind the header: the connection ends.
    simple.request({ type: read, offset: 3 * MIB, length: 2 * MIB, cookie: 4n });
    expect(await simple.outcome()).toEqual({ errno: 28, cookie: 4n });
    expect(await status()).toBe(2);
    simple.request({ type: read, offset: 0, length: 4 * MIB, cookie: 5n });
    await simple.end();
    await server.until('one left', ({ counters }) => counters.openConnections === 1);
    structured.destroy();
    await server.until('none left', current => current.counters.openConnections === 0 && current.sessionsOpen === 0);
  });

  test('clients that announce much and send nothing do not hold up others', async () => {
    server = await TestServer.start({ engine, limits: { largeBuffers: 2, extraStagingBuffers: 1 } });
    const idle = await Promise.all(Array.from({ length: 10 }, () => RawClient.ready(server!.socketPath, 'disk')));
    for (const client of idle) client.request({ type: write, length: 32 * MIB, payload: new Uint8Array(100) });
    await server.until('all announced', status => status.counters.byCommand[write] === 10);
    const client = await RawClient.ready(server.socketPath, 'disk');
    const payload = bytesOf(3, 4 * MIB);
    client.request({ type: write, offset: 32 * MIB, length: payload.length, payload, cookie: 1n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 1n });
    client.request({ type: read, offset: 32 * MIB, length: payload.length, cookie: 2n });
    await client.outcome();
    expect((await client.read(payload.length)).equals(Buffer.from(payload))).toBe(true);
    for (const one of [...idle, client]) one.destroy();
    await server.until('none left', status => status.counters.openConnections === 0);
  });
});
