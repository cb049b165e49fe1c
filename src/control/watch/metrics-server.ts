import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../../base/log.js';
import type { Exposition } from './exposition.js';

export interface MetricsListening {
  readonly host: string;
  readonly port: number;
  /** Who asks has to show a certificate of the same authority; null: anybody who reaches the address may ask. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string } | null;
}

/** `GET /metrics` over TCP, for Prometheus; nothing else. */
export class MetricsServer {
  readonly #server: Server;

  private constructor(
    readonly listening: MetricsListening,
    private readonly exposition: Exposition,
    private readonly log: Logger,
  ) {
    const answer = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response);
    const { tls } = listening;
    this.#server =
      tls === null
        ? createHttpServer(answer)
        : createHttpsServer({ ...tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, answer);
  }

  static async listen(listening: MetricsListening, exposition: Exposition, log: Logger): Promise<MetricsServer> {
    const server = new MetricsServer(listening, exposition, log);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen({ host: listening.host, port: listening.port }, resolve);
    });
    server.#server.on('error', error => log.log('warn', 'the metrics listener has trouble', { error: error.message }));
    log.log('info', 'metrics for Prometheus', { url: server.url });
    return server;
  }

  get url(): string {
    const { address, port, family } = this.#server.address() as AddressInfo;
    return `${this.listening.tls === null ? 'http' : 'https'}://${family === 'IPv6' ? `[${address}]` : address}:${port}/metrics`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
  }

  async #answer({ method, url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    if (method !== 'GET' || url.split('?')[0] !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('GET /metrics is all there is\n');
      return;
    }
    try {
      const text = await this.exposition.text();
      response.writeHead(200, { 'content-type': this.exposition.contentType }).end(text);
    } catch (error) {
      this.log.log('error', 'the metrics could not be told', { error: (error as Error).stack });
      response.writeHead(500, { 'content-type': 'text/plain' }).end('see the log\n');
    }
  }
}
