import type { z } from 'zod';
import { GatepathError } from '../base/errors.js';
import { damagedRecord, readAs } from './damage.js';
import { MetaUnavailable } from './errors.js';
import { name as nameSchema } from './model.js';
import type { TransactionResult, Versioned } from './store.js';

/** What the operations on the cluster model share: reading records, trying again, telling what was wrong. */

/** How often a compare-and-swap is tried against others before that is taken for a fault. */
const MAX_ATTEMPTS = 50;

/** Until `attempt` gives something else than undefined (somebody else was faster). */
export async function retry<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < MAX_ATTEMPTS; i++) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw retryable('ERR_CONTENTION', `the metadata changed ${MAX_ATTEMPTS} times in a row under this operation`, 'try again');
}

/**
 * Whether a transaction was applied. One whose outcome is unknown counts as applied where `isDone` finds what it was to do; else it stays
 * unknown (it may still be on its way) and the error is passed on. Never issues it again.
 */
export async function settled(transaction: Promise<TransactionResult>, isDone: () => Promise<boolean>): Promise<boolean> {
  try {
    return (await transaction).ok;
  } catch (error) {
    if (error instanceof MetaUnavailable && (await isDone())) return true;
    throw error;
  }
}

/** Throws GatepathError `ERR_METADATA`. */
export function parse<T>(schema: z.ZodType<T>, item: Versioned): T {
  const read = readAs(schema, item);
  if (read.why === null) return read.data;
  throw damagedRecord({ key: item.key, why: read.why });
}

/** Names go into keys: checked before each use. */
export function checkName(name: string): void {
  const parsed = nameSchema.safeParse(name);
  if (!parsed.success)
    throw invalid('ERR_NAME', `"${shorten(name)}" is no name: ${parsed.error.issues[0]!.message}`, 'choose another name');
}

const shorten = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);

export const invalid = (code: string, message: string, action: string): GatepathError =>
  new GatepathError('invalid', code, message, action);
export const retryable = (code: string, message: string, action: string): GatepathError =>
  new GatepathError('retryable', code, message, action);
