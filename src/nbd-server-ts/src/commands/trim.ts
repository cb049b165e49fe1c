import { NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_TRIM (4), proto.md "Request types".
//   flags:   FUA
//   answer:  simple. The maximum block size does not hold: up to 2^32 − 1 bytes.
//   errors:  EPERM (read-only), EINVAL

export function checkTrim(header: RequestHeader, rules: Rules): number {
  if ((header.flags & ~rules.fuaFlag) !== 0) return NbdErrno.invalid;
  if (rules.readOnly) return NbdErrno.perm;
  if (!rules.trim) return NbdErrno.invalid;
  return checkRange(header, rules, NbdErrno.invalid);
}
