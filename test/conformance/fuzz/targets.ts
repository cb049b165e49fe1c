import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Certificates } from '../../../src/nbd-server-ts/test/support/certificates.js';
import { TestServer } from '../../../src/nbd-server-ts/test/support/server.js';
import type { ServerSetup } from '../../../src/nbd-server-ts/test/support/setup.js';
import type { FuzzTargets } from './fuzz.js';

const MIB = 1 << 20;

export async function startTargets(engine: ServerSetup['engine']): Promise<FuzzTargets & { readonly stop: () => Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'nbd-fuzz-'));
  const certificates = Certificates.make(directory);
  const credentials = { cert: certificates.read('server-cert.pem'), key: certificates.read('server-key.pem') };
  const memory = [
    { name: 'disk', sizeBytes: 64 * MIB, maxSizeBytes: 65 * MIB, dirtyBitmaps: ['daily'] },
    // Clients may well resize the disk: whether the server lives is seen by this one.
    { name: 'still', sizeBytes: MIB },
  ];
  const files = ['plain', 'tls'].map(name => {
    const path = join(directory, `${name}.img`);
    writeFileSync(path, '');
    truncateSync(path, 64 * MIB);
    return { name: 'file', path, maxSizeBytes: 65 * MIB, allocationDepth: true };
  });
  // As by default: a shorter time-out ends clients that a busy machine keeps waiting.
  const limits = { maxConnections: 64, handshakeTimeoutMs: 10_000 };
  const plain = await TestServer.start({ engine, memory, files: files.slice(0, 1), limits });
  const tls = await TestServer.start({ engine, memory, files: files.slice(1), limits, tls: { mode: 'selective', credentials } });
  return {
    plain,
    tls,
    stop: async () => {
      await plain.stop();
      await tls.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
