import { closeSync, mkdtempSync, readSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { socketPair } from 'uring-engine';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { TlsThread, type TlsCredentials } from '../../src/index.js';
import { Certificates } from '../support/certificates.js';

const directory = mkdtempSync(join(tmpdir(), 'nbd-tls-'));
let certificates: Certificates;
const sockets: Socket[] = [];
const threads: TlsThread[] = [];

beforeAll(() => {
  certificates = Certificates.make(directory);
});
afterEach(async () => {
  // What lies on top goes first: Node 20 does not survive the other order.
  for (const socket of sockets.splice(0).reverse()) socket.destroy();
  for (const thread of threads.splice(0)) await thread.stop();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function socketOf(fd: number): Socket {
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => undefined);
  return socket;
}

interface Joined {
  readonly client: TLSSocket;
  readonly plain: Socket;
}

/** A client and the server's end of its plaintext; `early`: the client's first bytes are received before the thread has the socket. */
async function joined(credentials: TlsCredentials, options: ConnectionOptions, early = false): Promise<Joined> {
  const thread = new TlsThread(credentials);
  threads.push(thread);
  const [near, far] = socketPair();
  const [plainNear, plainFar] = socketPair();
  const client = connect({ socket: socketOf(near), ...options });
  client.on('error', () => undefined);
  let head = new Uint8Array(0);
  if (early) {
    for (let i = 0; i < 20; i++) await turn();
    head = new Uint8Array(16_384);
    head = head.slice(0, readSync(far, head));
  }
  thread.terminate(far, plainFar, head);
  const plain = socketOf(plainNear);
  sockets.push(client);
  return { client, plain };
}

function serverCredentials(): TlsCredentials {
  return { cert: certificates.read('server-cert.pem'), key: certificates.read('server-key.pem') };
}

function secured(client: TLSSocket): Promise<boolean> {
  return new Promise(resolve => client.once('secureConnect', () => resolve(true)).once('close', () => resolve(false)));
}

function ended(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    socket.resume();
    socket.once('end', resolve).once('close', resolve);
  });
}

function nextData(socket: Socket): Promise<string> {
  return new Promise(resolve => socket.once('data', data => resolve(String(data))));
}

test.each([false, true])('plaintext goes to and fro (bytes received before: %s)', async early => {
  const { client, plain } = await joined(serverCredentials(), certificates.anonymous, early);
  expect(await secured(client)).toBe(true);
  client.write('to the server');
  expect(await nextData(plain)).toBe('to the server');
  plain.write('to the client');
  expect(await nextData(client)).toBe('to the client');
});

test('the end goes over, from either side', async () => {
  const first = await joined(serverCredentials(), certificates.anonymous);
  await secured(first.client);
  first.client.end();
  await ended(first.plain);
  const second = await joined(serverCredentials(), certificates.anonymous);
  await secured(second.client);
  second.plain.end();
  await ended(second.client);
});

test('a server that gives up during the handshake', async () => {
  const thread = new TlsThread(serverCredentials());
  threads.push(thread);
  const [near, far] = socketPair();
  const [plainNear, plainFar] = socketPair();
  const silent = socketOf(near);
  thread.terminate(far, plainFar, new Uint8Array(0));
  closeSync(plainNear);
  await ended(silent);
});

test('what is not TLS ends both', async () => {
  const thread = new TlsThread(serverCredentials());
  threads.push(thread);
  const [near, far] = socketPair();
  const [plainNear, plainFar] = socketPair();
  socketOf(near).write('IHAVEOPT and more of the kind');
  thread.terminate(far, plainFar, new Uint8Array(0));
  const plain = socketOf(plainNear);
  plain.on('data', data => expect(data).toBeUndefined());
  await ended(plain);
});

test.each([
  ['the right key', 'aabbccdd', true],
  ['another', 'aabbccde', false],
])('a pre-shared key: %s', async (_what, key, works) => {
  const { client } = await joined(
    { psk: { alice: 'aabbccdd' } },
    {
      ciphers: 'PSK',
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: Buffer.from(key, 'hex'), identity: 'alice' }),
    },
  );
  expect(await secured(client)).toBe(works);
});

test('no credentials', () => {
  expect(() => new TlsThread({})).toThrow('certificate');
});
