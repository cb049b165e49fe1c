import { X509Certificate } from 'node:crypto';
import type { PeerCertificate, SecureVersion } from 'node:tls';

/** PEM: the cluster's authority, and what this process shows of itself. */
export interface TlsCredentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Who is at the other end, as a certificate of the cluster's authority says: OU is the role, CN the name. */
export interface TlsPeer {
  readonly role: 'node' | 'datapath';
  readonly name: string;
}

/** Both ends are ours. */
const MIN_VERSION: SecureVersion = 'TLSv1.3';

/** Why this is nobody who has anything to do here, or who it is. */
export function peerOf(subject: { readonly OU?: unknown; readonly CN?: unknown }): TlsPeer | string {
  const { OU: role, CN: name } = subject;
  if (typeof name !== 'string' || name === '') return 'its certificate has no name (CN)';
  if (role === 'node' || role === 'datapath') return { role, name };
  return `its certificate is of "${name}" with the role (OU) "${String(role)}"; it has to be node or datapath`;
}

/** In the process's own certificate. Throws where it cannot be read. */
export function ownCertificate(pem: string): { readonly peer: TlsPeer | string; readonly validTo: string; readonly expired: boolean } {
  const certificate = new X509Certificate(pem);
  const fields = certificate.subject
    .split('\n')
    .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const);
  const { validTo } = certificate;
  return { peer: peerOf(Object.fromEntries(fields)), validTo, expired: new Date(validTo) < new Date() };
}

/** Options of a server that knows its clients. */
export function serverOptions({ ca, cert, key }: TlsCredentials) {
  return { ca, cert, key, minVersion: MIN_VERSION, requestCert: true, rejectUnauthorized: true } as const;
}

/** Options of a client; `node`: the one that has to be there. Addresses do not count: a node is its name. */
export function clientOptions({ ca, cert, key }: TlsCredentials, node?: string) {
  const checkServerIdentity = (_host: string, { subject }: PeerCertificate): Error | undefined => {
    const peer = peerOf(subject);
    if (typeof peer === 'string') return new Error(peer);
    if (peer.role !== 'node') return new Error(`it is the ${peer.role} "${peer.name}" and no node`);
    if (node !== undefined && peer.name !== node) return new Error(`it is the node "${peer.name}", not "${node}"`);
    return undefined;
  };
  return { ca, cert, key, minVersion: MIN_VERSION, rejectUnauthorized: true, checkServerIdentity } as const;
}

/** An error of a handshake, for a log: what may be done about it where that is known. */
export function explain(error: Error & { code?: string | undefined }): string {
  const { message } = error;
  const code = sslCode(error);
  const why = REASONS[code] ?? REASONS[message];
  return why === undefined ? message : `${why} (${code === '' ? message : code})`;
}

/** Where it came up in a write, Node leaves it to OpenSSL's text to say what it was. */
function sslCode({ code = '', message }: Error & { code?: string | undefined }): string {
  const reason = code === 'EPROTO' ? /SSL routines:[^:]*:([^:]+)/.exec(message)?.[1] : undefined;
  return reason === undefined ? code : `ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`;
}

const NO_TLS = 'it does not speak TLS: is "tls" in its configuration?';
const FOREIGN = 'its certificate is not of the authority of this cluster ("ca")';
const NOT_OURS = 'it does not take the certificate of this process';
const REASONS: Readonly<Record<string, string>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it does not speak TLS 1.3',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it shows no certificate',
  SELF_SIGNED_CERT_IN_CHAIN: FOREIGN,
  DEPTH_ZERO_SELF_SIGNED_CERT: FOREIGN,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: FOREIGN,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: FOREIGN,
  UNABLE_TO_GET_ISSUER_CERT: FOREIGN,
  CERT_SIGNATURE_FAILURE: FOREIGN,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: are the clocks right?',
  INVALID_PURPOSE: 'its certificate is not made for this end of a connection',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'it does not finish the handshake in time',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: NOT_OURS,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: NOT_OURS,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: NOT_OURS,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: NOT_OURS,
};
