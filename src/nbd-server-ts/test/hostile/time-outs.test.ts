import { connect as connectTls } from 'node:tls';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Command } from '../../src/protocol/constants.js';
import { Certificates } from '../support/certificates.js';
import { encodeOption, encodeRequest, goData, RawClient } from '../support/raw-client.js';
import { ENGINES, TestServer } from '../support/server.js';
import type { ServerSetup } from '../support/setup.js';

const { read, write, flush } = Command;
const MIB = 1 << 20;
const START_TLS = 5;

const directory = mkdtempSync(join(tmpdir(), 'nbd-hostile-'));
let certificates: Certificates;
beforeAll(() => {
  certificates = Certificates.make(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Clients that keep a server waiting; after each of them a new client is served. */
describe.each(ENGINES)('what takes too long is ended, %s', engine => {
  let server: TestServer;
  afterEach(() => server.stop());

  async function start(limits: ServerSetup['limits'], more: Partial<ServerSetup> = {}): Promise<void> {
    server = await TestServer.start({ engine, limits: { maxConnections: 8, ...limits }, ...more });
  }

  const tls = (): Partial<ServerSetup> => ({
    tls: {
      mode: 'selective',
      credentials: { cert: certificates.read('server-cert.pem'), key: certificates.read('server-key.pem'), lingerMs: 100 },
    },
  });

  async function gone(): Promise<void> {
    await server.until('nobody is left', ({ counters }) => counters.openConnections === 0);
    await served();
  }

  async function served(): Promise<void> {
    const client = await RawClient.ready(server.socketPath, 'disk');
    client.request({ type: read, length: 512, cookie: 5n });
    expect(await client.outcome()).toEqual({ errno: 0, cookie: 5n });
    client.destroy();
  }

  test('time in which the server stood still is not the client’s', async () => {
    await start({ handshakeTimeoutMs: 1_500, idleTimeoutMs: 1_500 });
    const idle = await RawClient.ready(server.socketPath, 'disk');
    // It has seen the clock a few times by then, and takes this one for idle.
    await new Promise(resolve => setTimeout(resolve, 400));
    const client = await RawClient.connect(server.socketPath);
    await client.begin();
    await server.command({ kind: 'standStill', ms: 2_000 });
    // Two of its turns go by: whatever it thinks of the time is done.
    for (let turn = 0; turn < 2; turn++) await server.status();
    expect((await client.option(7, goData('disk'))).at(-1)!.type).toBe(1);
    idle.request({ type: read, length: 512, cookie: 6n });
    expect(await idle.outcome()).toEqual({ errno: 0, cookie: 6n });
    for (const one of [client, idle]) one.destroy();
  });

  test('the handshake: silence, a byte now and then, options without an end', async () => {
    await start({ handshakeTimeoutMs: 300 });
    const silent = await RawClient.connect(server.socketPath);
    const slow = await RawClient.connect(server.socketPath);
    const talkative = await RawClient.connect(server.socketPath);
    await talkative.begin();
    const bytes = encodeOption(7, goData('disk'));
    let at = 0;
    const dribble = setInterval(() => {
      slow.send(at < bytes.length ? bytes.subarray(at, ++at) : new Uint8Array(1));
      talkative.send(encodeOption(99));
    }, 20);
    try {
      await Promise.all([silent.end(), slow.end(), talkative.end()]);
    } finally {
      clearInterval(dribble);
    }
    await gone();
  });

  test('a half-open client: in the handshake, and behind its requests', async () => {
    await start({});
    const negotiating = await RawClient.connect(server.socketPath);
    await negotiating.begin();
    negotiating.socket.end();
    await negotiating.end();
    const asking = await RawClient.ready(server.socketPath, 'disk');
    asking.request({ type: read, length: MIB, cookie: 1n });
    asking.socket.end(encodeRequest({ type: write, length: MIB, cookie: 2n }));
    // What was asked whole is answered; what was cut off is not.
    expect(await asking.outcome()).toEqual({ errno: 0, cookie: 1n });
    await asking.end();
    await gone();
  });

  test('an idle connection; not one that says something now and then', async () => {
    await start({ idleTimeoutMs: 400 });
    const idle = await RawClient.ready(server.socketPath, 'disk');
    const busy = await RawClient.ready(server.socketPath, 'disk');
    let isOver = false;
    const ended = idle.end().then(() => (isOver = true));
    // Longer than the time-out by itself, whatever the machine does meanwhile.
    const least = Date.now() + 800;
    while (!isOver || Date.now() < least) {
      busy.request({ type: flush });
      expect((await busy.outcome()).errno).toBe(0);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    await ended;
    busy.destroy();
    await gone();
  });

  test('a client that announces a WRITE and brings half of it; one that does not take its answers', async () => {
    await start({ idleTimeoutMs: 300 });
    const half = await RawClient.ready(server.socketPath, 'disk');
    half.request({ type: write, length: 4 * MIB });
    half.send(new Uint8Array(MIB + 77));
    const deaf = await RawClient.ready(server.socketPath, 'disk');
    deaf.socket.pause();
    for (let i = 0; i < 64; i++) deaf.request({ type: read, length: MIB });
    await gone();
    half.destroy();
    deaf.destroy();
  });

  test('a connection that waits for its export is not idle', async () => {
    await start({ idleTimeoutMs: 300 }, { gated: true });
    const waiting = await RawClient.ready(server.socketPath, 'disk');
    const idle = await RawClient.ready(server.socketPath, 'disk');
    await server.command({ kind: 'gate', open: false });
    waiting.request({ type: flush, cookie: 1n });
    await server.until('it waits', status => status.waiting === 1);
    // Both have said nothing for as long; a sweep has seen to both when the idle one is gone.
    await idle.end();
    await new Promise(resolve => setTimeout(resolve, 600));
    expect(waiting.ended).toBe(false);
    await server.command({ kind: 'let', count: 1, newestFirst: false });
    expect(await waiting.outcome()).toEqual({ errno: 0, cookie: 1n });
    await server.command({ kind: 'gate', open: true });
    // From here on it is.
    await waiting.end();
    await gone();
  });

  test('TLS: silence after STARTTLS, records a byte at a time', async () => {
    await start({ handshakeTimeoutMs: 300 }, tls());
    const clients: RawClient[] = [];
    for (let i = 0; i < 2; i++) {
      const client = await RawClient.connect(server.socketPath);
      await client.begin();
      await client.option(START_TLS);
      clients.push(client);
    }
    const dribble = setInterval(() => clients[1]!.send(Buffer.from([0x16])), 20);
    try {
      for (const client of clients) await client.end();
    } finally {
      clearInterval(dribble);
    }
    await gone();
  });

  test('TLS: a client that takes nothing, and does not go', async () => {
    await start({ idleTimeoutMs: 300 }, tls());
    const client = await RawClient.connect(server.socketPath);
    await client.begin();
    await client.option(START_TLS);
    const under = client.socket;
    under.removeAllListeners('data');
    const secure = connectTls({ socket: under, ...certificates.anonymous });
    await new Promise((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject));
    secure.write(encodeOption(7, goData('disk')));
    secure.write(Buffer.concat(Array.from({ length: 64 }, () => encodeRequest({ type: read, length: MIB }))));
    await server.until('it is served', ({ counters }) => counters.byCommand[read]! > 0);
    under.pause();
    await server.until('nobody is left', ({ counters }) => counters.openConnections === 0);
    // The TLS thread lets go of it too, which a write of nothing tells: an error.
    const closed = new Promise(resolve => under.once('close', resolve));
    const poke = setInterval(() => under.write(''), 50);
    under.on('error', () => undefined);
    secure.on('error', () => undefined);
    try {
      await closed;
    } finally {
      clearInterval(poke);
      secure.destroy();
    }
    await served();
  });
});
