import { Socket } from 'node:net';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';
import type { TlsCredentials, TlsHandover } from './tls-thread.js';

const DEFAULT_HANDSHAKE_TIMEOUT_MS = 10_000;
const DEFAULT_LINGER_MS = 2_000;

const credentials = workerData as TlsCredentials;
const options = tlsOptions(credentials);
const { lingerMs = DEFAULT_LINGER_MS } = credentials;

interface Joined {
  readonly plain: Socket;
  readonly secure: TLSSocket;
  /** Of the plaintext, at the last look. */
  bytesRead: number;
}
const joined = new Set<Joined>();

function tlsOptions({
  cert,
  key,
  clientCa,
  psk,
  minVersion = 'TLSv1.2',
  handshakeTimeoutMs = DEFAULT_HANDSHAKE_TIMEOUT_MS,
}: TlsCredentials): TlsOptions {
  return {
    minVersion,
    handshakeTimeout: handshakeTimeoutMs,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    ...(psk === undefined ? {} : pskOptions(psk)),
  };
}

function pskOptions(psk: Readonly<Record<string, string>>): TlsOptions {
  const keys = new Map(Object.entries(psk).map(([identity, hex]) => [identity, Buffer.from(hex, 'hex')]));
  return {
    pskCallback: (_socket: TLSSocket, identity: string) => keys.get(identity) ?? null,
    // OpenSSL's list has them, Node's has not.
    ciphers:
      'ECDHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES256-GCM-SHA384:PSK-AES256-GCM-SHA384:ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:HIGH:!aNULL',
  };
}

/** A server of its own for each connection, which never listens: so that the two ends find each other. */
function take({ clientFd, plainFd, head }: TlsHandover): void {
  const plain = new Socket({ fd: plainFd, readable: true, writable: true, allowHalfOpen: true });
  const client = new Socket({ fd: clientFd, readable: true, writable: true });
  // TLS begins with what is in the socket's buffer.
  if (head.length > 0) client.unshift(head);
  let secure: TLSSocket | null = null;
  const drop = (): void => {
    // Never the socket under TLS first: Node 20 does not survive that.
    (secure ?? client).destroy();
    plain.destroy();
  };
  client.on('error', drop).on('close', drop);
  plain.on('error', drop).on('end', () => {
    if (secure === null) drop();
  });
  const server = createServer(options, socket => {
    secure = socket;
    socket.disableRenegotiation();
    join(socket, plain, drop);
  });
  server.on('tlsClientError', (_error, socket) => {
    secure ??= socket;
    drop();
  });
  server.emit('connection', client);
}

function join(secure: TLSSocket, plain: Socket, drop: () => void): void {
  const one = { plain, secure, bytesRead: -1 };
  joined.add(one);
  plain.on('close', () => joined.delete(one));
  secure.setNoDelay(true);
  secure.on('error', drop).on('close', drop);
  // `end` says close_notify; a client that does not answer is not waited for.
  secure.once('finish', () => setTimeout(drop, lingerMs).unref());
  plain.pipe(secure).pipe(plain);
}

/**
 * A client that takes nothing holds up its plaintext, and the server's end of it stays unseen behind that. Writing nothing finds it: the
 * error drops both.
 */
function lookAtStalled(): void {
  for (const one of joined) {
    const { plain, secure, bytesRead } = one;
    one.bytesRead = plain.bytesRead;
    if (secure.writableNeedDrain && plain.bytesRead === bytesRead) plain.write('');
  }
}
setInterval(lookAtStalled, lingerMs).unref();

parentPort!.on('message', (handover: TlsHandover) => take(handover));
