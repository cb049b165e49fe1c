import { connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/**
 * A Unix socket that leads to another one, of whose connections one at a time goes deaf: what its client sends arrives, the answers do not; then it is cut.
 * So the server has done what the client does not know of, while its other connections go on.
 */
export class DeafLink {
  readonly #pairs: Pair[] = [];
  readonly #server: Server;
  #deaf: Pair | null = null;
  /** How often a connection was deaf and cut. */
  cuts = 0;

  private constructor(target: string) {
    this.#server = createServer(client => this.#accept(client, target));
  }

  static open(path: string, target: string): Promise<DeafLink> {
    const link = new DeafLink(target);
    return new Promise((resolve, reject) => {
      link.#server.once('error', reject);
      link.#server.listen(path, () => resolve(link));
    });
  }

  /** The connection that has been there longest goes deaf, and is cut after so long. */
  async deafen(forMs: number): Promise<void> {
    const pair = this.#pairs[0];
    if (pair === undefined) return;
    this.#deaf = pair;
    await new Promise(resolve => setTimeout(resolve, forMs));
    pair.client.destroy();
    pair.server.destroy();
    this.#deaf = null;
    this.cuts++;
  }

  close(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
    this.#server.close();
  }

  #accept(client: Socket, target: string): void {
    const pair = { client, server: connect(target) };
    this.#pairs.push(pair);
    client.on('data', chunk => pair.server.write(chunk));
    pair.server.on('data', chunk => this.#deaf === pair || client.write(chunk));
    const end = (): void => {
      client.destroy();
      pair.server.destroy();
      const at = this.#pairs.indexOf(pair);
      if (at >= 0) this.#pairs.splice(at, 1);
    };
    for (const socket of [client, pair.server]) socket.on('error', end).on('close', end);
  }
}
