import { realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import type { Place } from './place.js';
import { complaint, fileNode, jsonName, nbdNode, objectArgs, qemuImg, type Node } from './qemu.js';

/**
 * A source, looked at before anything is made: how long it is, and whether it is whole. qemu reads what lies behind the end of a file as zeroes, and of an image that was cut
 * tells nothing while it does: so where each of its parts lies is compared with the length of the file.
 */
export interface Source {
  readonly node: Node;
  readonly sizeBytes: number;
  /** Throws where the file is another one now. */
  readonly refuseChanged: () => void;
}

type FilePlace = Extract<Place, { kind: 'file' }>;

const extent = z.object({ filename: z.string(), format: z.string().optional(), 'virtual-size': z.number().optional() });
const imageInfo = z.object({
  'virtual-size': z.number().int().nonnegative(),
  format: z.string(),
  'backing-filename': z.string().optional(),
  'format-specific': z
    .object({ data: z.object({ 'data-file': z.string().optional(), extents: z.array(extent).optional() }).catch({}) })
    .optional(),
});
type ImageInfo = z.infer<typeof imageInfo>;

export async function openNbd(place: Extract<Place, { kind: 'nbd' }>, signal: AbortSignal): Promise<Source> {
  const node = nbdNode(place);
  const info = await infoOf(place.text, described(node), signal, 'see to its server, and to the URI');
  if (info['virtual-size'] === 0) throw isEmpty(place.text);
  return { node, sizeBytes: info['virtual-size'], refuseChanged: () => undefined };
}

export async function openImage(place: FilePlace, signal: AbortSignal): Promise<Source> {
  const { path, format, isDevice } = place;
  const before = fileState(place);
  await refuseOtherFormat(place, signal);
  const node = fileNode(place);
  const info = await infoOf(path, described(node), signal);
  refuseOtherFiles(path, info);
  if (format !== 'raw' && !isDevice) await refuseCut(place, info, node, signal);
  if (info['virtual-size'] === 0) throw isEmpty(path);
  const refuseChanged = (): void => {
    if (!isDevice && fileState(place) !== before) {
      throw bad('ERR_SOURCE_CHANGED', `${path} was changed while it was read`, 'stop who writes to it, and try again');
    }
  };
  return { node, sizeBytes: format === 'raw' && !isDevice ? statSync(path).size : info['virtual-size'], refuseChanged };
}

/** What it is, in one word, to see later whether it still is that. */
function fileState({ path, isDevice }: FilePlace): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw bad('ERR_SOURCE', `there is no file ${path}`, 'see to its name');
  if (isDevice || stat.isFile()) return `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
  const action = stat.isDirectory() ? 'give a file in it' : 'read it as a stream: gatepath vdisk import NAME - < PIPE';
  throw bad('ERR_SOURCE', `${path} is no file and no block device`, action);
}

/** A disk that a guest has written may look like an image in a format that names other files of this machine: it is taken for one only where somebody says so. */
async function refuseOtherFormat({ path, format, isSaid, isDevice }: FilePlace, signal: AbortSignal): Promise<void> {
  if (isSaid) return;
  // By the name alone, so that qemu guesses.
  const { format: found } = await infoOf(path, [`${isDevice ? 'host_device' : 'file'}:${path}`], signal);
  // Not every image of a known name says at its beginning what it is; whether it is one is seen when it is opened as that.
  if (found === format || found === 'raw') return;
  const message = `${path} looks like ${found}, and by its name it is ${format}`;
  throw bad('ERR_FORMAT', message, `say which: --format ${found}, or --format ${format} to take it as that`);
}

async function infoOf(
  text: string,
  image: readonly string[],
  signal: AbortSignal,
  action = 'see to the source, or say what it is: --format',
): Promise<ImageInfo> {
  const ended = await qemuImg(['info', '--output=json', ...image], { signal });
  if (ended.status !== 0) throw bad('ERR_SOURCE', `${text} is not opened: ${complaint(ended)}`, action);
  return imageInfo.parse(JSON.parse(ended.stdout));
}

const described = (node: Node): string[] => [...objectArgs(node), jsonName(node)];

/** An image from somewhere is not to have any file of this machine read. */
function refuseOtherFiles(path: string, info: ImageInfo): void {
  const { 'data-file': dataFile, extents = [] } = info['format-specific']?.data ?? {};
  const other = info['backing-filename'] ?? dataFile;
  if (other !== undefined) {
    const message = `${path} is not whole in itself: it refers to "${other}"`;
    throw bad('ERR_SOURCE', message, 'make one image of both first: qemu-img convert -O qcow2 IMAGE WHOLE');
  }
  const home = dirname(realpathSync(path));
  for (const { filename } of extents) {
    const real = realpathSync(inHome(path, filename));
    if (dirname(real) !== home) throw bad('ERR_SOURCE', `${path} refers to ${real}, in another folder`, 'put its parts beside it');
  }
}

const inHome = (path: string, filename: string): string => (isAbsolute(filename) ? filename : join(dirname(path), filename));

const CHECKED = new Set<string>(['qcow2', 'vmdk', 'vhdx', 'vdi']);
/** Exit status of `qemu-img check`. */
const CHECK_GOOD = 0;
const CHECK_LEAKS = 3;

async function refuseCut({ path, format }: FilePlace, info: ImageInfo, node: Node, signal: AbortSignal): Promise<void> {
  const cut = (why: string): GatepathError =>
    bad('ERR_SOURCE_TRUNCATED', `${path} is damaged or was cut: ${why}`, 'copy it again from where it came from, and compare the lengths');
  if (CHECKED.has(format)) {
    const ended = await qemuImg(['check', jsonName(node)], { signal });
    if (ended.status !== CHECK_GOOD && ended.status !== CHECK_LEAKS) {
      throw cut(ended.complaints.find(line => line.startsWith('ERROR')) ?? complaint(ended));
    }
  }
  const extents = info['format-specific']?.data.extents ?? [];
  for (const { filename, format: how, 'virtual-size': bytes = 0 } of extents) {
    const file = inHome(path, filename);
    const { size } = statSync(file);
    if (how === 'FLAT' && size < bytes) throw cut(`${file} has ${size} bytes of ${bytes}`);
  }
  // Where it is several files, an offset is one of any of them.
  const isAlone = extents.every(({ filename, format: how }) => how !== 'FLAT' && inHome(path, filename) === path);
  const { size } = statSync(path);
  const end = isAlone ? await endOf(path, node, signal) : 0;
  if (end > size) throw cut(`its data goes to byte ${end}, and the file has ${size}`);
}

/** Of one extent in the output of `qemu-img map`, a line each. */
const mapped = z.object({ length: z.number(), data: z.boolean(), offset: z.number().optional() });

/** Where the last of its data ends in the file, as far as the format says so. Bytes. */
async function endOf(path: string, node: Node, signal: AbortSignal): Promise<number> {
  let end = 0;
  let rest = '';
  const take = (text: string): void => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) end = Math.max(end, endIn(line));
  };
  const ended = await qemuImg(['map', '--output=json', jsonName(node)], { signal, onOutput: take });
  if (ended.status !== 0) throw bad('ERR_SOURCE', `${path} is not read: ${complaint(ended)}`, 'see to the source');
  return Math.max(end, endIn(rest));
}

function endIn(line: string): number {
  const [text] = /\{.*\}/.exec(line) ?? [];
  if (text === undefined) return 0;
  const { data, offset, length } = mapped.parse(JSON.parse(text));
  return data && offset !== undefined ? offset + length : 0;
}

const isEmpty = (text: string): GatepathError => bad('ERR_SOURCE', `${text} is empty`, 'give a source that has data');
const bad = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
