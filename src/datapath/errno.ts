import { constants } from 'node:os';
import { IoStatus } from '../wire/status.js';

export const { EIO } = constants.errno;

/** What a guest is told. 'fenced' never gets here: the session replays it. */
const errnoByStatus = new Int32Array(Object.keys(IoStatus).length);
errnoByStatus[IoStatus.ok] = 0;
errnoByStatus[IoStatus.fenced] = -1;
errnoByStatus[IoStatus.corrupt] = constants.errno.EIO;
errnoByStatus[IoStatus.lost] = constants.errno.EIO;
errnoByStatus[IoStatus.noSpace] = constants.errno.ENOSPC;
errnoByStatus[IoStatus.invalid] = constants.errno.EINVAL;
errnoByStatus[IoStatus.readOnly] = constants.errno.EPERM;
// ESHUTDOWN: node:os does not have it.
errnoByStatus[IoStatus.closed] = 108;

/** Positive Linux errno of a status that is no success; 0 for 'ok'. */
export function errnoOf(status: IoStatus): number {
  const errno = errnoByStatus[status]!;
  if (errno < 0) throw new Error(`status ${status} is not for a guest`);
  return errno;
}
