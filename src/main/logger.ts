import { fstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import { pino, type DestinationStream } from 'pino';
import type { Logger, LogLevel } from '../base/log.js';

/** A JSON object per line, for journald and programs; or a line for people. */
export type LogFormat = 'json' | 'pretty';

/** One whose level may change while the process runs. */
export interface AdjustableLogger extends Logger {
  setLevel(level: string): void;
}

const STDERR = 2;

/** pino on stderr: standard output is for what the command prints. Without a format it is `pretty` on a terminal, and only there. */
export async function createLogger(level: string, format?: LogFormat): Promise<AdjustableLogger> {
  // Synchronous: what is logged last is often why the process ends at once.
  const stderr = pino.destination({ fd: STDERR, sync: true });
  const isPretty = (format ?? (isatty(STDERR) ? 'pretty' : 'json')) === 'pretty';
  const log = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    isPretty ? await prettier(stderr) : goesToJournal() ? prioritized(stderr) : stderr,
  );
  return {
    log: (at: LogLevel, message, fields) => log[at](fields ?? {}, message),
    setLevel: to => void (log.level = to),
  };
}

/** systemd names there the device and the inode of what it has made of our stderr; a redirected one is another. */
function goesToJournal(): boolean {
  const { dev, ino } = fstatSync(STDERR);
  return process.env['JOURNAL_STREAM'] === `${dev}:${ino}`;
}

/** By pino's numbers of levels: sd-daemon(3)'s prefixes, from which journald takes a line's priority. */
const PRIORITIES: Readonly<Record<number, string>> = { 20: '<7>', 30: '<6>', 40: '<4>', 50: '<3>', 60: '<2>' };
const LEVEL = /^\{"level":(\d+)/;

function prioritized(stderr: DestinationStream): DestinationStream {
  return { write: line => stderr.write((PRIORITIES[Number(LEVEL.exec(line)?.[1])] ?? '<6>') + line) };
}

/** pino-pretty's own stream would write some turns later. */
async function prettier(stderr: DestinationStream): Promise<DestinationStream> {
  const { prettyFactory } = await import('pino-pretty');
  const isColoured = isatty(STDERR) && !process.env['NO_COLOR'];
  const toText = prettyFactory({ colorize: isColoured, translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l', singleLine: true });
  return { write: line => stderr.write(toText(JSON.parse(line))) };
}
