import fs from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from './addon.js';
import { errno } from './errno.js';

export interface DirectoryLock {
  release(): void;
}

export interface LockHolder {
  /** `pid N (command line)`, or what is known. */
  readonly heldBy: string;
}

/**
 * Takes the directory for this process: an exclusive flock(2) on `directory/lock`, which ends with the process however it ends. The
 * file says who holds it. Without the addon the file is created exclusively and taken over when its process is gone.
 */
export function lockDirectory(directory: string): DirectoryLock | LockHolder {
  const path = join(directory, 'lock');
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
  const addon = loadAddon();
  const taken = addon === null ? takeByPid(path) : addon.flock(fd) !== -errno.EAGAIN;
  if (!taken) {
    fs.closeSync(fd);
    return { heldBy: holder(path) };
  }
  fs.ftruncateSync(fd, 0);
  fs.writeSync(fd, `${process.pid} ${process.argv.join(' ')}\n`, 0);
  return { release: () => fs.closeSync(fd) };
}

function holder(path: string): string {
  const [pid, ...command] = fs.readFileSync(path, 'utf8').trim().split(' ');
  return pid ? `pid ${pid} (${command.join(' ')})` : 'another process';
}

function takeByPid(path: string): boolean {
  const pid = Number(fs.readFileSync(path, 'utf8').split(' ')[0]);
  if (!(pid > 0) || pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
