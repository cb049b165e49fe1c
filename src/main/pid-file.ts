import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileDurably } from './write-file.js';

/** In a node's data directory, while it serves: its process. Whoever supervises nodes finds one that was started by hand by it. */
export const PID_FILE = 'pid';

export function writePidFile(dataDirectory: string): void {
  writeFileDurably(join(dataDirectory, PID_FILE), `${process.pid}\n`);
}

export function removePidFile(dataDirectory: string): void {
  rmSync(join(dataDirectory, PID_FILE), { force: true });
}
