import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { explain, peerOf, serverOptions, type TlsCredentials, type TlsPeer } from './credentials.js';
import { HANDSHAKE_TIMEOUT_MS, MAX_HALF_OPEN } from './limits.js';
import type { Troubles } from './tell.js';

const REFUSED = 'a connection over TCP was refused';

/** Accepts connections over TCP, and tells those that have shown a certificate of the cluster. */
export class TlsAcceptor {
  readonly #server: Server;
  #halfOpen = 0;

  constructor(
    private readonly credentials: TlsCredentials,
    private readonly troubles: Troubles,
    private readonly onAccepted: (secure: TLSSocket, peer: TlsPeer) => void,
  ) {
    this.#server = createTcpServer(socket => this.#accept(socket));
  }

  /** Once. */
  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen({ host, port }, () => {
        // Out of descriptors, say: those that wait are accepted later.
        this.#server
          .off('error', reject)
          .on('error', error => this.troubles.tell('accepting a connection failed', `${host}:${port}`, error.message));
        resolve();
      });
    });
  }

  close(): void {
    this.#server.close();
  }

  #accept(socket: Socket): void {
    const from = socket.remoteAddress ?? 'nowhere';
    if (this.#halfOpen >= MAX_HALF_OPEN) {
      this.troubles.tell(REFUSED, from, `${MAX_HALF_OPEN} others have not finished their handshakes yet`);
      socket.destroy();
      return;
    }
    this.#halfOpen++;
    let isHalfOpen = true;
    const settled = (): void => {
      if (isHalfOpen) this.#halfOpen--;
      isHalfOpen = false;
    };
    socket.on('error', () => undefined).once('close', settled);
    // A server of its own, which never listens: so that the two ends find each other.
    const options = { ...serverOptions(this.credentials), handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
    const server = createServer(options, secure => {
      settled();
      this.#greet(secure, from);
    });
    server.on('tlsClientError', (error, secure) => {
      const { authorizationError } = secure as { authorizationError?: Error | string };
      // Node has closed a connection with a bad certificate without an error of its own.
      const code = typeof authorizationError === 'string' ? authorizationError : undefined;
      this.troubles.tell(REFUSED, from, explain(code === undefined ? error : Object.assign(new Error(code), { code })));
      secure.destroy();
    });
    server.emit('connection', socket);
  }

  #greet(secure: TLSSocket, from: string): void {
    const peer = peerOf(secure.getPeerCertificate().subject ?? {});
    if (typeof peer !== 'string') {
      this.onAccepted(secure, peer);
      return;
    }
    this.troubles.tell(REFUSED, from, peer);
    secure.on('error', () => undefined).destroy();
  }
}
