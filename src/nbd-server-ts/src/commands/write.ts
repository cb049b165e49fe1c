import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_WRITE (1), proto.md "Request types".
//   payload: `length` bytes after the header, whatever the answer
//   flags:   FUA; with extended headers PAYLOAD_LEN, always
//   answer:  simple, no data
//   errors:  EPERM (read-only), EINVAL (flags, range, longer than the maximum block), ENOSPC (beyond the end)

export function checkWrite(header: RequestHeader, rules: Rules): number {
  const wanted = rules.extendedHeaders ? CommandFlag.payloadLength : 0;
  if ((header.flags & ~rules.fuaFlag) !== wanted) return NbdErrno.invalid;
  if (rules.readOnly) return NbdErrno.perm;
  if (header.lengthBytes > rules.maximumBytes) return NbdErrno.invalid;
  return checkRange(header, rules, NbdErrno.noSpace);
}
