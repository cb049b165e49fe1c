import { createSecureContext } from 'node:tls';
import type { ServerLimits, TlsCredentials } from 'nbd-server-ts';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import { MAX_NBD_CONNECTIONS } from '../limits.js';
import { formatTcp, hostPort, isAnyAddress, isLoopback, milliseconds, path, size } from './fields.js';
import { readNamed } from './named-file.js';

const LEAST_READ_BYTES = 1 << 20;
/** An identity as psktool takes it, and a key in hex of 16 to 64 bytes. */
const PSK_LINE = /^([^:#\s][^:\s]{0,127}):((?:[0-9a-fA-F]{2}){16,64})$/;

const nbdTlsConfig = z.strictObject(
  { cert: path.optional(), key: path.optional(), clientCa: path.optional(), psk: path.optional() },
  'it has to be a section with cert and key, or psk',
);

/** What clients of NBD may have, and how long they may take. */
export const nbdConfig = z
  .strictObject({
    listen: hostPort.optional(),
    tls: nbdTlsConfig.optional(),
    handshakeTimeoutMs: milliseconds(100).optional(),
    idleTimeoutMs: z
      .union([z.literal('never').transform(() => 0), milliseconds(1_000)], 'it has to be a number of ms, or never')
      .optional(),
    maxConnections: z
      .number('it has to be a number')
      .int('it has to be a whole number')
      .min(1, 'at least 1')
      .max(MAX_NBD_CONNECTIONS, `at most ${MAX_NBD_CONNECTIONS} are possible`)
      .optional(),
    maxReadBytes: size(LEAST_READ_BYTES, '1M').optional(),
  })
  .check(({ value: { listen, tls }, value, issues }) => {
    const issue = (key: string, message: string): void => void issues.push({ code: 'custom', input: value, path: [key], message });
    if ((listen === undefined) !== (tls === undefined))
      return issue(listen === undefined ? 'tls' : 'listen', 'NBD over TCP is served in TLS alone: "listen" and "tls" go together');
    if (listen === undefined || tls === undefined) return;
    const { cert, key, clientCa, psk } = tls;
    if ((cert === undefined) !== (key === undefined) || (cert === undefined && psk === undefined))
      issue('tls', 'it needs a certificate and its key ("cert", "key"), or pre-shared keys ("psk")');
    if (clientCa !== undefined && cert === undefined) issue('tls', '"clientCa" needs "cert" and "key" beside it');
    if (!isLoopback(listen.host) && clientCa === undefined && psk === undefined)
      issue(
        'tls',
        'whoever reaches this address could read and write all disks: name the authority of the clients in "clientCa", or "psk"',
      );
    if (isAnyAddress(listen.host)) issue('listen', 'clients cannot connect to it: name the address at which they reach this host');
  });
export type NbdConfig = z.infer<typeof nbdConfig>;

export interface NbdSettings {
  readonly limits: Partial<ServerLimits>;
  /** NBD over TCP, in TLS alone; null: the Unix socket is all there is. */
  readonly tcp: { readonly host: string; readonly port: number; readonly advertised: string; readonly credentials: TlsCredentials } | null;
}

/** Reads the files that the section names. */
export function nbdSettings({ listen, tls, ...limits }: NbdConfig): NbdSettings {
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  if (listen === undefined || tls === undefined) return { limits: given, tcp: null };
  const credentials: TlsCredentials = {
    ...(tls.cert === undefined || tls.key === undefined ? {} : { cert: read('cert', tls.cert), key: read('key', tls.key) }),
    ...(tls.clientCa === undefined ? {} : { clientCa: read('clientCa', tls.clientCa) }),
    ...(tls.psk === undefined ? {} : { psk: preSharedKeys(tls.psk) }),
  };
  try {
    const { cert, key, clientCa } = credentials;
    createSecureContext({ ...(cert === undefined ? {} : { cert, key }), ...(clientCa === undefined ? {} : { ca: clientCa }) });
  } catch (cause) {
    throw invalid(`nbd.tls: the certificates cannot be used: ${(cause as Error).message}`, 'name a PEM certificate and its own key', cause);
  }
  return { limits: given, tcp: { ...listen, advertised: formatTcp(listen), credentials } };
}

function read(name: string, file: string): string {
  return readNamed(`nbd.tls.${name}`, file).toString('utf8');
}

/** `identity:hex` a line, as GnuTLS's psktool writes them. */
function preSharedKeys(file: string): Record<string, string> {
  const keys: Record<string, string> = {};
  for (const [index, line] of read('psk', file).split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const found = PSK_LINE.exec(line.trim());
    if (found === null)
      throw invalid(
        `nbd.tls.psk: line ${index + 1} of ${file} is not IDENTITY:KEY with a key of 16 bytes or more in hex`,
        'make it with psktool',
      );
    keys[found[1]!] = found[2]!;
  }
  if (Object.keys(keys).length === 0) throw invalid(`nbd.tls.psk: ${file} has no keys`, 'make one with psktool');
  return keys;
}

function invalid(message: string, action: string, cause?: unknown): GatepathError {
  return new GatepathError('invalid', 'ERR_CONFIG', message, action, cause === undefined ? undefined : { cause });
}
