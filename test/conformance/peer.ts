import type { ConnectionOptions } from 'node:tls';
import type { Target } from '../../src/nbd-server-ts/test/support/raw-client.js';

/**
 * What a row may ask a server for:
 *   plain         read and write, at least 48 MiB, which the rows may overwrite
 *   readOnly      a read-only export
 *   minimumBlock  an export with a minimum block size above 1
 *   noList        a server that does not list its exports
 *   tls*          a server in the mode FORCEDTLS or SELECTIVETLS (there with an export that demands TLS, `tlsOnlyName`), one that wants certificates
 *   resizable     an export that takes NBD_CMD_RESIZE
 *   contexts      an export with metadata contexts beside base:allocation
 *   impatient     a server with a handshake time-out of less than a second
 *   crowded       a server with room for `maxConnections` clients
 */
export type EndpointKind =
  | 'plain'
  | 'readOnly'
  | 'minimumBlock'
  | 'noList'
  | 'tlsForced'
  | 'tlsSelective'
  | 'tlsCertificates'
  | 'resizable'
  | 'contexts'
  | 'impatient'
  | 'crowded';

export interface Endpoint {
  readonly target: Target;
  readonly exportName: string;
  /** Another export of the same server. */
  readonly otherName?: string;
  readonly maxConnections?: number;
  /** Of a server in SELECTIVETLS: an export that is served in TLS alone. */
  readonly tlsOnlyName?: string;
  /** What a client needs for TLS here. */
  readonly tls?: ConnectionOptions;
  /** Without the client's certificate. */
  readonly tlsAnonymous?: ConnectionOptions;
  /** With a certificate of an authority that the server does not know. */
  readonly tlsStranger?: ConnectionOptions;
}

/** A server under test. */
export interface Peer {
  readonly name: string;
  /** Null: it has nothing of the kind. */
  endpoint(kind: EndpointKind): Promise<Endpoint | null>;
  /** Memory in use, of a server in a process of its own. */
  residentBytes?(): number;
  /** A server that is closing and waits for one connection's last request: connected clients are told so. */
  closing?(): Promise<{ readonly endpoint: Endpoint; readonly begin: () => Promise<void>; readonly end: () => Promise<void> }>;
  stop(): Promise<void>;
}
