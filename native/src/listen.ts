import fs from 'node:fs';
import { spawnSync } from 'node:child_process';
import type { Addon } from './addon.js';
import type { ListenOptions, SocketAddress } from './engine.js';
import { errno, errnoName } from './errno.js';
import { EngineError } from './errors.js';

/** Bytes of a Unix socket's path without its terminating NUL (sun_path has 108). */
export const MAX_UNIX_PATH_BYTES = 107;
const DEFAULT_BACKLOG = 128;

export function checkUnixPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_UNIX_PATH_BYTES) {
    throw new EngineError('ERR_PATH_TOO_LONG', `the socket path has ${bytes} bytes, at most ${MAX_UNIX_PATH_BYTES} are possible: ${path}`);
  }
}

/** A listening descriptor. A Unix socket's file that nobody listens on any more is replaced. */
export function listenNow(addon: Addon, address: SocketAddress, options: ListenOptions): number {
  const backlog = options.backlog ?? DEFAULT_BACKLOG;
  if (address.family === 'tcp') return checked(addon.listen('', address.host, address.port, backlog), address);
  checkUnixPath(address.path);
  let fd = addon.listen(address.path, '', 0, backlog);
  if (fd === -errno.EADDRINUSE && isStale(address.path)) {
    fs.unlinkSync(address.path);
    fd = addon.listen(address.path, '', 0, backlog);
  }
  checked(fd, address);
  fs.chmodSync(address.path, options.mode ?? 0o600);
  return fd;
}

function checked(fd: number, address: SocketAddress): number {
  if (fd >= 0) return fd;
  const name = address.family === 'unix' ? address.path : `${address.host}:${address.port}`;
  if (fd === -errno.EADDRINUSE) throw new EngineError('ERR_ADDRESS_IN_USE', `${name} is in use by somebody who listens there`);
  throw new EngineError(errnoName(fd), `cannot listen at ${name}: ${errnoName(fd)}`);
}

/**
 * Whether a socket file is left over from a process that is gone: a connection to it is refused. It is tried by a child process
 * because this thread may have no event loop; it happens once, at the start after a crash.
 */
export function isStale(path: string): boolean {
  if (!fs.statSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  const script = `require('node:net').connect(${JSON.stringify(path)}).on('connect',()=>process.exit(1)).on('error',e=>process.exit(e.code==='ECONNREFUSED'?0:1))`;
  return spawnSync(process.execPath, ['-e', script], { timeout: 5_000 }).status === 0;
}
