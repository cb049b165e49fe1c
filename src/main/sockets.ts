import { accessSync, constants, mkdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { MAX_UNIX_PATH_BYTES } from 'uring-engine';
import { GatepathError } from '../base/errors.js';

/** The management API: in a node's data directory, or beside a datapath's NBD socket. */
export const CONTROL_SOCKET = 'control.sock';

/**
 * Makes the way free for a Unix socket: makes its directory, removes the file of a process that was killed. Says early and clearly why it could not be bound: the shards would
 * find out when it is too late for a good answer.
 */
export async function clearSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_UNIX_PATH_BYTES) {
    throw problem(
      'ERR_PATH_TOO_LONG',
      `the socket path ${path} has ${bytes} bytes; a Unix socket's has at most ${MAX_UNIX_PATH_BYTES}`,
      'use a directory with a shorter path',
    );
  }
  const directory = dirname(path);
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw problem(
      'ERR_SOCKET_DIRECTORY',
      `no socket can be made in ${directory}: ${(cause as Error).message}`,
      'name a directory that can be made, and written to',
    );
  }
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw problem('ERR_ADDRESS_IN_USE', `${path} is there and is no socket`, 'remove it, or name another path');
  if (await isListening(path)) {
    throw problem('ERR_ADDRESS_IN_USE', `another process listens at ${path}`, 'stop it first, or name another path');
  }
  rmSync(path);
}

function isListening(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', error => resolve((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED'));
  });
}

const problem = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
