import { NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import type { Rules } from '../transmission/rules.js';

// NBD_CMD_RESIZE (8), branch extension-resize of the specification.
//   offset:  the new size; length: 0
//   flags:   FUA (means nothing more)
//   answer:  simple, when the export has its new size
//   errors:  EPERM (read-only), EINVAL (not offered, flags, not a multiple of the minimum block), ENOSPC (larger than can be), EIO

export function checkResize(header: RequestHeader, rules: Rules): number {
  if (!rules.resize || (header.flags & ~rules.fuaFlag) !== 0 || header.lengthBytes !== 0) return NbdErrno.invalid;
  if (rules.readOnly) return NbdErrno.perm;
  if (!Number.isSafeInteger(header.offsetBytes)) return NbdErrno.noSpace;
  return (header.offsetBytes & rules.minimumMask) === 0 ? 0 : NbdErrno.invalid;
}
