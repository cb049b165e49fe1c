import { isIP } from 'node:net';
import { resolve } from 'node:path';
import * as z from 'zod';
import type { GatepathError } from '../../base/errors.js';
import { parseSize } from '../../base/size.js';
import { MAX_SHARDS } from '../../shard/limits.js';
import { parseTcp } from '../../wire/placement.js';

const DAY_MS = 86_400_000;

/** Fields that configurations share. */

export const path = z
  .string('it has to be a path')
  .min(1, 'it has to be a path')
  .transform(text => resolve(text));
export const engine = z.enum(['auto', 'io_uring', 'libuv'], 'it has to be auto, io_uring or libuv');
export const logLevel = z.enum(['debug', 'info', 'warn', 'error'], 'it has to be debug, info, warn or error');
export const shards = z
  .number('it has to be a number')
  .int('it has to be a whole number')
  .min(2, 'at least two shards are needed')
  .max(MAX_SHARDS, `at most ${MAX_SHARDS} shards are possible`);
export const milliseconds = (leastMs: number) =>
  z
    .number('it has to be a number of ms')
    .int('it has to be a whole number of ms')
    .min(leastMs, `it has to be ${leastMs} or more`)
    .max(DAY_MS, 'at most a day');
/** `10.0.0.1:9440` or `[fd00::1]:9440`. Names are not looked up: shards have no time for that. */
export const hostPort = z.string('it has to be ADDRESS:PORT, like 10.0.0.1:9440').transform((text, context) => {
  const found = portOf(text, 1);
  if (found !== null) return found;
  context.addIssue({
    code: 'custom',
    message: `"${text}" is not ADDRESS:PORT with a numeric address, like 10.0.0.1:9440 or [fd00::1]:9440`,
  });
  return z.NEVER;
});

/** Null: it is not ADDRESS:PORT with a numeric address and a port of at least `leastPort`. */
export function portOf(text: string, leastPort: number): { host: string; port: number } | null {
  const { host, port } = parseTcp(text);
  return isIP(host) > 0 && Number.isInteger(port) && port >= leastPort && port <= 65_535 ? { host, port } : null;
}

export function formatTcp({ host, port }: { host: string; port: number }): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

export const isLoopback = (host: string): boolean => host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
export const isAnyAddress = (host: string): boolean => host === '0.0.0.0' || host === '::';

export { name } from '../../meta/model.js';

/** `512M`, or a number of bytes. */
/** `off`: what stands for 0; missing: nothing does. */
export function size(leastBytes: number, least: string, off?: string) {
  return z.union([z.string(), z.number()], 'it has to be a size, like 512M').transform((value, context) => {
    if (off !== undefined && value === off) return 0;
    try {
      const bytes = parseSize(String(value));
      if (bytes >= leastBytes) return bytes;
      context.addIssue({ code: 'custom', message: `at least ${least} is needed` });
    } catch (error) {
      const { message, action } = error as GatepathError;
      context.addIssue({ code: 'custom', message: `${message}; ${action}` });
    }
    return z.NEVER;
  });
}
