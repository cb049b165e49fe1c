import type { Target } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import type { Endpoint, EndpointKind, Peer } from '../peer.js';

const DEFAULT_PORT = 10_809;

/** `nbd://HOST[:PORT]/NAME` or `nbd+unix:///NAME?socket=PATH`. */
export function parseUri(text: string): { target: Target; exportName: string } {
  const uri = new URL(text);
  const exportName = decodeURIComponent(uri.pathname.replace(/^\//, ''));
  if (uri.protocol === 'nbd+unix:') {
    const socket = uri.searchParams.get('socket');
    if (socket === null) throw new Error(`${text}: a Unix URI needs ?socket=PATH`);
    return { target: socket, exportName };
  }
  if (uri.protocol !== 'nbd:') throw new Error(`${text}: nbd:// or nbd+unix:// is wanted`);
  const host = uri.hostname.replace(/^\[|\]$/g, '');
  return { target: { host: host === '' ? 'localhost' : host, port: uri.port === '' ? DEFAULT_PORT : Number(uri.port) }, exportName };
}

/** Whatever serves at a URI. Its export is written to. */
export class UriPeer implements Peer {
  readonly #endpoint: Endpoint;

  constructor(
    uri: string,
    readonly name = uri,
  ) {
    this.#endpoint = parseUri(uri);
  }

  endpoint(kind: EndpointKind): Promise<Endpoint | null> {
    return Promise.resolve(kind === 'plain' ? this.#endpoint : null);
  }

  async stop(): Promise<void> {}
}
