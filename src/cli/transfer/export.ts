import { existsSync, linkSync, lstatSync, readdirSync, rmSync, openSync, fsyncSync, closeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { GatepathError } from '../../base/errors.js';
import type { ControlClient } from '../../control/client.js';
import { withProgress } from '../progress.js';
import { copyInto, copyToFile, type CopyOptions } from './copy.js';
import { localExport, whileLeased } from './import.js';
import { Lease } from './lease.js';
import { usage, type Format, type Place } from './place.js';
import { fileNode, nbdNode, socketNode } from './qemu.js';
import { readStream, type NbdExport } from './stream.js';

export interface ExportWish {
  readonly name: string;
  readonly to: Place;
  readonly host?: string;
}

export interface Exported {
  readonly sizeBytes: number;
}

/** The file is there, whole and durable, when this resolves; before that, and where it throws, it is not. */
export async function exportVdisk(
  connect: () => Promise<ControlClient>,
  { name, to, host }: ExportWish,
  interrupted: AbortSignal,
): Promise<Exported> {
  refuseTarget(to);
  const lease = await Lease.begin(connect, client => client.beginExport({ name, ...(host === undefined ? {} : { host }) }));
  return whileLeased(lease, interrupted, async signal => {
    const { sizeBytes } = lease.attachment;
    await withProgress(sizeBytes, progress =>
      copyOut(localExport(lease), sizeBytes, to, { signal, onShare: share => progress.at(share * sizeBytes) }),
    );
    await lease.end();
    return { sizeBytes };
  });
}

function refuseTarget(to: Place): void {
  if (to.kind === 'stream' && process.stdout.isTTY)
    throw usage('standard output is a terminal', 'give it a pipe or a file: gatepath vdisk export NAME - | ...');
  if (to.kind !== 'file' || to.isDevice) return;
  if (!existsSync(dirname(to.path))) throw usage(`there is no folder ${dirname(to.path)}`, 'make it first');
  if (isThere(to.path)) throw exists(to.path);
}

async function copyOut(from: NbdExport, sizeBytes: number, to: Place, options: CopyOptions): Promise<void> {
  const source = socketNode(from.socketPath, from.exportName);
  if (to.kind === 'stream') {
    return readStream(from, sizeBytes, process.stdout, { signal: options.signal, onBytes: bytes => options.onShare(bytes / sizeBytes) });
  }
  if (to.kind === 'nbd') return copyInto(source, nbdNode(to), false, options);
  if (to.isDevice) {
    if (to.format !== 'raw') throw usage(`a block device is written raw, not as ${to.format}`, 'leave out --format');
    await copyInto(source, fileNode(to), false, options);
    return sync(to.path);
  }
  await copyToNewFile(to.path, partial => copyToFile(source, partial, to.format, DETAILS[to.format] ?? [], options));
}

/** vpc: the size as it is, not the next one that old geometries have. */
const DETAILS: Readonly<Partial<Record<Format, readonly string[]>>> = { vpc: ['force_size=on'] };

/** Under another name beside it until it is whole and durable; then it gets its own, where nobody has taken that meanwhile. */
async function copyToNewFile(path: string, copy: (partial: string) => Promise<void>): Promise<void> {
  removeAbandoned(path);
  const partial = join(dirname(path), `${partialPrefix(path)}${process.pid}`);
  try {
    await copy(partial);
    sync(partial);
    linkSync(partial, path);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? exists(path) : error;
  } finally {
    rmSync(partial, { force: true });
  }
  sync(dirname(path));
}

const partialPrefix = (path: string): string => `.${basename(path).slice(0, 200)}.partial-`;

/** Of processes that were killed: their part of this file. */
function removeAbandoned(path: string): void {
  const prefix = partialPrefix(path);
  for (const name of readdirSync(dirname(path))) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : NaN;
    if (Number.isSafeInteger(pid) && !isRunning(pid)) rmSync(join(dirname(path), name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Also a link that leads nowhere. */
const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;
const exists = (path: string): GatepathError =>
  new GatepathError('invalid', 'ERR_EXISTS', `there is a file ${path} already`, 'choose another name, or remove that one');
