import { MAX_PIECE_BYTES } from '../limits.js';
import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_READ (0), proto.md "Request types".
//   flags:   FUA; DF with structured replies
//   answer:  simple: header · data. Structured: OFFSET_DATA for each piece (all in one with DF), the last with DONE.
//   errors:  EINVAL (flags, range), EOVERFLOW (DF over MAX_PIECE_BYTES, or longer than the maximum block)

export function checkRead(header: RequestHeader, rules: Rules): number {
  const allowed = rules.fuaFlag | (rules.structuredReplies ? CommandFlag.dontFragment : 0);
  if ((header.flags & ~allowed) !== 0) return NbdErrno.invalid;
  const errno = checkRange(header, rules, NbdErrno.invalid);
  if (errno !== 0) return errno;
  if (header.lengthBytes > rules.maximumBytes) return NbdErrno.overflow;
  if ((header.flags & CommandFlag.dontFragment) !== 0 && header.lengthBytes > MAX_PIECE_BYTES) return NbdErrno.overflow;
  return 0;
}
