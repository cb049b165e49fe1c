import fs from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from './addon.js';
import { errno, errnoName } from './errno.js';
import { EngineError } from './errors.js';

export interface DirectoryLock {
  release(): void;
}

export interface LockHolder {
  /** `pid N (command line)`, or what is known. */
  readonly heldBy: string;
}

/** Without the addon: what this process has locked. */
const ownLocks = new Set<string>();

/**
 * Takes the directory for this process: an exclusive flock(2) on `directory/lock`, which ends with the process however it ends. The
 * file says who holds it. Without the addon that text alone is the lock: it holds as long as a process of that number exists, and two processes
 * that start at the same moment may both get it.
 */
export function lockDirectory(directory: string): DirectoryLock | LockHolder {
  const path = join(fs.realpathSync(directory), 'lock');
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
  try {
    if (!take(fd, path)) {
      const heldBy = holder(path);
      fs.closeSync(fd);
      return { heldBy };
    }
    // The end is cut off afterwards: whoever reads meanwhile finds a number at the start.
    fs.ftruncateSync(fd, fs.writeSync(fd, `${process.pid} ${process.argv.join(' ')}\n`, 0));
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  return { release: once(() => release(fd, path)) };
}

/**
 * As {@link lockDirectory}, and writes nothing: for whoever only reads what is in the directory. Nobody takes it meanwhile; where it has never been taken there is
 * nothing to hold.
 */
export function holdDirectory(directory: string): DirectoryLock | LockHolder {
  const path = join(fs.realpathSync(directory), 'lock');
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { release: () => undefined };
    throw error;
  }
  if (take(fd, path)) {
    return {
      release: once(() => {
        ownLocks.delete(path);
        fs.closeSync(fd);
      }),
    };
  }
  const heldBy = holder(path);
  fs.closeSync(fd);
  return { heldBy };
}

function take(fd: number, path: string): boolean {
  const addon = loadAddon();
  if (addon === null) return takeByNumber(path);
  const result = addon.flock(fd);
  if (result === 0 || result === -errno.EAGAIN) return result === 0;
  throw new EngineError(errnoName(result), `cannot lock ${path}: ${errnoName(result)}`);
}

function release(fd: number, path: string): void {
  ownLocks.delete(path);
  fs.ftruncateSync(fd, 0);
  fs.closeSync(fd);
}

function holder(path: string): string {
  const [pid, ...command] = fs.readFileSync(path, 'utf8').trim().split(' ');
  return pid ? `pid ${pid} (${command.join(' ')})` : 'another process';
}

function takeByNumber(path: string): boolean {
  if (ownLocks.has(path)) return false;
  const pid = Number(fs.readFileSync(path, 'utf8').split(' ')[0]);
  // Our own number, but not our lock: a process of an earlier life of this container.
  if (pid > 0 && pid !== process.pid && isAlive(pid)) return false;
  ownLocks.add(path);
  return true;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** A second call must not close a descriptor that has become somebody else's. */
function once(call: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    call();
  };
}
