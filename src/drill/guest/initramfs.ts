import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { outputIfAny, outputOf, program } from '../programs.js';
import { CpioArchive } from './cpio.js';
import { INIT } from './init.js';
import { guestCacheDir, type GuestKernel } from './kernel.js';

/** Of what is in an archive; raise it when that changes. */
const FORMAT = 1;
const LINKS: Readonly<Record<string, string>> = { 'mkfs.ext4': 'mke2fs', 'fsck.ext4': 'e2fsck' };
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_console', 'af_packet', 'ext4', 'xfs', 'nbd', 'crc32c_generic'];

/** What it takes to boot a guest and to build what it boots. */
export const GUEST_PROGRAMS = ['qemu-system-x86_64', 'busybox', 'depmod', 'modprobe', 'ldd'];

/**
 * The archive that guests share: busybox, programs of this machine with their libraries, kernel modules. `names`: of programs, or absolute paths.
 * Built once per content and kept in the cache folder.
 */
export async function baseInitramfs(kernel: GuestKernel, names: readonly string[]): Promise<Buffer> {
  const programs = [...new Set(names)].map(name =>
    name.startsWith('/') ? { name, path: name, target: name.slice(1) } : { name, path: program(name), target: `bin/${name}` },
  );
  const key = createHash('sha256').update(JSON.stringify([FORMAT, INIT, LINKS, MODULES, kernel.version]));
  for (const { path } of [...programs, { path: program('busybox') }]) key.update(`${path} ${statSync(path).mtimeMs}\n`);
  const cached = join(guestCacheDir(), `initramfs-${key.digest('hex').slice(0, 16)}.cpio`);
  if (existsSync(cached)) return readFileSync(cached);
  const archive = await build(kernel, programs);
  writeFileSync(`${cached}.${process.pid}`, archive);
  renameSync(`${cached}.${process.pid}`, cached);
  return archive;
}

async function build(kernel: GuestKernel, programs: readonly { name: string; path: string; target: string }[]): Promise<Buffer> {
  const archive = new CpioArchive();
  for (const path of ['dev', 'proc', 'sys', 'tmp', 'run', 'mnt', 'root', 'etc', 'bin', 'lib', 'usr', 'var/tmp']) archive.directory(path);
  // The kernel opens /dev/console before init has mounted devtmpfs.
  archive.characterDevice('dev/console', 5, 1);
  for (const path of ['sbin', 'usr/bin', 'usr/sbin']) archive.symlink(path, '/bin');
  archive.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n').file('etc/group', 'root:x:0:\n').file('etc/fstab', '');
  archive.symlink('etc/mtab', '/proc/mounts');
  if (existsSync('/etc/mke2fs.conf')) archive.file('etc/mke2fs.conf', readFileSync('/etc/mke2fs.conf'));

  archive.file('bin/busybox', readFileSync(program('busybox')), 0o755);
  const ours = new Set([...programs.map(({ name }) => name), ...Object.keys(LINKS), 'busybox']);
  for (const applet of (await outputOf('busybox', ['--list'])).trim().split('\n')) {
    if (!ours.has(applet)) archive.symlink(`bin/${applet}`, 'busybox');
  }
  const libraries = new Set<string>();
  for (const { path, target } of programs) {
    archive.file(target, readFileSync(path), 0o755);
    for (const library of await sharedLibraries(path)) libraries.add(library);
  }
  for (const [name, target] of Object.entries(LINKS)) if (ours.has(target)) archive.symlink(`bin/${name}`, target);
  for (const library of libraries) archive.file(library.slice(1), readFileSync(library), 0o755);

  await addModules(archive, kernel);
  archive.file('init', INIT, 0o755);
  return archive.finish();
}

/** The absolute paths of the shared objects a program needs, the dynamic linker with them; none for a static one. */
export async function sharedLibraries(path: string): Promise<readonly string[]> {
  const found = await outputIfAny('ldd', [path]);
  return [...found.matchAll(/(\/\S+) \(0x/g)].map(match => match[1]!);
}

async function addModules(archive: CpioArchive, kernel: GuestKernel): Promise<void> {
  const paths = new Set<string>();
  for (const module of MODULES) {
    // Not there: built in, or not of this kernel.
    const found = await outputIfAny('modprobe', ['-d', kernel.root, '-S', kernel.version, '--show-depends', module]);
    for (const match of found.matchAll(/^insmod (\S+)/gm)) paths.add(match[1]!);
  }
  const top = join(kernel.root, 'lib/modules', kernel.version);
  const inGuest = `lib/modules/${kernel.version}`;
  for (const path of paths) archive.file(`${inGuest}/${relative(top, path)}`, readFileSync(path));
  for (const name of readdirSync(top)) {
    if (name === 'modules.dep' || name === 'modules.builtin') archive.file(`${inGuest}/${name}`, readFileSync(join(top, name)));
  }
}
