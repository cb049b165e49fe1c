import { createSecureContext } from 'node:tls';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import { ownCertificate, type TlsCredentials } from '../../transport/tls/credentials.js';
import { path } from './fields.js';
import { readNamed } from './named-file.js';

/** For everything over TCP: the cluster's authority, and what this process shows of itself. */
export const tlsConfig = z.strictObject({ ca: path, cert: path, key: path }, 'it has to be a section with ca, cert and key');
export type TlsConfig = z.infer<typeof tlsConfig>;

/** Reads the files that the section names, and sees that they can do what they are for. `node`: whose they have to be; null: a datapath's. */
export function tlsCredentials({ ca, cert, key }: TlsConfig, node: string | null, log: Logger): TlsCredentials {
  const read = (name: keyof TlsConfig, file: string): string => readNamed(`tls.${name}`, file).toString('utf8');
  const credentials = { ca: read('ca', ca), cert: read('cert', cert), key: read('key', key) };
  const own = checked(credentials);
  const { peer, validTo, expired } = own;
  if (typeof peer === 'string') throw invalid(`tls.cert: ${cert} cannot be used: ${peer}`);
  if (node !== null && (peer.role !== 'node' || peer.name !== node)) {
    throw invalid(`tls.cert: ${cert} is the certificate of the ${peer.role} "${peer.name}", and this is the node "${node}"`);
  }
  if (expired) log.log('error', 'the certificate of this process has expired: others refuse it', { cert, validTo });
  return credentials;
}

function checked(credentials: TlsCredentials): ReturnType<typeof ownCertificate> {
  try {
    createSecureContext(credentials);
    return ownCertificate(credentials.cert);
  } catch (cause) {
    throw invalid(`tls: the certificates cannot be used: ${(cause as Error).message}`, cause);
  }
}

const ACTION = 'name ca.crt of the cluster, and the certificate and key that "gatepath cluster join" made for this member';

function invalid(message: string, cause?: unknown): GatepathError {
  return new GatepathError('invalid', 'ERR_CONFIG', message, ACTION, cause === undefined ? undefined : { cause });
}
