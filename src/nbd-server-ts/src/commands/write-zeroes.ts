import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_WRITE_ZEROES (6), proto.md "Request types".
//   flags:   FUA, NO_HOLE, FAST_ZERO where it is offered
//   answer:  simple. The maximum block size does not hold.
//   errors:  EPERM (read-only), EINVAL, ENOSPC (beyond the end), ENOTSUP (FAST_ZERO that would be slow)

export function checkWriteZeroes(header: RequestHeader, rules: Rules): number {
  const allowed = rules.fuaFlag | CommandFlag.noHole | (rules.fastZero ? CommandFlag.fastZero : 0);
  if ((header.flags & ~allowed) !== 0) return NbdErrno.invalid;
  if (rules.readOnly) return NbdErrno.perm;
  if (!rules.writeZeroes) return NbdErrno.invalid;
  return checkRange(header, rules, NbdErrno.noSpace);
}
