import { NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_CACHE (5), proto.md "Request types".
//   flags:   FUA
//   answer:  simple. The maximum block size does not hold.
//   errors:  EINVAL

export function checkCache(header: RequestHeader, rules: Rules): number {
  if (!rules.cache || (header.flags & ~rules.fuaFlag) !== 0) return NbdErrno.invalid;
  return checkRange(header, rules, NbdErrno.invalid);
}
