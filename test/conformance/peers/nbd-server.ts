import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EndpointKind } from '../peer.js';
import { freePort, SpawnedPeer, type Launch } from './spawned.js';

const EXPORT = 'disk';
const MAX_CONNECTIONS = 4;

/** The reference implementation, over TCP: at a Unix socket it serves without options. */
export class NbdServerOfNbd extends SpawnedPeer {
  readonly name = 'nbd-server';

  protected async launch(kind: EndpointKind): Promise<Launch | null> {
    if (!['plain', 'readOnly', 'noList', 'tlsForced', 'tlsSelective', 'tlsCertificates', 'crowded'].includes(kind)) return null;
    const image = this.path(`${kind}.img`);
    writeFileSync(image, '');
    truncateSync(image, 64 << 20);
    const port = await freePort();
    const general = ['[generic]', `port = ${port}`, 'listenaddr = 127.0.0.1', `allowlist = ${kind !== 'noList'}`];
    if (kind.startsWith('tls')) {
      const { directory } = this.certificates;
      general.push(`certfile = ${join(directory, 'server-cert.pem')}`, `keyfile = ${join(directory, 'server-key.pem')}`);
      general.push(`cacertfile = ${join(directory, 'ca-cert.pem')}`);
      if (kind !== 'tlsSelective') general.push('force_tls = true');
    }
    const one = (name: string, more: string[] = []): string[] => [
      `[${name}]`,
      `exportname = ${image}`,
      'flush = true',
      'fua = true',
      'trim = true',
      `readonly = ${kind === 'readOnly'}`,
      ...(kind === 'crowded' ? [`maxconnections = ${MAX_CONNECTIONS}`] : []),
      ...more,
    ];
    const only = kind === 'tlsSelective' ? one('secret', ['force_tls = true']) : [];
    const config = this.path(`${kind}.conf`);
    writeFileSync(config, [...general, ...one(EXPORT), ...only, ''].join('\n'));
    const tls = kind.startsWith('tls')
      ? {
          tls: this.certificates.client,
          tlsAnonymous: this.certificates.anonymous,
          tlsStranger: this.certificates.stranger,
          tlsOnlyName: 'secret',
        }
      : {};
    const pidFile = this.path(`${kind}.pid`);
    return {
      argv: ['nbd-server', '-C', config, '-p', pidFile],
      pidFile,
      endpoint: { target: { host: '127.0.0.1', port }, exportName: EXPORT, maxConnections: MAX_CONNECTIONS, ...tls },
    };
  }
}
