import { existsSync } from 'node:fs';
import { GatepathError } from '../../base/errors.js';
import { formatSize } from '../../base/size.js';
import type { ControlClient } from '../../control/client.js';
import type { VdiskView } from '../../control/schemas.js';
import { withProgress } from '../progress.js';
import { copyInto } from './copy.js';
import { openImage, openNbd, type Source } from './image.js';
import { withLack } from './lack.js';
import { Lease } from './lease.js';
import { usage, type Place } from './place.js';
import { socketNode } from './qemu.js';
import { flushExport, writeStream, type NbdExport } from './stream.js';

export interface ImportWish {
  readonly name: string;
  readonly from: Place;
  /** What the source has to have; null: what it has. Bytes. */
  readonly sizeBytes: number | null;
  readonly container?: string;
  readonly host?: string;
}

export interface Imported {
  readonly vdisk: VdiskView;
  /** Of the source. */
  readonly bytes: number;
}

/** The vdisk is there when this resolves; before that, and where it throws, it is not, under its name. */
export async function importVdisk(connect: () => Promise<ControlClient>, wish: ImportWish, interrupted: AbortSignal): Promise<Imported> {
  const { name, from, container, host } = wish;
  const source = await sourceOf(wish, interrupted);
  const sizeBytes = source?.sizeBytes ?? wish.sizeBytes;
  const wanted = {
    name,
    ...(sizeBytes === null ? {} : { sizeBytes }),
    ...(container === undefined ? {} : { container }),
    ...(host === undefined ? {} : { host }),
  };
  const lease = await Lease.begin(connect, client => client.beginImport(wanted));
  return whileLeased(lease, interrupted, async signal => {
    const to = localExport(lease);
    const limitBytes = lease.attachment.sizeBytes;
    const copied = source === null ? importStream(wish, to, limitBytes, signal) : importSource(source, to, signal);
    const bytes = await copied.catch(async (error: unknown) => {
      throw await withLack(error, connect, name, container);
    });
    source?.refuseChanged();
    const vdisk = await lease.finishImport(from.kind === 'stream' ? { sizeBytes: bytes } : {});
    return { vdisk, bytes };
  });
}

/** Null: a stream, of which nothing is known before it has been read. */
async function sourceOf({ from, sizeBytes }: ImportWish, signal: AbortSignal): Promise<Source | null> {
  if (from.kind === 'stream') {
    if (process.stdin.isTTY) throw usage('standard input is a terminal', 'give it a pipe or a file: ... | gatepath vdisk import NAME -');
    return null;
  }
  const source = from.kind === 'nbd' ? await openNbd(from, signal) : await openImage(from, signal);
  if (sizeBytes !== null && source.sizeBytes !== sizeBytes) {
    const code = source.sizeBytes < sizeBytes ? 'ERR_SOURCE_TRUNCATED' : 'ERR_SOURCE';
    const message = `the source has ${source.sizeBytes} bytes, and by --size it has to have ${sizeBytes}`;
    throw new GatepathError('invalid', code, message, 'see to the source, or leave out --size');
  }
  return source;
}

function importStream({ sizeBytes }: ImportWish, to: NbdExport, limitBytes: number, signal: AbortSignal): Promise<number> {
  const lengths = { wantedBytes: sizeBytes, limitBytes };
  return withProgress(sizeBytes, progress => writeStream(process.stdin, to, lengths, { signal, onBytes: bytes => progress.at(bytes) }));
}

function importSource({ node, sizeBytes }: Source, to: NbdExport, signal: AbortSignal): Promise<number> {
  return withProgress(sizeBytes, async progress => {
    await copyInto(node, socketNode(to.socketPath, to.exportName), true, { signal, onShare: share => progress.at(share * sizeBytes) });
    await flushExport(to, signal);
    return sizeBytes;
  });
}

/** Where it fails, whoever has ended it, the lease is ended; also where nobody hears that, in a while. */
export async function whileLeased<T>(lease: Lease, interrupted: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  try {
    return await work(AbortSignal.any([interrupted, lease.lost]));
  } catch (error) {
    if (!(await lease.end()))
      console.error('nobody hears that it is given up: what was begun is ended by the system, half a minute after it runs again');
    throw error;
  }
}

export function localExport(lease: Lease): NbdExport {
  const { socketPath, attachment } = lease;
  if (existsSync(socketPath)) return { socketPath, exportName: attachment.vdisk };
  const message = `the datapath of host "${attachment.host}" has its NBD socket at ${socketPath}, which is not on this machine`;
  throw new GatepathError('invalid', 'ERR_NO_DATAPATH', message, 'call it on that host, or name the host of this machine: --host');
}

export const importedText = ({ vdisk, bytes }: Imported, seconds: number): string =>
  `vdisk ${vdisk.name} imported, ${formatSize(vdisk.sizeBytes)}: ${formatSize(bytes)} in ${seconds.toFixed(1)} s`;
