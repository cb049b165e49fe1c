import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { parseNbdUri, type NbdUriTls } from '../../src/nbd-client/uri.js';
import type { Target } from '../../src/nbd-server-ts/test/support/raw-client.js';

export interface ServerUri {
  readonly target: Target;
  readonly exportName: string;
  /** Of nbds and nbds+unix; null: without TLS. */
  readonly tls: ConnectionOptions | null;
}

/** The URI of a server to test, with its certificates read. Throws where it is none. */
export function parseUri(text: string): ServerUri {
  const { target, exportName, tls } = parseNbdUri(text);
  return { target, exportName, tls: tls === null ? null : connectionOptions(text, tls) };
}

function connectionOptions(text: string, { hostname, isVerified, certificates }: NbdUriTls): ConnectionOptions {
  if (certificates !== null && !existsSync(join(certificates, 'ca-cert.pem'))) {
    throw new Error(`${text}: tls-certificates: no ca-cert.pem in ${certificates}`);
  }
  const file = (name: string): Buffer | undefined => {
    const path = join(certificates ?? '', name);
    return certificates !== null && existsSync(path) ? readFileSync(path) : undefined;
  };
  const files = { ca: file('ca-cert.pem'), cert: file('client-cert.pem'), key: file('client-key.pem') };
  const found = Object.fromEntries(Object.entries(files).filter(([, content]) => content !== undefined));
  return { ...found, ...(hostname === '' ? {} : { servername: hostname }), rejectUnauthorized: isVerified };
}
