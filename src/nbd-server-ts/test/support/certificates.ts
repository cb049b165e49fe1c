import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';

/** A CA, a certificate for `localhost` and one for a client, and a client's that has signed itself, under the names that GnuTLS users (nbdkit, QEMU) look for. */
export class Certificates {
  private constructor(readonly directory: string) {}

  static make(directory: string): Certificates {
    const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
    const key = (name: string): string[] => [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-keyout',
      `${name}-key.pem`,
    ];
    openssl('req', '-x509', ...key('ca'), '-out', 'ca-cert.pem', '-subj', '/CN=test ca', '-days', '2');
    for (const [name, subject] of [
      ['server', 'localhost'],
      ['client', 'a client'],
    ] as const) {
      openssl('req', ...key(name), '-out', `${name}.csr`, '-subj', `/CN=${subject}`);
      writeFileSync(
        join(directory, `${name}.ext`),
        name === 'server' ? 'subjectAltName=DNS:localhost,IP:127.0.0.1' : 'extendedKeyUsage=clientAuth',
      );
      const sign = ['-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
      openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}-cert.pem`, ...sign);
    }
    openssl('req', '-x509', ...key('stranger'), '-out', 'stranger-cert.pem', '-subj', '/CN=a stranger', '-days', '2');
    return new Certificates(directory);
  }

  read(name: string): string {
    return readFileSync(join(this.directory, name), 'utf8');
  }

  get anonymous(): ConnectionOptions {
    return { ca: this.read('ca-cert.pem'), servername: 'localhost' };
  }

  get stranger(): ConnectionOptions {
    return { ...this.anonymous, cert: this.read('stranger-cert.pem'), key: this.read('stranger-key.pem') };
  }

  get client(): ConnectionOptions {
    return { ...this.anonymous, cert: this.read('client-cert.pem'), key: this.read('client-key.pem') };
  }
}
