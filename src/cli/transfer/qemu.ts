import { spawn } from 'node:child_process';
import { GatepathError } from '../../base/errors.js';
import { MAX_OUTPUT_BYTES } from './limits.js';
import type { Place } from './place.js';

/**
 * qemu-img reads and writes the images, and copies: it knows the formats, skips holes and zeroes on both sides, keeps many requests under way, and says at which byte it failed.
 * What it opens is described in JSON, driver by driver: no character of a name means anything there, and nothing is guessed from what a file contains.
 */
export interface Node {
  /** A block node of qemu, as its QAPI describes it. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Objects that it needs: credentials. */
  readonly objects: readonly Readonly<Record<string, unknown>>[];
}

export const jsonName = ({ options }: Node): string => `json:${JSON.stringify(options)}`;
export const objectArgs = (...nodes: readonly Node[]): string[] =>
  nodes.flatMap(({ objects }) => objects.flatMap(object => ['--object', JSON.stringify(object)]));

/** A file or block device as an image. */
export function fileNode({ path, isDevice, format }: Extract<Place, { kind: 'file' }>): Node {
  return { options: { driver: format, file: { driver: isDevice ? 'host_device' : 'file', filename: path } }, objects: [] };
}

/** An export of a Unix socket on this machine. */
export const socketNode = (socketPath: string, exportName: string): Node => ({
  options: { driver: 'raw', file: { driver: 'nbd', server: { type: 'unix', path: socketPath }, export: exportName } },
  objects: [],
});

const TLS_ID = 'tls0';

export function nbdNode({ uri }: Extract<Place, { kind: 'nbd' }>): Node {
  const { target, exportName, tls } = uri;
  const server = typeof target === 'string' ? unixServer(target) : { type: 'inet', host: target.host, port: String(target.port) };
  const secured = tls === null ? {} : { 'tls-creds': TLS_ID, ...(tls.hostname === '' ? {} : { 'tls-hostname': tls.hostname }) };
  const object = { 'qom-type': 'tls-creds-x509', id: TLS_ID, endpoint: 'client', dir: tls?.certificates, 'verify-peer': tls?.isVerified };
  const file = { driver: 'nbd', server, export: exportName, ...secured };
  return { options: { driver: 'raw', file }, objects: tls === null ? [] : [object] };
}

/** An abstract one begins with a NUL. */
const unixServer = (path: string): Record<string, unknown> =>
  path.startsWith('\0') ? { type: 'unix', path: path.slice(1), abstract: true } : { type: 'unix', path };

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  /** Its words, a line each, without its name in front. */
  readonly complaints: readonly string[];
}

export interface RunOptions {
  readonly signal: AbortSignal;
  /** Takes what it prints, instead of `stdout`. */
  readonly onOutput?: (text: string) => void;
}

/** Runs it to its end, whatever its exit status. Throws ERR_NO_QEMU where there is none, and the reason of the signal. */
export async function qemuImg(args: readonly string[], { signal, onOutput }: RunOptions): Promise<Ended> {
  signal.throwIfAborted();
  const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } });
  const stop = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', stop);
  const [stdout, stderr] = [new Text(onOutput), new Text()];
  child.stdout.setEncoding('utf8').on('data', (text: string) => stdout.take(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => stderr.take(text));
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once('error', cause => reject(noQemu(cause)));
      child.once('close', (code, ended) => resolve(code ?? (ended === null ? 1 : 128)));
    });
    signal.throwIfAborted();
    return { status, stdout: stdout.text, complaints: linesOf(stderr.text) };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class Text {
  text = '';
  constructor(private readonly onOutput?: (text: string) => void) {}

  take(text: string): void {
    if (this.onOutput !== undefined) this.onOutput(text);
    else if (this.text.length < MAX_OUTPUT_BYTES) this.text += text;
  }
}

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map(line => line.replace(/^qemu-img: /, '').trim())
    .filter(line => line !== '');

/** What it said, for one line of an error. A name in JSON is nothing that anybody has written. */
export function complaint({ complaints, status }: Ended): string {
  const [first = `qemu-img ended with status ${status} and no word`] = complaints;
  const rest = complaints.length > 1 ? ` (and ${complaints.length - 1} more)` : '';
  return first.replace(/^Could not open '.*?': (?=\S)/, '').replaceAll(/'json:\{.*\}'/g, 'it') + rest;
}

function noQemu(cause: Error): GatepathError {
  const message = `qemu-img, which reads and writes images, does not start: ${cause.message}`;
  return new GatepathError('invalid', 'ERR_NO_QEMU', message, 'install it; Debian: apt install qemu-utils', { cause });
}
