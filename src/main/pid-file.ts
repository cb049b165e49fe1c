import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileDurably } from './write-file.js';

/** In a node's data directory, while it serves: its process. Whoever supervises nodes finds one that was started by hand by it. */
export const PID_FILE = 'pid';

/** Of a datapath, beside its NBD socket. */
export const datapathPidFile = (nbdSocket: string): string => `${nbdSocket}.pid`;

export function writePidFile(dataDirectory: string): void {
  writePidFileAt(join(dataDirectory, PID_FILE));
}

export function removePidFile(dataDirectory: string): void {
  removePidFileAt(join(dataDirectory, PID_FILE));
}

export function writePidFileAt(path: string): void {
  writeFileDurably(path, `${process.pid}\n`);
}

export function removePidFileAt(path: string): void {
  rmSync(path, { force: true });
}
