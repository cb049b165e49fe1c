import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import type { EndpointKind } from '../peer.js';
import { SpawnedPeer, type Launch } from './spawned.js';

const EXPORT = 'disk';
const SIZE = 64 << 20;
const MAX_CONNECTIONS = 4;

export class QemuNbd extends SpawnedPeer {
  readonly name = 'qemu-nbd';

  protected launch(kind: EndpointKind): Launch | null {
    if (kind === 'noList' || kind === 'resizable' || kind === 'impatient' || kind === 'minimumBlock') return null;
    const socket = this.path(`${kind}.sock`);
    const argv = [
      'qemu-nbd',
      '-k',
      socket,
      '-t',
      '-e',
      String(kind === 'crowded' ? MAX_CONNECTIONS : 200),
      '-x',
      EXPORT,
      '-D',
      'a disk',
      '--discard=unmap',
      '--cache=writeback',
    ];
    if (kind === 'readOnly') argv.push('-r');
    if (kind.startsWith('tls')) {
      const verify = kind === 'tlsCertificates' ? 'yes' : 'no';
      argv.push(
        '--object',
        `tls-creds-x509,id=tls0,endpoint=server,dir=${this.certificates.directory},verify-peer=${verify}`,
        '--tls-creds',
        'tls0',
      );
    }
    if (kind === 'contexts') argv.push('-A', '-B', 'b0', '-f', 'qcow2', this.#qcow2());
    else argv.push('-f', 'raw', this.#raw(kind));
    const tls = kind.startsWith('tls')
      ? { tls: this.certificates.client, tlsAnonymous: this.certificates.anonymous, tlsStranger: this.certificates.stranger }
      : {};
    // It has no SELECTIVETLS.
    return kind === 'tlsSelective'
      ? null
      : { argv, endpoint: { target: socket, exportName: EXPORT, maxConnections: MAX_CONNECTIONS, ...tls } };
  }

  #raw(kind: string): string {
    const path = this.path(`${kind}.img`);
    writeFileSync(path, '');
    truncateSync(path, SIZE);
    return path;
  }

  #qcow2(): string {
    const path = this.path('disk.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(SIZE)]);
    execFileSync('qemu-img', ['bitmap', '--add', path, 'b0']);
    return path;
  }
}
