import { Command, NbdErrno } from '../protocol/constants.js';
import type { RequestHeader } from '../transmission/request-header.js';
import type { Rules } from '../transmission/rules.js';
import { checkBlockStatus } from './block-status.js';
import { checkCache } from './cache.js';
import { checkFlush } from './flush.js';
import { checkRead } from './read.js';
import { checkResize } from './resize.js';
import { checkTrim } from './trim.js';
import { checkWrite } from './write.js';
import { checkWriteZeroes } from './write-zeroes.js';

/** Validates a request other than DISC, once, at the edge: 0, or the code to answer with. A switch, because tables of functions are called slower. */
export function checkCommand(header: RequestHeader, rules: Rules): number {
  switch (header.type) {
    case Command.read:
      return checkRead(header, rules);
    case Command.write:
      return checkWrite(header, rules);
    case Command.flush:
      return checkFlush(header, rules);
    case Command.trim:
      return checkTrim(header, rules);
    case Command.cache:
      return checkCache(header, rules);
    case Command.writeZeroes:
      return checkWriteZeroes(header, rules);
    case Command.blockStatus:
      return checkBlockStatus(header, rules);
    case Command.resize:
      return checkResize(header, rules);
    default:
      return NbdErrno.invalid;
  }
}
