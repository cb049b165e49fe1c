import { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { LINGER_MS, STALLED_MS } from './limits.js';

/**
 * A TLS connection and its plaintext: what comes out of one goes into the other, which is not read faster than that takes it. Where one ends, the other one is
 * ended behind what was under way, at once; a second later it is closed whatever is left.
 */
export function join(secure: TLSSocket, plainFd: number): void {
  const plain = new Socket({ fd: plainFd, readable: true, writable: true });
  const ignore = (): void => undefined;
  secure.setNoDelay(true);
  // Also where one end is paused for the other, which is gone without a word.
  secure.setTimeout(STALLED_MS, () => secure.destroy());
  secure.on('error', ignore).on('close', () => {
    plain.end(() => plain.destroy());
    setTimeout(() => plain.destroy(), LINGER_MS).unref();
  });
  plain.on('error', ignore).on('close', () => {
    secure.end();
    // Closed with something unread, it would take back from the other machine what was sent last.
    secure.resume();
    setTimeout(() => secure.destroy(), LINGER_MS).unref();
  });
  plain.pipe(secure).pipe(plain);
}
