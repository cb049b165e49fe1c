import { CommandFlag, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import { checkRange, type Rules } from '../transmission/rules.js';

// NBD_CMD_BLOCK_STATUS (7), proto.md "Request types".
//   flags:   FUA, REQ_ONE
//   answer:  one structured chunk BLOCK_STATUS: u32 context id · n × (u32 length · u32 flags), MAX_EXTENTS at most
//   errors:  EINVAL (no context negotiated, flags, range)

export function checkBlockStatus(header: RequestHeader, rules: Rules): number {
  if (!rules.baseAllocation || (header.flags & ~(rules.fuaFlag | CommandFlag.requestOne)) !== 0) return NbdErrno.invalid;
  return checkRange(header, rules, NbdErrno.invalid);
}
