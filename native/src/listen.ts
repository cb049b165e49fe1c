import fs from 'node:fs';
import { spawnSync } from 'node:child_process';
import { loadAddon, type Addon } from './addon.js';
import type { ListenOptions, SocketAddress } from './engine.js';
import { errno, errnoName } from './errno.js';
import { EngineError } from './errors.js';

/** Bytes of a Unix socket's path without its terminating NUL (sun_path has 108). */
export const MAX_UNIX_PATH_BYTES = 107;
export const DEFAULT_BACKLOG = 128;
export const DEFAULT_MODE = 0o600;

export function checkUnixPath(path: string): void {
  if (path === '' || path.includes('\0')) throw new EngineError('ERR_ARGUMENT', `${JSON.stringify(path)} is no path of a socket`);
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_UNIX_PATH_BYTES) {
    throw new EngineError('ERR_PATH_TOO_LONG', `the socket path has ${bytes} bytes, at most ${MAX_UNIX_PATH_BYTES} are possible: ${path}`);
  }
}

/** A listening descriptor. A Unix socket's file that nobody listens on any more is replaced. */
export function listenNow(addon: Addon, address: SocketAddress, options: ListenOptions): number {
  const { backlog = DEFAULT_BACKLOG, mode = DEFAULT_MODE } = options;
  if (address.family === 'tcp') {
    const fd = addon.listen('', address.host, address.port, backlog, 0);
    if (fd < 0) throw listenError(address, fd);
    return fd;
  }
  checkUnixPath(address.path);
  let fd = addon.listen(address.path, '', 0, backlog, mode);
  if (fd === -errno.EADDRINUSE && isStale(address.path)) {
    fs.unlinkSync(address.path);
    fd = addon.listen(address.path, '', 0, backlog, mode);
  }
  if (fd < 0) throw listenError(address, fd);
  // The umask may have taken bits away.
  fs.chmodSync(address.path, mode);
  return fd;
}

/** What a listener is bound to. */
export function addressOf(addon: Addon, fd: number): SocketAddress {
  const address = addon.localAddress(fd);
  if (typeof address === 'number') throw new EngineError(errnoName(address), `the address of a listener: ${errnoName(address)}`);
  return 'path' in address ? { family: 'unix', path: address.path } : { family: 'tcp', host: address.host, port: address.port };
}

/** The error of a listener that the system refused with -errno. */
export function listenError(address: SocketAddress, result: number): EngineError {
  const name = address.family === 'unix' ? address.path : `${address.host}:${address.port}`;
  if (result !== -errno.EADDRINUSE) return new EngineError(errnoName(result), `cannot listen at ${name}: ${errnoName(result)}`);
  const isOther = address.family === 'unix' && !fs.statSync(address.path, { throwIfNoEntry: false })?.isSocket();
  return new EngineError(
    'ERR_ADDRESS_IN_USE',
    isOther ? `${name} exists and is not a socket` : `${name} is in use by somebody who listens there`,
  );
}

/**
 * Whether a socket file is left over from a process that is gone: a connection to it is refused. Without the addon a child process tries
 * it, because this thread may have no event loop.
 */
export function isStale(path: string): boolean {
  if (!fs.statSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  const addon = loadAddon();
  if (addon !== null) {
    const fd = addon.connectUnix(path);
    if (fd >= 0) fs.closeSync(fd);
    return fd === -errno.ECONNREFUSED;
  }
  const script = `require('node:net').connect(${JSON.stringify(path)}).on('connect',()=>process.exit(1)).on('error',e=>process.exit(e.code==='ECONNREFUSED'?0:1))`;
  return spawnSync(process.execPath, ['-e', script], { timeout: 5_000 }).status === 0;
}
