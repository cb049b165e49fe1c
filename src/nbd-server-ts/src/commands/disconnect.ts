import { Command } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';

// NBD_CMD_DISC (2), proto.md "Request types".
//   answer:  none. What is outstanding is finished and answered, then the connection is closed at once.

/** Nothing else is checked: a client that wants to go may go, whatever its flags, offset and length. */
export function isDisconnect(header: RequestHeader): boolean {
  return header.type === Command.disconnect;
}
