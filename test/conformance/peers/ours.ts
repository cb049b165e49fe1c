import { TestServer } from '../../../src/nbd-server-ts/test/support/server.js';
import type { ServerSetup } from '../../../src/nbd-server-ts/test/support/setup.js';
import type { Endpoint, EndpointKind, Peer } from '../peer.js';

const MIB = 1 << 20;
const BLOCKY = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 32 * MIB };
const LIMITS = { maxConnections: 128 };

/** nbd-server-ts with its memory export; the server runs on a thread of this process. */
export class Ours implements Peer {
  readonly name: string;
  readonly #servers = new Map<string, Promise<TestServer>>();

  constructor(private readonly engine: ServerSetup['engine']) {
    this.name = `nbd-server-ts (${engine})`;
  }

  async endpoint(kind: EndpointKind): Promise<Endpoint | null> {
    switch (kind) {
      case 'plain':
        return this.#at(await this.#server('plain', {}), 'disk');
      case 'readOnly':
        return this.#at(await this.#server('plain', {}), 'frozen');
      case 'minimumBlock':
        return this.#at(await this.#server('plain', {}), 'blocky');
      case 'impatient':
        return this.#at(await this.#server('impatient', { limits: { ...LIMITS, handshakeTimeoutMs: 200 } }), 'disk');
      default:
        return null;
    }
  }

  residentBytes(): number {
    return process.memoryUsage.rss();
  }

  async closing(): ReturnType<NonNullable<Peer['closing']>> {
    const server = await TestServer.start({ engine: this.engine, gated: true });
    await server.command({ kind: 'gate', open: false });
    return {
      endpoint: this.#at(server, 'disk'),
      begin: async () => {
        await server.until('a request waits', status => status.waiting === 1);
        await server.command({ kind: 'close', options: { deadlineMs: 20_000 } });
      },
      end: async () => {
        await server.command({ kind: 'let', count: 10, newestFirst: false });
        await server.stop();
      },
    };
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.values()) await (await server).stop();
  }

  #at(server: TestServer, exportName: string): Endpoint {
    return { target: server.socketPath, exportName };
  }

  #server(key: string, setup: Partial<ServerSetup>): Promise<TestServer> {
    let server = this.#servers.get(key);
    if (server === undefined) {
      const memory = [
        { name: 'disk', sizeBytes: 64 * MIB, description: 'a disk' },
        { name: 'frozen', sizeBytes: 8 * MIB, readOnly: true },
        { name: 'blocky', sizeBytes: 8 * MIB, blockSize: BLOCKY },
      ];
      server = TestServer.start({ engine: this.engine, memory, limits: LIMITS, ...setup });
      this.#servers.set(key, server);
    }
    return server;
  }
}
