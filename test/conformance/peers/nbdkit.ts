import type { EndpointKind } from '../peer.js';
import { SpawnedPeer, type Launch } from './spawned.js';

const EXPORT = 'disk';
const OTHER = 'other';
const MAX_CONNECTIONS = 4;

/** nbdkit's memory plugin, which knows one export by name (as it is, it takes any name). */
export class Nbdkit extends SpawnedPeer {
  readonly name = 'nbdkit';

  protected launch(kind: EndpointKind): Launch | null {
    const extra = this.#extra(kind);
    if (extra === null) return null;
    const socket = this.path(`${kind}.sock`);
    const { filters = [], options = [], parameters = [] } = extra;
    const argv = [
      'nbdkit',
      '-f',
      '-U',
      socket,
      '--filter=exportname',
      ...filters.map(filter => `--filter=${filter}`),
      ...options,
      'memory',
      '64M',
    ];
    argv.push('exportname-strict=true', `exportname=${EXPORT}`, 'exportname-list=explicit', ...parameters);
    const tls = kind.startsWith('tls')
      ? { tls: this.certificates.client, tlsAnonymous: this.certificates.anonymous, tlsStranger: this.certificates.stranger }
      : {};
    const more = { ...(kind === 'plain' ? { otherName: OTHER } : {}), ...(kind === 'crowded' ? { maxConnections: MAX_CONNECTIONS } : {}) };
    return { argv, endpoint: { target: socket, exportName: EXPORT, ...tls, ...more } };
  }

  #extra(kind: EndpointKind): { filters?: string[]; options?: string[]; parameters?: string[] } | null {
    const certificates = (): string => `--tls-certificates=${this.certificates.directory}`;
    switch (kind) {
      case 'plain':
        return { parameters: [`exportname=${OTHER}`] };
      case 'crowded':
        return { filters: ['limit'], parameters: [`limit=${MAX_CONNECTIONS}`] };
      case 'readOnly':
        return { options: ['-r'] };
      case 'minimumBlock':
        return {
          filters: ['blocksize-policy'],
          parameters: ['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=32M', 'blocksize-error-policy=error'],
        };
      case 'tlsForced':
        return { options: ['--tls=require', certificates()] };
      case 'tlsSelective':
        return { options: ['--tls=on', certificates()] };
      case 'tlsCertificates':
        return { options: ['--tls=require', '--tls-verify-peer', certificates()] };
      default:
        return null;
    }
  }
}
