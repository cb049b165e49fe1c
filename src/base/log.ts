export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'fatal';

/** A structured logger. The main thread writes with pino; a shard sends its records there. */
export interface Logger {
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export const silentLogger: Logger = { log: () => undefined };
