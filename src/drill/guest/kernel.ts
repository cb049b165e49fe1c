import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir, release } from 'node:os';
import { join } from 'node:path';
import { GatepathError } from '../../base/errors.js';
import { findProgram } from '../../cli/programs.js';
import { outputOf } from '../programs.js';

/** The guest's kernel: Debian's cloud kernel, unpacked into a cache folder, not installed on this machine; where there is none, that of this machine. */
export interface GuestKernel {
  readonly version: string;
  readonly image: string;
  /** The directory that holds lib/modules/VERSION. */
  readonly root: string;
}

/** Debian's name for its newest kernel of this kind; the package itself is behind it. */
export const KERNEL_PACKAGE = 'linux-image-cloud-amd64';

const OWN_IMAGE = `/boot/vmlinuz-${release()}`;

/** Outside the checkout, so that a fresh clone does not download the kernel again. */
export function guestCacheDir(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const path = join(base, 'gatepath', 'guest');
  mkdirSync(path, { recursive: true });
  return path;
}

export async function guestKernel(): Promise<GuestKernel> {
  const cache = guestCacheDir();
  const kernel = findUnpacked(cache) ?? (isDownloadable() ? await download(cache) : own());
  if (kernel !== undefined) return kernel;
  throw new GatepathError(
    'invalid',
    'ERR_NO_KERNEL',
    `no kernel for a guest: ${OWN_IMAGE} is not here, nor does apt know ${KERNEL_PACKAGE}`,
    '',
  );
}

/** Whether a guest can have a kernel here. */
export const hasKernel = (): boolean => (findUnpacked(guestCacheDir()) ?? own()) !== undefined || isDownloadable();

const isDownloadable = (): boolean =>
  process.arch === 'x64' &&
  findProgram('dpkg') !== undefined &&
  spawnSync('apt-cache', ['show', KERNEL_PACKAGE], { stdio: 'ignore' }).status === 0;

function own(): GuestKernel | undefined {
  const version = release();
  return existsSync(OWN_IMAGE) && existsSync(`/lib/modules/${version}`) ? { version, image: OWN_IMAGE, root: '/' } : undefined;
}

function findUnpacked(cache: string): GuestKernel | undefined {
  const newestFirst = readdirSync(cache)
    .filter(name => name.startsWith('kernel-'))
    .sort()
    .reverse();
  for (const name of newestFirst) {
    const version = name.slice('kernel-'.length);
    const root = join(cache, name);
    const image = join(root, 'boot', `vmlinuz-${version}`);
    if (existsSync(image)) return { version, image, root };
  }
  return undefined;
}

async function download(cache: string): Promise<GuestKernel> {
  const depends = await outputOf('apt-cache', ['depends', KERNEL_PACKAGE]);
  const version = /Depends: linux-image-(\S+)/.exec(depends)?.[1];
  if (version === undefined) throw new Error(`apt-cache knows no kernel behind ${KERNEL_PACKAGE}:\n${depends}`);
  const staging = join(cache, `staging-${process.pid}`);
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging);
  try {
    // apt's own sandbox user cannot write here; without this apt warns and goes on as root.
    await outputOf('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', `linux-image-${version}`], staging);
    const deb = readdirSync(staging).find(name => name.endsWith('.deb'));
    if (deb === undefined) throw new Error(`apt-get download left no package of linux-image-${version}`);
    const unpacked = join(staging, 'root');
    await outputOf('dpkg', ['-x', join(staging, deb), unpacked]);
    await outputOf('depmod', ['-b', unpacked, version]);
    const root = join(cache, `kernel-${version}`);
    // Another run may have been quicker: a full directory in the way means that its work is there.
    if (!existsSync(root)) renameSync(unpacked, root);
    return { version, root, image: join(root, 'boot', `vmlinuz-${version}`) };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}
