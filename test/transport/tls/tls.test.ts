import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer as createTcpServer, Socket, type AddressInfo } from 'node:net';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';
import { socketPair } from 'uring-engine';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TlsAcceptor } from '../../../src/transport/tls/acceptor.js';
import { explain, serverOptions, type TlsCredentials, type TlsPeer } from '../../../src/transport/tls/credentials.js';
import { join } from '../../../src/transport/tls/join.js';
import { MAX_HALF_OPEN, STALLED_MS } from '../../../src/transport/tls/limits.js';
import { Troubles } from '../../../src/transport/tls/tell.js';
import { TlsDialer } from '../../../src/transport/tls/tls-dialer.js';
import { Authority } from '../../support/certificates.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { waitFor } from '../../support/wait.js';

const missing = missingPrograms('openssl');
const WAIT_MS = 20_000;

describe.skipIf(missing.length > 0)(`TLS between the machines of a cluster${missingNote(missing)}`, () => {
  const dir = makeTempDir('tls-unit');
  let authority: Authority;
  let foreign: Authority;
  const credentials = new Map<string, TlsCredentials>();
  const of = (name: string): TlsCredentials => credentials.get(name)!;
  const closing: (() => void)[] = [];

  beforeAll(async () => {
    authority = await Authority.create(dir);
    foreign = await Authority.create(dir, 'foreign-ca');
    const issue = async (key: string, by: Authority, role: string, days = 1): Promise<void> => {
      const { cert, key: keyFile } = await by.issue(key, { role, days });
      credentials.set(key, {
        ca: readFileSync(authority.ca, 'utf8'),
        cert: readFileSync(cert, 'utf8'),
        key: readFileSync(keyFile, 'utf8'),
      });
    };
    await issue('node-1', authority, 'node');
    await issue('node-2', authority, 'node');
    await issue('host-1', authority, 'datapath');
    await issue('manager', authority, 'client');
    await issue('late', authority, 'node', -1);
    await issue('stranger', foreign, 'node');
  });
  afterEach(() => closing.splice(0).forEach(close => close()));
  afterAll(() => removeTempDir(dir));

  class World {
    readonly told: string[] = [];
    readonly accepted: { secure: TLSSocket; peer: TlsPeer }[] = [];
    readonly troubles = new Troubles((_, message, { why }) => this.told.push(`${message}: ${String(why)}`));
    readonly acceptor: TlsAcceptor;
    port = 0;

    constructor(server: string) {
      this.acceptor = new TlsAcceptor(of(server), this.troubles, (secure, peer) => {
        secure.on('error', () => undefined);
        this.accepted.push({ secure, peer });
        closing.push(() => secure.destroy());
      });
    }

    static async of(server: string): Promise<World> {
      const world = new World(server);
      world.port = await freePort();
      await world.acceptor.listen('127.0.0.1', world.port);
      closing.push(() => world.acceptor.close());
      return world;
    }

    dial(client: TlsCredentials, node?: string, port = this.port): Promise<TLSSocket | number> {
      const dialer = new TlsDialer(client, this.troubles);
      const target = node === undefined ? { host: '127.0.0.1', port } : { host: '127.0.0.1', port, node };
      return new Promise(resolve =>
        dialer.dial(target, result => {
          if (typeof result !== 'number') closing.push(() => result.destroy());
          resolve(result);
        }),
      );
    }

    async until(text: string): Promise<void> {
      await waitFor(`${text} in ${JSON.stringify(this.told)}`, WAIT_MS, () => this.told.some(line => line.includes(text)));
    }
  }

  it('each end knows who the other one is', async () => {
    const world = await World.of('node-1');
    expect(await world.dial(of('node-2'), 'node-1')).toBeTypeOf('object');
    expect(await world.dial(of('host-1'))).toBeTypeOf('object');
    await waitFor('both', WAIT_MS, () => world.accepted.length === 2);
    expect(world.accepted.map(({ peer }) => peer)).toEqual([
      { role: 'node', name: 'node-2' },
      { role: 'datapath', name: 'host-1' },
    ]);
    expect(world.told).toEqual([]);
  });

  it.each([
    ['stranger', 'not of the authority of this cluster'],
    ['late', 'has expired'],
    ['manager', 'with the role (OU) "client"'],
  ])('a client with the certificate %s is refused, and it is said why', async (client, why) => {
    const world = await World.of('node-1');
    // In TLS 1.3 it learns of it behind its own end of the handshake.
    const result = await world.dial(of(client));
    if (typeof result !== 'number') await waitFor('the end of it', WAIT_MS, () => result.destroyed);
    await world.until(why);
    expect(world.accepted).toEqual([]);
    expect(await world.dial(of('node-2'))).toBeTypeOf('object');
  });

  it('a client without a certificate is refused', async () => {
    const world = await World.of('node-1');
    const socket = connect({ host: '127.0.0.1', port: world.port, ca: of('node-1').ca, checkServerIdentity: () => undefined });
    let error: Error | undefined;
    socket.on('error', problem => (error = problem));
    await waitFor('the end of it', WAIT_MS, () => socket.destroyed);
    await world.until('shows no certificate');
    expect(explain(error!)).toContain('does not take the certificate of this process');
    expect(world.accepted).toEqual([]);
  });

  it('one that does not speak TLS is refused, and one that speaks an old one', async () => {
    const world = await World.of('node-1');
    const plain = connectTcp({ host: '127.0.0.1', port: world.port }).on('error', () => undefined);
    plain.resume().write('GPW1 and so on, in the clear, for long enough');
    await waitFor('the end of it', WAIT_MS, () => plain.destroyed);
    await world.until('does not speak TLS: is "tls"');
    const old = connect({
      host: '127.0.0.1',
      port: world.port,
      ...of('node-2'),
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
    });
    old.on('error', () => undefined);
    await waitFor('the end of that', WAIT_MS, () => old.destroyed);
    await world.until('does not speak TLS 1.3');
    expect(world.accepted).toEqual([]);
  });

  it.each<[string, string, string | undefined, string]>([
    ['another node than the one that was looked for', 'node-2', 'node-1', 'it is the node "node-2", not "node-1"'],
    ['a datapath', 'host-1', undefined, 'it is the datapath "host-1" and no node'],
    ['a node of another cluster', 'stranger', undefined, 'not of the authority of this cluster'],
    ['a node whose time is over', 'late', undefined, 'has expired'],
  ])('%s is not spoken to', async (_, server, node, why) => {
    const world = new World('node-1');
    const port = await listen(createServer(serverOptions(of(server)), socket => socket.on('error', () => undefined)));
    expect(await world.dial(of('node-2'), node, port)).toBeLessThan(0);
    await world.until(why);
  });

  it('a server in the clear is found out; nobody at all is told as such', async () => {
    const world = new World('node-1');
    const clear = createTcpServer(socket => socket.on('error', () => undefined).end('GPW1 in the clear, whatever was asked'));
    expect(await world.dial(of('node-2'), 'node-1', await listen(clear as Server))).toBeLessThan(0);
    await world.until('does not speak TLS');
    const told = world.told.length;
    expect(await world.dial(of('node-2'), 'node-1', await freePort())).toBe(-111);
    expect(world.told.length).toBe(told);
  });

  it('those that say nothing are bounded, and their places come back', async () => {
    const world = await World.of('node-1');
    const silent = Array.from({ length: MAX_HALF_OPEN + 1 }, () =>
      connectTcp({ host: '127.0.0.1', port: world.port })
        .on('error', () => undefined)
        .resume(),
    );
    closing.push(() => silent.forEach(socket => socket.destroy()));
    await world.until('have not finished their handshakes yet');
    expect(silent.filter(socket => socket.destroyed).length).toBeLessThanOrEqual(1);
    // Their handshakes time out.
    await waitFor('the end of all', WAIT_MS, () => silent.every(socket => socket.destroyed));
    await world.until('does not finish the handshake in time');
    expect(await world.dial(of('node-2'))).toBeTypeOf('object');
  });

  it('dials under way fail at once when it is over, and those to come', async () => {
    const world = new World('node-1');
    const silent = createTcpServer(socket => socket.on('error', () => undefined));
    const dialer = new TlsDialer(of('node-1'), world.troubles);
    const dial = async (port: number): Promise<unknown> => new Promise(resolve => dialer.dial({ host: '127.0.0.1', port }, resolve));
    const first = dial(await listen(silent as Server));
    dialer.close();
    expect([await first, await dial(1)]).toEqual([-125, -125]);
  });

  it('the same trouble is told once in a while', () => {
    let nowMs = 0;
    const told: unknown[] = [];
    const troubles = new Troubles(
      (_, __, { why }) => told.push(why),
      () => nowMs,
    );
    for (const why of ['a', 'a', 'b', 'a']) troubles.tell('refused', '10.0.0.1', why);
    nowMs = 30_000;
    troubles.tell('refused', '10.0.0.1', 'a');
    expect(told).toEqual(['a', 'b', 'a']);
  });

  // ---------------------------------------------------------------- the plaintext

  async function pipeline(): Promise<{ near: Socket; remote: TLSSocket }> {
    const world = await World.of('node-1');
    const secure = (await world.dial(of('node-2'))) as TLSSocket;
    await waitFor('the connection', WAIT_MS, () => world.accepted.length === 1);
    const [nearFd, farFd] = socketPair();
    join(secure, farFd);
    const near = new Socket({ fd: nearFd, readable: true, writable: true }).on('error', () => undefined);
    closing.push(() => near.destroy());
    return { near, remote: world.accepted[0]!.secure };
  }

  it('goes through byte by byte, and what was said before an end is heard', async () => {
    const { near, remote } = await pipeline();
    const bytes = Buffer.alloc(5 << 20, 0).map((_, i) => (i * 7 + (i >> 8)) & 0xff);
    const heard: Buffer[] = [];
    remote.on('data', (data: Buffer) => heard.push(data));
    near.end(bytes);
    await waitFor('the end of it', WAIT_MS, () => remote.readableEnded);
    expect(Buffer.concat(heard).equals(bytes)).toBe(true);
  });

  it('is not read faster than the other side takes it, in both directions', async () => {
    const { near, remote } = await pipeline();
    const push = async (from: Socket, to: Socket): Promise<void> => {
      to.pause();
      for (let i = 0; i < 32; i++) from.write(Buffer.alloc(1 << 20));
      let [before, still] = [-1, 0];
      await waitFor('the stand-still', WAIT_MS, () => {
        still = from.writableLength === before ? still + 1 : 0;
        before = from.writableLength;
        return still === 10;
      });
      // The rest is with who has not been able to say it.
      expect(from.writableLength).toBeGreaterThan(16 << 20);
      to.resume();
      await waitFor('all of it', WAIT_MS, () => from.writableLength === 0);
    };
    await push(near, remote);
    await push(remote, near);
  });

  it.each<[string, boolean, (remote: TLSSocket) => void]>([
    ['closed', false, remote => remote.end()],
    ['torn down', false, remote => remote.destroy()],
    ['reset', true, remote => remote.destroy()],
  ])('ends when the other machine has %s it', async (_, unread, close) => {
    const { near, remote } = await pipeline();
    // Closed with something unread, TCP says it by a reset.
    if (unread) near.write(Buffer.alloc(16 << 20));
    close(remote);
    near.resume();
    // Long before a connection on which nothing moves is given up.
    await waitFor('the end', STALLED_MS / 2, () => near.readableEnded || near.destroyed);
  });

  it('ends the connection when the shard lets go of it, though something is unread', async () => {
    const { near, remote } = await pipeline();
    remote.write(Buffer.alloc(1 << 20));
    let heard = '';
    remote.on('data', (data: Buffer) => (heard += data.toString()));
    near.write('the last word');
    await waitFor('the last word', WAIT_MS, () => heard !== '');
    near.destroy();
    await waitFor('the end', WAIT_MS, () => remote.readableEnded || remote.destroyed);
    expect(heard).toBe('the last word');
  });
});

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createTcpServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

const servers: Server[] = [];
afterAll(() => servers.forEach(server => server.close()));

function listen(server: Server): Promise<number> {
  servers.push(server);
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}
