import type { TlsPeer } from './tls/credentials.js';

/** Why a certificate is not one for what its owner asks. */
export interface CertificateRefusal {
  readonly code: string;
  readonly message: string;
}

const CODE = 'ERR_PEER_CERTIFICATE';

/** Only a node's certificate speaks as a Stargate. `certified`: null where nobody was asked for a certificate. */
export function checkIsNode(certified: TlsPeer | null): CertificateRefusal | null {
  if (certified === null || certified.role === 'node') return null;
  return { code: CODE, message: `the certificate of the ${certified.role} "${certified.name}" is not one of a node` };
}

/** And for no other node than its own. */
export function checkNode(certified: TlsPeer | null, node: string): CertificateRefusal | null {
  if (certified === null || certified.name === node) return null;
  return { code: CODE, message: `the certificate of the node "${certified.name}" does not speak for "${node}"` };
}
