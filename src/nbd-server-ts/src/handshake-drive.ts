import type { Staging } from './buffers.js';
import type { Handshake, HandshakeState } from './handshake/handshake.js';
import type { ReplyQueue } from './reply-queue.js';

/** `more`: receive. `blocked`: there is no room for what is to be said; what is left goes after the send. Else the state that the handshake has come to. */
export type HandshakeStop = 'more' | 'blocked' | (HandshakeState & { kind: 'transmission' | 'closed' | 'upgrading' });

/** Has the handshake say what it has to say and read what was received, as far as it goes. */
export function driveHandshake(handshake: Handshake, arenaBytes: Uint8Array, staging: Staging, replies: ReplyQueue): HandshakeStop {
  for (;;) {
    if (!pushOutput(handshake, replies)) return 'blocked';
    const { state } = handshake;
    if (state.kind === 'transmission' || state.kind === 'closed') return state;
    // Plaintext behind STARTTLS goes to the machine, which ends the connection.
    if (state.kind === 'upgrading' && staging.availableBytes === 0) return state;
    const consumed = handshake.consume(arenaBytes.subarray(staging.position, staging.end));
    staging.position += consumed;
    if (consumed === 0) return 'more';
  }
}

/** False: there is no room for all of it. */
function pushOutput({ output }: Handshake, replies: ReplyQueue): boolean {
  while (output.length > 0) {
    const bytes = output[0]!;
    const pushed = replies.pushBytes(bytes);
    if (pushed === bytes.length) output.shift();
    else {
      output[0] = bytes.subarray(pushed);
      return false;
    }
  }
  return true;
}
