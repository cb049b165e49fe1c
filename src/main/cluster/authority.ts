import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import { name } from '../../meta/model.js';
import { findProgram } from '../../cli/programs.js';
import { writeFileDurably } from '../write-file.js';

/**
 * A cluster's certificate authority in a directory of its administrator: `cluster.json` (its id), `ca.crt`, `ca.key`, and NAME.crt and NAME.key of
 * each member. By openssl: it is on every machine that has TLS at all, an administrator runs this a few times in a cluster's life, and a library
 * for it would bring a dozen packages into every node.
 */

const clusterFormat = z.object({ product: z.literal('gatepath'), clusterId: z.uuid(), createdAt: z.string() });

const AUTHORITY_DAYS = 3_650;
const CERTIFICATE_DAYS = 825;
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

export type Role = 'node' | 'datapath' | 'client';

export interface CertificateWish {
  readonly role: Role;
  readonly name: string;
  /** Host names and IP addresses under which it is reached. */
  readonly hosts: readonly string[];
}

export interface Issued {
  readonly cert: string;
  readonly key: string;
}

/** Makes the authority in a directory that is empty or new. Gives the cluster's id. */
export function createAuthority(directory: string): string {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const foreign = readdirSync(directory)[0];
  if (foreign !== undefined) {
    const action = 'name a new directory; for another member of the cluster that is there: gatepath cluster join';
    throw invalid('ERR_NOT_EMPTY', `${directory} is not empty: it holds "${foreign}"`, action);
  }
  const clusterId = randomUUID();
  const { key, cert } = filesOf(directory, 'ca');
  const subject = ['-subj', `/O=gatepath ${clusterId}/CN=gatepath ca`];
  const constraints = ['-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  const extensions = ['-config', '/dev/null', ...constraints, '-addext', 'subjectKeyIdentifier=hash'];
  openssl(
    'req',
    '-x509',
    '-new',
    ...NEW_KEY,
    '-sha256',
    '-days',
    String(AUTHORITY_DAYS),
    ...subject,
    ...extensions,
    '-keyout',
    key,
    '-out',
    cert,
  );
  // Last: with it the authority is there.
  const content = { product: 'gatepath', clusterId, createdAt: new Date().toISOString() };
  writeFileDurably(join(directory, 'cluster.json'), `${JSON.stringify(content, null, 2)}\n`);
  return clusterId;
}

/** Of the authority that is in the directory. */
export function clusterIdIn(directory: string): string {
  const file = join(directory, 'cluster.json');
  try {
    return clusterFormat.parse(JSON.parse(readFileSync(file, 'utf8'))).clusterId;
  } catch (cause) {
    const message = `${directory} has no authority of a cluster in it: ${(cause as Error).message}`;
    throw new GatepathError('invalid', 'ERR_NO_AUTHORITY', message, 'name the directory that "gatepath cluster init" made', { cause });
  }
}

/** A certificate for one member, whose name and role are in it: CN is the name, OU the role, O the cluster. */
export function issue(directory: string, wish: CertificateWish): Issued {
  const clusterId = clusterIdIn(directory);
  checkWish(wish);
  const files = filesOf(directory, wish.name);
  if (existsSync(files.cert) || wish.name === 'ca') {
    throw invalid(
      'ERR_EXISTS',
      `there is a certificate of "${wish.name}" in ${directory} already`,
      'choose another name, or remove its files to replace it',
    );
  }
  const ca = filesOf(directory, 'ca');
  const work = mkdtempSync(join(directory, '.new-'));
  try {
    const [request, extensions, key, cert] = ['request', 'extensions', 'key', 'cert'].map(file => join(work, file)) as [
      string,
      string,
      string,
      string,
    ];
    const names = wish.hosts.map(host => `${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`);
    const lines = [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      `extendedKeyUsage=${wish.role === 'node' ? 'serverAuth,clientAuth' : 'clientAuth'}`,
      ...(names.length === 0 ? [] : [`subjectAltName=${names.join(',')}`]),
    ];
    writeFileSync(extensions, `${lines.join('\n')}\n`);
    const subject = `/O=gatepath ${clusterId}/OU=${wish.role}/CN=${wish.name}`;
    openssl('req', '-new', ...NEW_KEY, '-sha256', '-config', '/dev/null', '-subj', subject, '-keyout', key, '-out', request);
    const serial = `0x${randomUUID().replaceAll('-', '')}`.replace(/^0x./, '0x1');
    const signed = ['-CA', ca.cert, '-CAkey', ca.key, '-set_serial', serial, '-days', String(CERTIFICATE_DAYS), '-sha256'];
    openssl('x509', '-req', '-in', request, ...signed, '-extfile', extensions, '-out', cert);
    renameSync(key, files.key);
    renameSync(cert, files.cert);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return files;
}

/** They go into a certificate's text: nothing but names and addresses. */
function checkWish({ name: member, hosts }: CertificateWish): void {
  const parsed = name.safeParse(member);
  if (!parsed.success) throw invalid('ERR_NAME', `"${member}" is no name: ${parsed.error.issues[0]!.message}`, 'choose another name');
  const wrong = hosts.find(host => isIP(host) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(host));
  if (wrong !== undefined) throw invalid('ERR_NAME', `"${wrong}" is neither a host name nor an IP address`, 'like --host 10.0.0.1');
}

const filesOf = (directory: string, member: string): Issued => ({
  cert: join(directory, `${member}.crt`),
  key: join(directory, `${member}.key`),
});

function openssl(...args: readonly string[]): void {
  const program = findProgram('openssl');
  if (program === undefined) {
    throw invalid(
      'ERR_NO_OPENSSL',
      'certificates are made by openssl, and there is no such program here',
      'install it (apt install openssl)',
    );
  }
  try {
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 30_000 });
  } catch (cause) {
    const { stderr } = cause as { stderr?: Buffer };
    throw invalid(
      'ERR_OPENSSL',
      `openssl ${args[0]!} failed: ${stderr?.toString('utf8').trim() ?? String(cause)}`,
      'see that the directory can be written',
    );
  }
}

const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
