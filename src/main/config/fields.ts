import { resolve } from 'node:path';
import { z } from 'zod';
import type { GatepathError } from '../../base/errors.js';
import { parseSize } from '../../base/size.js';
import { MAX_SHARDS } from '../../shard/limits.js';

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
export { name } from '../../meta/model.js';

/** `512M`, or a number of bytes. */
export function size(leastBytes: number, least: string) {
  return z.union([z.string(), z.number()], 'it has to be a size, like 512M').transform((value, context) => {
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
