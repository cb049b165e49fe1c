import { existsSync } from 'node:fs';
import type { GuestServer } from './rounds.js';

const NBDKIT_DIRS = ['/usr/lib/x86_64-linux-gnu/nbdkit', '/usr/lib64/nbdkit', '/usr/lib/nbdkit'];

/** nbdkit with some of its plugins and filters, as programs for a guest. */
export function nbdkitWith(...parts: readonly string[]): readonly string[] {
  return ['nbdkit', ...parts.map(nbdkitPart)];
}

function nbdkitPart(path: string): string {
  const found = NBDKIT_DIRS.map(dir => `${dir}/${path}`).find(existsSync);
  if (found === undefined) throw new Error(`nbdkit's ${path} is in none of ${NBDKIT_DIRS.join(', ')}`);
  return found;
}

/** nbdkit in the product's place, to prove the harness: it acknowledges what is in the guest's page cache only, and must be caught. */
export function nbdkitInGuest(): GuestServer {
  return {
    programs: nbdkitWith('plugins/nbdkit-file-plugin.so'),
    startScript: `
      [ -e /data/image ] || { truncate -s 64M /data/image; sync; }
      nbdkit -U /tmp/s file /data/image`,
    socket: '/tmp/s',
    exportName: '',
    memoryMiB: 768,
  };
}

/** qemu-nbd with O_DIRECT and no flush: past the guest's page cache, but not past the disk's own. Only a disk that loses it can tell. */
export function qemuNbdInGuest(): GuestServer {
  return {
    programs: ['qemu-nbd'],
    startScript: `
      [ -e /data/image ] || { dd if=/dev/zero of=/data/image bs=1M count=64 2>/dev/null; sync; }
      qemu-nbd -f raw --cache=none --persistent --shared=8 -k /tmp/s /data/image &`,
    socket: '/tmp/s',
    exportName: '',
    memoryMiB: 768,
  };
}
