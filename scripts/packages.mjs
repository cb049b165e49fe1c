// Debian packages that the tests (with --bench also the benchmarks and `npm run conformance`; with --pack those of `npm run pack-matrix` instead) run against. Installs what is missing, as root on Debian
// and its like; elsewhere it says what is missing, and the tests concerned are skipped by name.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runStep } from './steps.mjs';

const DIRS = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin', '/usr/local/sbin'];
const LIB = '/usr/lib/x86_64-linux-gnu';

/** A package is there when all of its programs (or absolute paths) are. */
const FOR_TESTS = {
  'g++': ['g++'],
  make: ['make'],
  python3: ['python3'],
  'qemu-system-x86': ['qemu-system-x86_64'],
  'qemu-utils': ['qemu-img', 'qemu-io', 'qemu-nbd'],
  nbdkit: ['nbdkit'],
  'libnbd-bin': ['nbdinfo', 'nbdcopy', 'nbddump', 'nbdfuse'],
  'python3-libnbd': ['nbdsh'],
  'nbd-client': ['nbd-client'],
  fio: ['fio'],
  'busybox-static': ['busybox'],
  e2fsprogs: ['mke2fs', 'e2fsck'],
  xfsprogs: ['mkfs.xfs', 'xfs_repair'],
  kmod: ['depmod', 'modprobe'],
  'util-linux': ['taskset', 'unshare', 'flock', 'setpriv', 'nsenter'],
  iproute2: ['ip'],
  nftables: ['nft'],
  jq: ['jq'],
  bsdutils: ['script'],
  openssl: ['openssl'],
  'etcd-server': ['etcd'],
  'etcd-client': ['etcdctl'],
  prometheus: ['promtool'],
  'groff-base': ['groff'],
  zsh: ['zsh'],
  fish: ['fish'],
  systemd: ['systemd-analyze', 'systemd-notify'],
  'systemd-container': ['systemd-nspawn'],
};
const FOR_BENCH = {
  'qemu-block-extra': [`${LIB}/qemu/block-nfs.so`],
  'nfs-ganesha': ['ganesha.nfsd'],
  'nfs-ganesha-vfs': [`${LIB}/ganesha/libfsalvfs.so`],
  rpcbind: ['rpcbind'],
  'nbd-server': ['nbd-server'],
};
/** The addon for arm64, and what it runs in here. */
const FOR_PACK = {
  'g++-aarch64-linux-gnu': ['aarch64-linux-gnu-g++'],
  'libstdc++6-arm64-cross': ['/usr/aarch64-linux-gnu/lib/libstdc++.so.6'],
  'qemu-user': ['qemu-aarch64'],
};
const GUEST_KERNEL = 'linux-image-cloud-amd64';
/** Debian starts a package's service when it is installed; the tests start their own. Its policy script says whether that may be. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d';
/** Packages whose service would be started at the next boot. */
const SERVICES = { 'etcd-server': 'etcd', prometheus: 'prometheus', 'nbd-server': 'nbd-server' };
const APT = ['-o', 'DPkg::Lock::Timeout=400'];
const ENV = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };

function isThere(program) {
  return program.startsWith('/') ? existsSync(program) : DIRS.some(dir => existsSync(join(dir, program)));
}

/** Leaves a policy that is there already as it is. */
function withoutServices(packages, install) {
  const ours = !existsSync(SERVICE_POLICY);
  if (ours) writeFileSync(SERVICE_POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    install();
  } finally {
    if (ours) rmSync(SERVICE_POLICY, { force: true });
  }
  for (const [name, service] of Object.entries(SERVICES)) {
    if (packages.includes(name)) spawnSync('systemctl', ['disable', service], { stdio: 'ignore' });
  }
}

/** Sees to the packages; gives the names of those that are still missing. Never fails: a missing one costs the tests that need it. */
export function installPackages({ bench = false, pack = false } = {}) {
  const wanted = Object.entries(pack ? FOR_PACK : { ...FOR_TESTS, ...(bench ? FOR_BENCH : {}) });
  const missing = () => wanted.filter(([, programs]) => !programs.every(isThere)).map(([name]) => name);
  const apt = isThere('apt-get');
  if (missing().length > 0 && apt && process.getuid?.() === 0) {
    withoutServices(missing(), () => {
      const install = ['install', '-y', '--no-install-recommends', ...APT, ...missing()];
      if (runStep(`Debian packages: ${missing().join(' ')}`, 'apt-get', install, { env: ENV }) !== 0) {
        runStep('package lists (apt-get update)', 'apt-get', ['update', ...APT], { env: ENV });
        runStep(`Debian packages: ${missing().join(' ')}`, 'apt-get', install, { env: ENV });
      }
    });
  }
  // The guests' kernel is downloaded, never installed; for that apt must know it.
  if (apt && process.getuid?.() === 0 && spawnSync('apt-cache', ['show', GUEST_KERNEL], { stdio: 'ignore' }).status !== 0) {
    runStep('package lists (apt-get update)', 'apt-get', ['update', ...APT], { env: ENV });
  }
  const left = missing();
  if (left.length > 0) {
    const why = apt ? 'as root they are installed' : 'install their counterparts of this system';
    console.log(`\nMissing Debian packages (${why}; what needs them is skipped): ${left.join(' ')}`);
  }
  return left;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode =
    installPackages({ bench: process.argv.includes('--bench'), pack: process.argv.includes('--pack') }).length === 0 ? 0 : 1;
}
