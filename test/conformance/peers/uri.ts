import type { Endpoint, EndpointKind, Peer } from '../peer.js';
import { parseUri } from '../uri.js';

/** Whatever serves at a URI. Its export is written to. */
export class UriPeer implements Peer {
  readonly #endpoint: Endpoint;
  readonly #kind: EndpointKind;

  constructor(
    uri: string,
    readonly name = uri,
  ) {
    const { target, exportName, tls } = parseUri(uri);
    this.#endpoint = { target, exportName, ...(tls === null ? {} : { tls }) };
    // Of a server that wants TLS nothing is to be had without it: it is asked what concerns TLS alone.
    this.#kind = tls === null ? 'plain' : 'tlsForced';
  }

  endpoint(kind: EndpointKind): Promise<Endpoint | null> {
    return Promise.resolve(kind === this.#kind ? this.#endpoint : null);
  }

  async stop(): Promise<void> {}
}
