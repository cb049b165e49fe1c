import { isatty } from 'node:tty';
import { pino, type DestinationStream } from 'pino';
import type { Logger, LogLevel } from '../base/log.js';

/** A JSON object per line, for journald and programs; or a line for people. */
export type LogFormat = 'json' | 'pretty';

const STDERR = 2;

/** pino on stderr: standard output is for what the command prints. Without a format it is `pretty` on a terminal, and only there. */
export async function createLogger(level: string, format?: LogFormat): Promise<Logger> {
  // Synchronous: what is logged last is often why the process ends at once.
  const stderr = pino.destination({ fd: STDERR, sync: true });
  const isPretty = (format ?? (isatty(STDERR) ? 'pretty' : 'json')) === 'pretty';
  const log = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, isPretty ? await prettier(stderr) : stderr);
  return { log: (at: LogLevel, message, fields) => log[at](fields ?? {}, message) };
}

/** pino-pretty's own stream would write some turns later. */
async function prettier(stderr: DestinationStream): Promise<DestinationStream> {
  const { prettyFactory } = await import('pino-pretty');
  const isColoured = isatty(STDERR) && !process.env['NO_COLOR'];
  const toText = prettyFactory({ colorize: isColoured, translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l', singleLine: true });
  return { write: line => stderr.write(toText(JSON.parse(line))) };
}
