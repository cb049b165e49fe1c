import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAX_PAYLOAD_BYTES } from '../../../src/nbd-server-ts/src/limits.js';
import { Certificates } from '../../../src/nbd-server-ts/test/support/certificates.js';
import { ENGINES, TestServer } from '../../../src/nbd-server-ts/test/support/server.js';
import { check, run } from '../../support/process.js';

// npm run nbd-tester -- SOURCE        nbd-tester-client of the reference implementation against nbd-server-ts, on both engines
//   SOURCE: the unpacked source of nbd (`apt-get source nbd`, or a clone of NetworkBlockDevice/nbd at a release), which is not built for it: the client is
//   compiled here (Debian: gcc pkg-config libglib2.0-dev libgnutls28-dev). The kinds are those of its own tests/run/simple_test, but for those that are about
//   nbd-server's configuration and not about the protocol (cfgmulti, tree, rotree, dirconfig, inetd).

const MIB = 1 << 20;
const TIMEOUT_MS = 300_000;
const MAX_REASON_CHARS = 1_000;
/** What its ./configure would find out. */
const CONFIG = [
  'HAVE_GNUTLS 1',
  'SIZEOF_UNSIGNED_SHORT_INT 2',
  'SIZEOF_UNSIGNED_INT 4',
  'SIZEOF_UNSIGNED_LONG_INT 8',
  'SIZEOF_UNSIGNED_LONG_LONG_INT 8',
  'NBD_LFS 1',
];

const source = process.argv[2];
if (source === undefined || !existsSync(join(source, 'tests', 'run', 'nbd-tester-client.c'))) {
  console.error('npm run nbd-tester -- SOURCE, where there is SOURCE/tests/run/nbd-tester-client.c: the unpacked source of nbd');
  process.exit(2);
}

/** The client, compiled. */
async function build(directory: string): Promise<string> {
  writeFileSync(join(directory, 'config.h'), CONFIG.map(line => `#define ${line}\n`).join(''));
  const flags = (await check(['pkg-config', '--cflags', '--libs', 'glib-2.0', 'gnutls'])).trim().split(/\s+/);
  const files = ['tests/run/nbd-tester-client.c', 'cliserv.c', 'buffer.c', 'crypto-gnutls.c'].map(name => join(source!, name));
  const client = join(directory, 'nbd-tester-client');
  await check(['gcc', '-O1', '-w', `-I${directory}`, `-I${source!}`, '-o', client, ...files, ...flags]);
  return client;
}

const REQUEST_BYTES = 28;
const REPLY_BYTES = 16;
const DISC = 2;

/**
 * integrityhuge's trace (requests, each with its reply; a DISC last), with no request above 32 MiB: it has some to 50 MB, which nbd-server takes and no client
 * may send that has been told a smaller maximum (proto.md, "Size constraints").
 */
function withinMaximum(directory: string): string {
  const trace = readFileSync(join(source!, 'tests', 'run', 'integrityhuge-test.tr'));
  for (let at = 0; at < trace.length; at += REQUEST_BYTES + REPLY_BYTES) {
    if (trace.readUInt16BE(at + 6) === DISC) break;
    trace.writeUInt32BE(Math.min(trace.readUInt32BE(at + 24), MAX_PAYLOAD_BYTES), at + 24);
  }
  const path = join(directory, 'integrityhuge.tr');
  writeFileSync(path, trace);
  return path;
}

type Kind = readonly [name: string, server: 'plain' | 'tls', ...args: string[]];

function kinds(directory: string): Kind[] {
  const integrity = ['-i', '-t', join(source!, 'tests', 'run', 'integrity-test.tr')];
  const huge = ['-i', '-t', withinMaximum(directory)];
  const file = (name: string): string => join(directory, `${name}.pem`);
  const identity = (name: string): string[] => [
    '-C',
    file(`${name}-cert`),
    '-K',
    file(`${name}-key`),
    '-A',
    file('ca-cert'),
    '-H',
    'localhost',
  ];
  return [
    ['cfg1', 'plain', '-N', 'disk'],
    ['cfgsize', 'plain', '-o', '-N', 'disk'],
    ['write', 'plain', '-w', '-N', 'disk'],
    ['flush', 'plain', '-w', '-f', '-N', 'disk'],
    ['rowrite', 'plain', '-w', '-F', '-N', 'frozen'],
    ['integrity', 'plain', ...integrity, '-N', 'disk'],
    ['integrityhuge', 'plain', ...huge, '-N', 'disk'],
    ['handshake', 'plain', '-h', '-N', 'disk'],
    ['tls', 'tls', ...integrity, ...identity('client'), '-N', 'disk'],
    ['tlshuge', 'tls', ...huge, ...identity('client'), '-N', 'disk'],
    ['tlswrongcert', 'tls', ...identity('stranger'), '-F', '-N', 'disk'],
  ];
}

const directory = mkdtempSync(join(tmpdir(), 'nbd-tester-'));
let failed = 0;
try {
  const client = await build(directory);
  const certificates = Certificates.make(directory);
  const credentials = {
    cert: certificates.read('server-cert.pem'),
    key: certificates.read('server-key.pem'),
    clientCa: certificates.read('ca-cert.pem'),
  };
  for (const engine of ENGINES) {
    const memory = [
      { name: 'disk', sizeBytes: 64 * MIB },
      { name: 'frozen', sizeBytes: 4 * MIB, readOnly: true },
    ];
    for (const [name, kind, ...args] of kinds(directory)) {
      // A new one each time: some kinds want a disk of zeroes.
      const tls = kind === 'tls' ? { tls: { mode: 'forced', credentials } as const } : {};
      const server = await TestServer.start({ engine, memory, address: { family: 'tcp', host: '127.0.0.1', port: 0 }, ...tls });
      const { port } = server.address as { port: number };
      const { code, stderr } = await run([client, ...args, '127.0.0.1', String(port)], { timeoutMs: TIMEOUT_MS });
      await server.stop();
      if (code !== 0) failed++;
      console.log(`${code === 0 ? 'ok  ' : 'FAIL'}  ${engine}: ${name}${code === 0 ? '' : `\n${stderr.slice(-MAX_REASON_CHARS)}`}`);
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(failed === 0 ? 'nbd-tester-client: every kind passes' : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
