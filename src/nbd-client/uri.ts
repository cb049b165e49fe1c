import { GatepathError } from '../base/errors.js';

/** doc/uri.md of NetworkBlockDevice/nbd. */
export interface NbdUri {
  /** The path of a Unix socket, or where a TCP one is. */
  readonly target: string | { readonly host: string; readonly port: number };
  readonly exportName: string;
  /** Of nbds and nbds+unix; null: without TLS. */
  readonly tls: NbdUriTls | null;
}

export interface NbdUriTls {
  /** Whom the server's certificate has to be of; empty: not said. */
  readonly hostname: string;
  readonly isVerified: boolean;
  /** The folder of ca-cert.pem, client-cert.pem and client-key.pem; null: not said. */
  readonly certificates: string | null;
}

const DEFAULT_PORT = 10_809;
const MAX_NAME_BYTES = 4_096;
const TLS_QUERIES = ['tls-type', 'tls-certificates', 'tls-hostname', 'tls-verify-peer'] as const;
/** What each scheme may be asked: uri.md's own, and `tls-certificates`, which is libnbd's. */
const QUERIES: Readonly<Record<string, readonly string[]>> = {
  nbd: [],
  nbds: TLS_QUERIES,
  'nbd+unix': ['socket'],
  'nbds+unix': ['socket', ...TLS_QUERIES],
};

/** RFC 3986, section 2: what may stand in a URI. */
const CHARACTERS = /^(?:[\w\-.~:/?#[\]@!$&'()*+,;=]|%[\da-f]{2})*$/i;
/** Its appendix B. Not the URL of the web: that takes ".." out of an export's name, and a "+" in a query for a space. */
const PARTS = /^([a-z][a-z\d+.-]*):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?$/i;
const AUTHORITY = /^(?:([^@]*)@)?(\[[^\]]*\]|[^:@[\]]*)(?::(\d*))?$/;

type Refuse = (why: string) => never;

/** Throws GatepathError ERR_URI where it is none of NBD's, or asks for what is not known here. */
export function parseNbdUri(text: string): NbdUri {
  const refuse: Refuse = why => {
    const action = 'nbd://HOST:PORT/NAME, nbd+unix:///NAME?socket=PATH, nbds://HOST/NAME?tls-certificates=DIR';
    throw new GatepathError('invalid', 'ERR_URI', `${text}: ${why}`, action);
  };
  if (!CHARACTERS.test(text)) refuse("what is no letter, digit or one of -._~:/?#[]@!$&'()*+,;= is written %XX in a URI, in UTF-8");
  const [, written = '', authority = '', path = '', query, fragment] = PARTS.exec(text) ?? refuse('no URI');
  const scheme = written.toLowerCase();
  const known = QUERIES[scheme] ?? refuse(`the scheme ${written} is none of nbd, nbds, nbd+unix, nbds+unix`);
  if (fragment !== undefined) refuse('a "#" in an export’s name is written %23');
  const queries = queriesOf(query ?? '', refuse);
  for (const name of queries.keys())
    if (!known.includes(name)) refuse(`unknown query "${name}"; with ${scheme} there are: ${known.join(', ') || 'none'}`);
  const exportName = decode(path.replace(/^\//, '')) ?? refuse('the export’s name is not UTF-8');
  if (Buffer.byteLength(exportName) > MAX_NAME_BYTES || exportName.includes('\0')) refuse('the export’s name is too long, or has a NUL');
  const { host, port } = addressOf(authority, refuse);
  const tls = scheme.startsWith('nbds') ? tlsOf(queries, host, refuse) : null;
  if (!scheme.endsWith('+unix')) return { target: { host: host === '' ? 'localhost' : host, port }, exportName, tls };
  if (authority !== '') refuse('a Unix socket is on this machine: nbd+unix:///NAME?socket=PATH');
  const socket = queries.get('socket');
  return { target: socket !== undefined && socket !== '' ? socket : refuse('a Unix URI needs one ?socket=PATH'), exportName, tls };
}

/** Null: the bytes are no UTF-8. */
function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function queriesOf(text: string, refuse: Refuse): ReadonlyMap<string, string> {
  const queries = new Map<string, string>();
  for (const part of text.split(/[&;]/)) {
    if (part === '') continue;
    const at = part.indexOf('=');
    const [name, value] = at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)];
    const key = decode(name) ?? refuse('the name of a query is not UTF-8');
    if (queries.has(key)) refuse(`the query "${key}" stands twice: once is enough`);
    queries.set(key, decode(value) ?? refuse(`the value of "${key}" is not UTF-8`));
  }
  return queries;
}

function addressOf(authority: string, refuse: Refuse): { readonly host: string; readonly port: number } {
  const [, user, host = '', digits = ''] = AUTHORITY.exec(authority) ?? refuse(`"${authority}" is no HOST, HOST:PORT or [IPv6]:PORT`);
  if (user !== undefined) refuse('user names are for TLS with a pre-shared key, which is not to be had here');
  const port = digits === '' ? DEFAULT_PORT : Number(digits);
  if (port < 1 || port > 65_535) refuse(`a port is from 1 to 65535, not ${digits}`);
  return { host: decode(host.replace(/^\[|\]$/g, '')) ?? refuse('the host is not UTF-8'), port };
}

function tlsOf(queries: ReadonlyMap<string, string>, host: string, refuse: Refuse): NbdUriTls {
  const type = queries.get('tls-type') ?? 'x509';
  if (type !== 'x509') refuse(`tls-type is x509 here, not ${type}`);
  const verify = queries.get('tls-verify-peer') ?? 'true';
  if (!['true', 'false', '1', '0'].includes(verify)) refuse(`tls-verify-peer is 1 (true) or 0 (false), not ${verify}`);
  return {
    hostname: queries.get('tls-hostname') ?? host,
    isVerified: verify === 'true' || verify === '1',
    certificates: queries.get('tls-certificates') ?? null,
  };
}
