import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type { Target } from '../../src/nbd-server-ts/test/support/raw-client.js';

/** doc/uri.md of NetworkBlockDevice/nbd. */
export interface NbdUri {
  readonly target: Target;
  readonly exportName: string;
  /** Of nbds and nbds+unix; null: without TLS. */
  readonly tls: ConnectionOptions | null;
}

const DEFAULT_PORT = 10_809;
const MAX_NAME_BYTES = 4_096;
/** What each scheme may be asked; `tls-*` are libnbd's. */
const QUERIES: Readonly<Record<string, readonly string[]>> = {
  'nbd:': [],
  'nbds:': ['tls-certificates', 'tls-hostname', 'tls-verify-peer'],
  'nbd+unix:': ['socket'],
  'nbds+unix:': ['socket', 'tls-certificates', 'tls-hostname', 'tls-verify-peer'],
};

/** Throws where the URI is none of NBD's, or asks for what is not known here. */
export function parseUri(text: string): NbdUri {
  const refuse = (why: string): never => {
    throw new Error(`${text}: ${why}`);
  };
  if (!URL.canParse(text)) refuse('no URI');
  const uri = new URL(text);
  const known = QUERIES[uri.protocol] ?? refuse(`the scheme ${uri.protocol} is none of nbd, nbds, nbd+unix, nbds+unix`);
  if (uri.username !== '' || uri.password !== '') refuse('user names are for TLS with a pre-shared key, which is not to be had here');
  if (uri.hash !== '') refuse('a "#" in an export’s name is written %23');
  for (const query of uri.searchParams.keys())
    if (!known.includes(query)) refuse(`unknown query "${query}"; with ${uri.protocol} there are: ${known.join(', ') || 'none'}`);
  const exportName = decode(uri.pathname.replace(/^\//, '')) ?? refuse('the export’s name is not UTF-8, or badly %-encoded');
  if (Buffer.byteLength(exportName) > MAX_NAME_BYTES || exportName.includes('\0')) refuse('the export’s name is too long, or has a NUL');
  return { target: targetOf(uri, refuse), exportName, tls: uri.protocol.startsWith('nbds') ? tlsOf(uri, refuse) : null };
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function targetOf(uri: URL, refuse: (why: string) => never): Target {
  if (!uri.protocol.endsWith('+unix:')) {
    const host = uri.hostname.replace(/^\[|\]$/g, '');
    return { host: host === '' ? 'localhost' : host, port: uri.port === '' ? DEFAULT_PORT : Number(uri.port) };
  }
  if (uri.host !== '') refuse('a Unix socket is on this machine: nbd+unix:///NAME?socket=PATH');
  const sockets = uri.searchParams.getAll('socket');
  return sockets.length === 1 && sockets[0] !== '' ? sockets[0]! : refuse('a Unix URI needs one ?socket=PATH');
}

function tlsOf({ searchParams, hostname }: URL, refuse: (why: string) => never): ConnectionOptions {
  const verify = searchParams.get('tls-verify-peer') ?? 'true';
  if (!['true', 'false', '1', '0'].includes(verify)) refuse(`tls-verify-peer is true or false, not ${verify}`);
  const servername = searchParams.get('tls-hostname') ?? hostname;
  const directory = searchParams.get('tls-certificates');
  const file = (name: string): Buffer | undefined => {
    const path = join(directory ?? '', name);
    return directory !== null && existsSync(path) ? readFileSync(path) : undefined;
  };
  if (directory !== null && !existsSync(join(directory, 'ca-cert.pem'))) refuse(`tls-certificates: no ca-cert.pem in ${directory}`);
  const files = { ca: file('ca-cert.pem'), cert: file('client-cert.pem'), key: file('client-key.pem') };
  const found = Object.fromEntries(Object.entries(files).filter(([, content]) => content !== undefined));
  return { ...found, ...(servername === '' ? {} : { servername }), rejectUnauthorized: verify === 'true' || verify === '1' };
}
