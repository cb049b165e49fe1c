import type { GuestServer } from './rounds.js';
import { POWER_LOSS_EXPORT_SIZE } from './rounds.js';

/** `gatepath up` from the built checkout, with its data on the guest's disk. */
export function gatepathInGuest(appImage: string): GuestServer {
  return {
    programs: [],
    appImage,
    startScript: `
      mkdir -p /lib64
      [ -e /lib64/ld-linux-x86-64.so.2 ] || ln -s /app/lib/ld-linux-x86-64.so.2 /lib64/
      rm -f /data/gatepath/nbd.sock
      (LD_LIBRARY_PATH=/app/lib /app/bin/node /app/gatepath/dist/bundle/gatepath.js up \\
        --data /data/gatepath --vdisk power:${POWER_LOSS_EXPORT_SIZE}; echo "gatepath up ended: $?"; poweroff -f) &`,
    socket: '/data/gatepath/nbd.sock',
    exportName: 'power',
    memoryMiB: 2048,
  };
}
