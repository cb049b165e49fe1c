import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { holdDirectory, lockDirectory, type DirectoryLock } from 'uring-engine';
import * as z from 'zod';
import { GatepathError } from '../base/errors.js';

const FORMAT_VERSION = 1;
const MARK = 'gatepath.json';
/** Which start this is: of the node's registration in the metadata store. */
const BOOT = 'boot.json';
/** In DIR: the metadata; the streams, extents and block store of its Stargate. */
const FOLDERS = ['meta', 'stargate'];
/** What a directory may hold and still be taken for empty: what a first start which failed has left, a file system's own, and a configuration. */
const HARMLESS = /^(lock|lost\+found|.*\.sock|stargate\.yaml|pid|gatepath\.json\..*\.tmp)$/;

const format = z.object({
  product: z.literal('gatepath'),
  formatVersion: z.number().int().positive(),
  storeUuid: z.uuid(),
  /** Number of oplog streams: fixed, because it decides where a vdisk's log is. */
  streams: z.number().int().min(1).max(64),
  createdAt: z.string(),
  /** The cluster that it is of, once it has been in one: its metadata is there, not here. */
  clusterId: z.uuid().optional(),
  /** The node was removed from that cluster, then. */
  removedAt: z.string().optional(),
});

const bootFormat = z.object({ incarnation: z.number().int().nonnegative(), bootCount: z.number().int().nonnegative() });
export type BootRecord = z.infer<typeof bootFormat>;

export interface DataDirectory {
  readonly path: string;
  readonly storeUuid: string;
  readonly streams: number;
  readonly isNew: boolean;
  /** Null: a single node's, or not in a cluster yet. */
  readonly clusterId: string | null;
  /** The boot counter has been raised already; incarnation 0: never registered. */
  readonly boot: BootRecord;
  readonly lock: DirectoryLock;
}

/**
 * Takes a data directory for this process, making it where it is missing or empty. Throws GatepathError: held by another process, not ours,
 * of a newer version, damaged.
 */
export function openDataDirectory(path: string, streams: number): DataDirectory {
  try {
    makeDurably(resolve(path));
  } catch (error) {
    throw invalid('ERR_DATA_DIRECTORY', `${path} cannot be made: ${(error as Error).message}`, 'name a directory that you may write to');
  }
  const mark = join(path, MARK);
  const isNew = !existsSync(mark);
  if (isNew) {
    const foreign = readdirSync(path).find(name => !HARMLESS.test(name));
    if (foreign !== undefined) {
      throw invalid(
        'ERR_NOT_OURS',
        `${path} is no data directory of Gatepath: it holds "${foreign}" and no ${MARK}`,
        'name an empty or new directory, or the right one',
      );
    }
  }
  const gone = isNew ? undefined : read(mark);
  if (gone?.removedAt !== undefined) throw removed(path, gone.removedAt);
  const lock = lockDirectory(path);
  if ('heldBy' in lock) {
    throw invalid('ERR_LOCKED', `${path} is in use by ${lock.heldBy}`, 'stop that process first, or name another directory');
  }
  const record = isNew ? create(path, streams) : read(mark);
  const isEmptied = !isNew && isEmpty(join(path, 'stargate'));
  // The boot record's sync of the directory makes their names durable.
  for (const folder of FOLDERS) mkdirSync(join(path, folder), { recursive: true, mode: 0o700 });
  const { storeUuid, streams: kept, clusterId = null } = record;
  return { path, storeUuid, streams: kept, isNew, clusterId, boot: raiseBootCount(path, isEmptied), lock };
}

/** The streams, extents and block store get another name, durably, and there are none. Returns their path. */
export function emptyStargate(path: string): string {
  const aside = freeName(join(path, 'stargate-damaged'));
  renameSync(join(path, 'stargate'), aside);
  mkdirSync(join(path, 'stargate'), { mode: 0o700 });
  syncDirectory(path);
  return aside;
}

function freeName(path: string): string {
  for (let n = 1; ; n++) if (!existsSync(`${path}-${n}`)) return `${path}-${n}`;
}

export interface HeldDirectory {
  readonly storeUuid: string;
  readonly streams: number;
  readonly clusterId: string | null;
  readonly boot: BootRecord;
  readonly removedAt: string | null;
  /** What else is wrong with its own files. */
  readonly problems: readonly { readonly file: string; readonly message: string }[];
  readonly lock: DirectoryLock;
}

/**
 * Takes a data directory to read it, for the offline verifier: nothing in it changes, and nobody starts with it meanwhile. Throws GatepathError: no data directory,
 * held by another process, of a newer version.
 */
export function holdDataDirectory(path: string): HeldDirectory {
  const mark = join(path, MARK);
  if (!existsSync(path)) throw invalid('ERR_USAGE', `${path} is missing`, 'name a data directory');
  const lock = holdDirectory(path);
  if ('heldBy' in lock) {
    throw invalid(
      'ERR_LOCKED',
      `${path} is in use by ${lock.heldBy}`,
      'stop that process first: what it is writing is no error, and looks like one',
    );
  }
  try {
    if (!existsSync(mark) && !FOLDERS.some(folder => existsSync(join(path, folder)))) {
      throw invalid('ERR_USAGE', `${path} is no data directory of Gatepath: it has no ${MARK}`, 'name the one of a node');
    }
    const { storeUuid, streams, clusterId = null, removedAt = null } = read(mark);
    const { boot, problem } = heldBoot(join(path, BOOT));
    return { storeUuid, streams, clusterId, removedAt, boot, problems: problem === null ? [] : [{ file: BOOT, message: problem }], lock };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function heldBoot(file: string): { readonly boot: BootRecord; readonly problem: string | null } {
  const none = { incarnation: 0, bootCount: 0 };
  try {
    return { boot: readBoot(file), problem: null };
  } catch (error) {
    if (!(error instanceof GatepathError)) throw error;
    return { boot: none, problem: error.message };
  }
}

/** To be called when the databases are open: they sync what is in their files, and not the names of those. */
export function syncFolders(path: string): void {
  for (const folder of [...FOLDERS, join('stargate', 'store')]) syncDirectory(join(path, folder));
}

/** As the node has been registered: durable before it does anything in that name. */
export function keepBoot(path: string, boot: BootRecord): void {
  writeDurably(path, BOOT, boot);
}

/** It is of this cluster from now on: durable before anything of the cluster's is in it. */
export function keepClusterId(path: string, clusterId: string): void {
  writeDurably(path, MARK, { ...read(join(path, MARK)), clusterId });
}

/** Nothing starts with it any more. */
export function keepRemoved(path: string, removedAt: string): void {
  writeDurably(path, MARK, { ...read(join(path, MARK)), removedAt });
}

/** Of a node that was removed from its cluster, and knows that. */
export function isRemovedDirectory(path: string): boolean {
  try {
    return read(join(path, MARK)).removedAt !== undefined;
  } catch {
    return false; // not made yet, or not readable: whoever starts with it says so
  }
}

function removed(path: string, removedAt: string): GatepathError {
  const message = `${path} is of no cluster any more: its node was removed at ${removedAt}`;
  return invalid(
    'ERR_NODE_REMOVED',
    message,
    'name an empty directory: with that the node joins as a new one; nothing in this one has been touched',
  );
}

/**
 * Durable before the node registers: a counter that is behind the registered one tells that this directory is an older copy. One whose logs and extents are gone
 * has forgotten who it was.
 */
function raiseBootCount(path: string, isEmptied: boolean): BootRecord {
  const before = readBoot(join(path, BOOT));
  const boot = { incarnation: isEmptied ? 0 : before.incarnation, bootCount: before.bootCount + 1 };
  writeDurably(path, BOOT, boot);
  return boot;
}

function isEmpty(path: string): boolean {
  return !existsSync(path) || readdirSync(path).length === 0;
}

function create(path: string, streams: number): z.infer<typeof format> {
  const record = {
    product: 'gatepath' as const,
    formatVersion: FORMAT_VERSION,
    storeUuid: randomUUID(),
    streams,
    createdAt: new Date().toISOString(),
  };
  writeDurably(path, MARK, record);
  return record;
}

/** Replaces the file as a whole. */
function writeDurably(path: string, file: string, content: object): void {
  const temporary = join(path, `${file}.${process.pid}.tmp`);
  const fd = openSync(temporary, 'w', 0o600);
  writeSync(fd, `${JSON.stringify({ ...content, crc: crcOf(content) }, null, 2)}\n`);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(temporary, join(path, file));
  syncDirectory(path);
}

/** Makes the directory and what of its parents is missing, with durable names. */
function makeDurably(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return syncName(path);
  for (let made = path; made.length >= first.length; made = dirname(made)) syncDirectory(dirname(made));
}

/** Of a directory that is there: a former start may have been killed before its sync. Whoever made one in a place that we may not open has seen to it. */
function syncName(path: string): void {
  try {
    syncDirectory(dirname(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

function read(mark: string): z.infer<typeof format> {
  const action = 'restore it from a backup: the data itself is not touched';
  const content = readJson(mark, action);
  const version = (content as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version === 'number' && version > FORMAT_VERSION) {
    throw invalid(
      'ERR_NEWER_FORMAT',
      `${mark} has format version ${version}; this version of Gatepath knows versions up to ${FORMAT_VERSION}`,
      'start the newer version of Gatepath again',
    );
  }
  return parse(mark, format, content, action);
}

function readBoot(file: string): BootRecord {
  if (!existsSync(file)) return { incarnation: 0, bootCount: 0 };
  const action = 'remove it: then this node counts as one whose data may be incomplete';
  return parse(file, bootFormat, readJson(file, action), action);
}

function readJson(file: string, action: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw invalid('ERR_FORMAT', `${file} cannot be read: ${(error as Error).message}`, action);
  }
}

function parse<T>(file: string, schema: z.ZodType<T>, content: unknown, action: string): T {
  const parsed = schema.safeParse(content);
  if (!parsed.success) {
    throw invalid('ERR_FORMAT', `${file} is not what Gatepath wrote: ${parsed.error.issues[0]!.message}`, action);
  }
  const { crc, ...rest } = content as { crc?: unknown };
  if (crc !== undefined && crc !== crcOf(rest)) throw invalid('ERR_FORMAT', `${file} is damaged: its checksum differs`, action);
  return parsed.data;
}

/** CRC32C of what the file says, in the order in which it does. Files of older versions have none. */
const crcOf = (content: object): number => crc32c(JSON.stringify(content));

function invalid(code: string, message: string, action: string): GatepathError {
  return new GatepathError('invalid', code, message, action);
}
