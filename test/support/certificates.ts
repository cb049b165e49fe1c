import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { check } from './process.js';
import { program } from './programs.js';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority of a test's own, valid for a day, for addresses on loopback. Needs openssl. */
export class Authority {
  private constructor(
    private readonly directory: string,
    readonly name: string,
  ) {}

  static async create(directory: string, name = 'ca'): Promise<Authority> {
    const authority = new Authority(directory, name);
    const { cert, key } = authority.#files(name);
    await openssl('req', '-x509', ...NEW_KEY, '-days', '1', '-subj', `/CN=${name}`, '-keyout', key, '-out', cert);
    return authority;
  }

  /** The file of its own certificate. */
  get ca(): string {
    return this.#files(this.name).cert;
  }

  /** `role`: its OU. `days`: less than 0 for one that has expired. */
  async issue(name: string, { role, days = 1 }: { readonly role?: string; readonly days?: number } = {}): Promise<Certificate> {
    const { cert, key } = this.#files(name);
    const request = join(this.directory, `${name}.csr`);
    const extensions = join(this.directory, `${name}.ext`);
    writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n');
    await openssl('req', ...NEW_KEY, '-subj', `${role === undefined ? '' : `/OU=${role}`}/CN=${name}`, '-keyout', key, '-out', request);
    const own = this.#files(this.name);
    const signed = ['-CA', own.cert, '-CAkey', own.key, '-CAcreateserial', '-days', String(days), '-extfile', extensions];
    await openssl('x509', '-req', '-in', request, ...signed, '-out', cert);
    return { cert, key };
  }

  #files(name: string): Certificate {
    return { cert: join(this.directory, `${name}.crt`), key: join(this.directory, `${name}.key`) };
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

async function openssl(...args: readonly string[]): Promise<void> {
  await check([program('openssl'), ...args]);
}
