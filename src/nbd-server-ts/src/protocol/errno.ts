import { NbdErrno } from './constants.js';

/** Linux errnos that exports finish requests with, to the codes that the protocol has (proto.md, "Error values"). Anything else is NBD_EIO. */
const TABLE = new Uint8Array(256).fill(NbdErrno.io);
TABLE[0] = 0;
TABLE[1] = NbdErrno.perm; // EPERM
TABLE[12] = NbdErrno.noMemory; // ENOMEM
TABLE[13] = NbdErrno.perm; // EACCES
TABLE[22] = NbdErrno.invalid; // EINVAL
TABLE[27] = NbdErrno.noSpace; // EFBIG
TABLE[28] = NbdErrno.noSpace; // ENOSPC
TABLE[30] = NbdErrno.perm; // EROFS
TABLE[75] = NbdErrno.overflow; // EOVERFLOW
TABLE[95] = NbdErrno.notSupported; // EOPNOTSUPP
TABLE[108] = NbdErrno.shutdown; // ESHUTDOWN
TABLE[122] = NbdErrno.noSpace; // EDQUOT

/** `errno`: 0 or a positive Linux errno. `fastZero`: the request asked for it; ENOTSUP is for such requests alone, EOVERFLOW for none that an export sees. */
export function toNbdErrno(errno: number, fastZero: boolean): number {
  if (errno === 0) return 0;
  const code = errno > 0 && errno < 256 ? TABLE[errno]! : NbdErrno.io;
  if (code === NbdErrno.notSupported && !fastZero) return NbdErrno.invalid;
  return code === NbdErrno.overflow ? NbdErrno.invalid : code;
}
