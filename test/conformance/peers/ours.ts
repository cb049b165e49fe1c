import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsCredentials } from '../../../src/nbd-server-ts/src/index.js';
import { TestServer } from '../../../src/nbd-server-ts/test/support/server.js';
import type { ServerSetup } from '../../../src/nbd-server-ts/test/support/setup.js';
import type { Endpoint, EndpointKind, Peer } from '../peer.js';
import { Certificates } from '../../../src/nbd-server-ts/test/support/certificates.js';

const MIB = 1 << 20;
const BLOCKY = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 32 * MIB };
const LIMITS = { maxConnections: 128 };

/** nbd-server-ts with its memory export; the server runs on a thread of this process. */
export class Ours implements Peer {
  readonly name: string;
  readonly #directory = mkdtempSync(join(tmpdir(), 'nbd-tls-'));
  #certificates: Certificates | null = null;
  readonly #servers = new Map<string, Promise<TestServer>>();

  constructor(private readonly engine: ServerSetup['engine']) {
    this.name = `nbd-server-ts (${engine})`;
  }

  async endpoint(kind: EndpointKind): Promise<Endpoint> {
    switch (kind) {
      case 'plain':
        return { ...this.#at(await this.#server('plain', {}), 'disk'), otherName: 'mapped' };
      case 'readOnly':
        return this.#at(await this.#server('plain', {}), 'frozen');
      case 'minimumBlock':
        return this.#at(await this.#server('plain', {}), 'blocky');
      case 'resizable':
        return this.#at(await this.#server('plain', {}), 'elastic');
      case 'contexts':
        return this.#at(await this.#server('plain', {}), 'mapped');
      case 'noList':
        return this.#at(await this.#server('noList', { offerList: false }), 'disk');
      case 'tlsForced':
        return this.#inTls(await this.#tls('forced', {}));
      case 'tlsSelective':
        return this.#inTls(await this.#tls('selective', {}));
      case 'tlsCertificates':
        return this.#inTls(await this.#tls('forced', { clientCa: this.certificates.read('ca-cert.pem') }));
      case 'impatient':
        return this.#at(await this.#server('impatient', { limits: { ...LIMITS, handshakeTimeoutMs: 200 } }), 'disk');
      case 'crowded':
        return { ...this.#at(await this.#server('crowded', { limits: { maxConnections: 4 } }), 'disk'), maxConnections: 4 };
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
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #inTls(server: TestServer): Endpoint {
    const { client: tls, anonymous: tlsAnonymous, stranger: tlsStranger } = this.certificates;
    return { ...this.#at(server, 'disk'), tls, tlsAnonymous, tlsStranger, tlsOnlyName: 'secret' };
  }

  #tls(mode: 'forced' | 'selective', more: Partial<TlsCredentials>): Promise<TestServer> {
    const credentials = { cert: this.certificates.read('server-cert.pem'), key: this.certificates.read('server-key.pem'), ...more };
    return this.#server(mode + JSON.stringify(Object.keys(more)), { tls: { mode, credentials } });
  }

  private get certificates(): Certificates {
    return (this.#certificates ??= Certificates.make(this.#directory));
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
        { name: 'elastic', sizeBytes: 8 * MIB, maxSizeBytes: 16 * MIB },
        { name: 'mapped', sizeBytes: 8 * MIB, dirtyBitmaps: ['daily', 'weekly'], allocationDepth: true },
        { name: 'secret', sizeBytes: MIB, requiresTls: true },
      ];
      server = TestServer.start({ engine: this.engine, memory, limits: LIMITS, ...setup });
      this.#servers.set(key, server);
    }
    return server;
  }
}
