import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { createAuthority, issue } from '../../src/main/cluster/authority.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const missing = missingPrograms('openssl');

describe.skipIf(missing.length > 0)(`a cluster's authority${missingNote(missing)}`, () => {
  const dir = makeTempDir('authority');
  afterAll(() => removeTempDir(dir));
  const files = (directory: string, member: string) => ({
    ca: readFileSync(join(dir, directory, 'ca.crt')),
    cert: readFileSync(join(dir, directory, `${member}.crt`)),
    key: readFileSync(join(dir, directory, `${member}.key`)),
  });

  /** What a server of the first that asks for certificates says of the second. */
  async function meet(server: ReturnType<typeof files>, client: ReturnType<typeof files>): Promise<string> {
    const listener = createServer({ ...server, requestCert: true, rejectUnauthorized: true });
    await new Promise<void>(resolve => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as AddressInfo;
    try {
      return await new Promise<string>(resolve => {
        listener.once('secureConnection', (socket: TLSSocket) => {
          const { subject } = socket.getPeerCertificate();
          resolve(`${String(subject.OU)} ${String(subject.CN)}`);
        });
        listener.once('tlsClientError', error => resolve(`refused by the server: ${error.message}`));
        const socket = connect({ ...client, port, host: '127.0.0.1' });
        socket.once('error', error => resolve(`refused by the client: ${error.message}`));
      });
    } finally {
      listener.close();
    }
  }

  it('lets its members know each other, by name and role, and nobody else', async () => {
    const id = createAuthority(join(dir, 'one'));
    createAuthority(join(dir, 'two'));
    issue(join(dir, 'one'), { role: 'node', name: 'node-1', hosts: ['127.0.0.1', 'n1.example'] });
    issue(join(dir, 'one'), { role: 'datapath', name: 'host-1', hosts: ['127.0.0.1'] });
    issue(join(dir, 'two'), { role: 'node', name: 'node-1', hosts: ['127.0.0.1'] });
    expect(await meet(files('one', 'node-1'), files('one', 'host-1'))).toBe('datapath host-1');
    expect(await meet(files('one', 'node-1'), files('one', 'node-1'))).toBe('node node-1');
    expect(await meet(files('one', 'node-1'), files('two', 'node-1'))).toContain('refused');
    // A datapath's certificate is none of a server.
    expect(await meet(files('one', 'host-1'), files('one', 'node-1'))).toContain('refused');
    const { subject, subjectAltName, ca } = new X509Certificate(files('one', 'node-1').cert);
    expect([subject, subjectAltName, ca]).toEqual([`O=gatepath ${id}\nOU=node\nCN=node-1`, 'IP Address:127.0.0.1, DNS:n1.example', false]);
    for (const name of readdirSync(join(dir, 'one')).filter(one => one.endsWith('.key'))) {
      expect(statSync(join(dir, 'one', name)).mode & 0o077, name).toBe(0);
    }
  });

  it('makes none twice, none for names that are none, and none where it is not', () => {
    createAuthority(join(dir, 'three'));
    issue(join(dir, 'three'), { role: 'client', name: 'admin', hosts: [] });
    const refused = (directory: string, member: string, ...hosts: readonly string[]) => {
      try {
        issue(join(dir, directory), { role: 'node', name: member, hosts });
      } catch (error) {
        return (error as { code: string }).code;
      }
      return 'issued';
    };
    expect(refused('three', 'admin')).toBe('ERR_EXISTS');
    expect(refused('three', 'ca')).toBe('ERR_EXISTS');
    expect(refused('three', 'a/b')).toBe('ERR_NAME');
    expect(refused('three', 'n', 'x\nextendedKeyUsage=any')).toBe('ERR_NAME');
    expect(refused('nowhere', 'n')).toBe('ERR_NO_AUTHORITY');
    expect(() => createAuthority(join(dir, 'three'))).toThrow('is not empty');
    expect(readdirSync(join(dir, 'three')).sort()).toEqual(['admin.crt', 'admin.key', 'ca.crt', 'ca.key', 'cluster.json']);
  });
});
