import { cpSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check } from '../../support/process.js';
import { program } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sharedLibraries } from '../../../src/drill/guest/initramfs.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const IMAGE_SIZE = '1G';

/**
 * A file system image with what it takes to run the built checkout: node and its libraries, dist, the workspaces' builds
 * and the packages of production. In the guest: /app/bin/node, /app/gatepath/dist/bundle/gatepath.js.
 */
export async function buildAppImage(path: string): Promise<void> {
  const dir = makeTempDir('app');
  try {
    await collect(dir);
    await check(['truncate', '-s', IMAGE_SIZE, path]);
    await check([program('mke2fs'), '-q', '-t', 'ext4', '-O', '^has_journal', '-d', dir, path], { timeoutMs: 120_000 });
  } finally {
    removeTempDir(dir);
  }
}

async function collect(dir: string): Promise<void> {
  mkdirSync(join(dir, 'bin'), { recursive: true });
  cpSync(process.execPath, join(dir, 'bin/node'), { dereference: true });
  const target = join(dir, 'gatepath');
  const installed = await check(['npm', 'ls', '--omit=dev', '--all', '--parseable'], { cwd: ROOT });
  const packages = installed
    .trim()
    .split('\n')
    .map(line => relative(ROOT, line))
    .filter(name => name.startsWith('node_modules/'));
  for (const name of new Set(packages)) copy(name, target);
  // Packages with native code load a second package by platform, which npm lists for some and not for others.
  for (const scope of ['@lmdb', '@node-rs', '@msgpackr-extract'])
    if (existsSync(join(ROOT, 'node_modules', scope))) copy(`node_modules/${scope}`, target);
  for (const name of [
    'package.json',
    'dist',
    'native/package.json',
    'native/dist',
    'native/build/Release',
    'src/nbd-server-ts/package.json',
  ])
    copy(name, target);
  copy('src/nbd-server-ts/dist', target);
  await copyLibraries(dir, target);
}

function copy(name: string, target: string): void {
  const from = join(ROOT, name);
  if (!existsSync(from)) return;
  mkdirSync(dirname(join(target, name)), { recursive: true });
  cpSync(from, join(target, name), { recursive: true, verbatimSymlinks: true });
}

/** Libraries of node and of every native addon, at /app/lib. */
async function copyLibraries(dir: string, target: string): Promise<void> {
  const addons = readdirSync(target, { recursive: true, encoding: 'utf8' }).filter(
    name => name.endsWith('.node') && !name.includes('musl'),
  );
  mkdirSync(join(dir, 'lib'));
  for (const path of [process.execPath, ...addons.map(name => join(target, name))]) {
    for (const library of await sharedLibraries(path)) cpSync(library, join(dir, 'lib', library.split('/').at(-1)!), { dereference: true });
  }
}
