import { addonFailure, loadAddon } from './addon.js';
import { errnoName } from './errno.js';
import { EngineError } from './errors.js';

/** The receiver may be behind; the sender's thread waits no longer for it. */
const SEND_TIMEOUT_MS = 1_000;

/**
 * Sends one datagram to a Unix socket: a path, or `@name` in Linux's abstract namespace. Node's own sockets cannot. For a message now and then: the thread waits, for a
 * second at most, where the receiver is behind. Throws with the errno's name (ENOENT, ECONNREFUSED: nobody is there), ERR_UNSUPPORTED without the addon.
 */
export function sendDatagram(path: string, bytes: Uint8Array): void {
  const addon = loadAddon();
  if (addon === null) throw new EngineError('ERR_UNSUPPORTED', `a datagram to a Unix socket needs the addon (${addonFailure()})`);
  const result = addon.sendDatagram(path, bytes, SEND_TIMEOUT_MS);
  if (result < 0) throw new EngineError(errnoName(result), `cannot send to ${path}: ${errnoName(result)}`);
}
