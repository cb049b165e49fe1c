import { Worker } from 'node:worker_threads';
import { NbdServerError } from '../errors.js';

/** Takes over the sockets of clients that go over to TLS. */
export interface TlsTerminator {
  /**
   * Both descriptors are its own from here on: the client's socket, and the far end of the server's plaintext. It closes both when one of
   * them ends. `head`: what was received of TLS already.
   */
  terminate(clientFd: number, plainFd: number, head: Uint8Array): void;
}

export interface TlsCredentials {
  /** PEM: the server's certificate, with the chain, and its key. Not needed where clients have a pre-shared key. */
  readonly cert?: string;
  readonly key?: string;
  /** PEM: clients must have a certificate of this authority. Without it any client may connect. */
  readonly clientCa?: string;
  /** Pre-shared keys by identity, in hex, as GnuTLS's psktool writes them. */
  readonly psk?: Readonly<Record<string, string>>;
  /** TLS 1.2 unless told otherwise. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3';
  /** From the start of the TLS handshake to its end; the server's own handshake time-out holds too. */
  readonly handshakeTimeoutMs?: number;
  /** When the server has ended a connection: how long its client may take nothing of what is left, or not answer close_notify. 2 s unless told otherwise. */
  readonly lingerMs?: number;
}

/** What the thread is told: a connection to take over. */
export interface TlsHandover {
  readonly clientFd: number;
  readonly plainFd: number;
  readonly head: Uint8Array;
}

/**
 * A thread that does TLS (node:tls) for servers whose own threads are blocked in their ring: each connection is a client's socket, TLS, and a pair
 * of sockets with the plaintext. It does not keep the process alive.
 */
export class TlsThread implements TlsTerminator {
  readonly #worker: Worker;

  /** `onFailed`: the thread has ended by itself, and with it every connection; without it that is an uncaught error of this thread. */
  constructor(credentials: TlsCredentials, onFailed?: (error: Error) => void) {
    const { cert, key, psk } = credentials;
    if (psk === undefined && (cert === undefined || key === undefined))
      throw new NbdServerError('ERR_TLS_UNAVAILABLE', 'TLS needs a certificate and its key, or pre-shared keys');
    this.#worker = new Worker(workerUrl(), { workerData: credentials });
    this.#worker.unref();
    if (onFailed !== undefined) this.#worker.once('error', onFailed);
  }

  terminate(clientFd: number, plainFd: number, head: Uint8Array): void {
    this.#worker.postMessage({ clientFd, plainFd, head } satisfies TlsHandover);
  }

  /** Ends all its connections. */
  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Run from its TypeScript source (by a loader), the package uses the worker that was built: loaders are not inherited. */
function workerUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? '../../dist/tls/worker.js' : './worker.js', import.meta.url);
}
