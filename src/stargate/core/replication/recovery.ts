import { LogTail } from './entry.js';
import type { LogRecord, RecoveredLog, TermPromise } from './effects.js';

/**
 * What the records of a log say, oldest first (rule 4): the longest chain that is intact. A cut takes back what stands before it. An entry that does not follow ends
 * the chain: nothing behind it can be told to belong there.
 */
export function recoverLog(
  records: Iterable<{ readonly record: LogRecord; readonly committedHeard: number }>,
  isTorn: boolean,
): RecoveredLog {
  const log = new LogTail();
  let promise: TermPromise | null = null;
  let heard = 0;
  let isBroken = false;
  for (const { record, committedHeard } of records) {
    heard = Math.max(heard, committedHeard);
    if (record.kind === 'promise') promise = record.promise;
    else if (record.kind === 'cut') {
      if (!isBroken && record.afterSeq <= log.lastSeq) log.cutAfter(record.afterSeq);
    } else if (!isBroken && log.fits(record.entry)) log.append(record.entry);
    else isBroken = true;
  }
  return { base: log.base, committedSeq: log.base.seq, entries: log.slice(1, log.lastSeq), promise, committedHeard: heard, isTorn };
}
