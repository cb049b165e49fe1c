import { NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import type { Rules } from '../transmission/rules.js';

// NBD_CMD_FLUSH (3), proto.md "Request types".
//   flags:   FUA (means nothing more)
//   offset, length: 0
//   answer:  simple, when every write answered before it came in is on stable storage
//   errors:  EINVAL

export function checkFlush(header: RequestHeader, rules: Rules): number {
  if (!rules.flush || (header.flags & ~rules.fuaFlag) !== 0) return NbdErrno.invalid;
  return header.offsetBytes === 0 && header.lengthBytes === 0 ? 0 : NbdErrno.invalid;
}
