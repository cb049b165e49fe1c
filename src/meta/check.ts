import { GatepathError } from '../base/errors.js';
import { MAX_META_KEY_LENGTH, MAX_META_TRANSACTION, MAX_META_TRANSACTION_BYTES, MAX_META_VALUE_BYTES } from '../wire/limits.js';
import { encodeMetaValue, META_KEY, META_PREFIX } from '../wire/meta.js';
import { damageOfValue } from './damage.js';
import type { Compare, Operation } from './store.js';

/**
 * What every metadata store takes, checked at its edge, so that all refuse the same with the same words. What is refused here has not been
 * sent or written anywhere.
 */

/** Arrays and objects within each other. */
const MAX_DEPTH = 32;

export function checkKey(key: string): void {
  if (key.length > MAX_META_KEY_LENGTH)
    throw tooMuch(`a metadata key has at most ${MAX_META_KEY_LENGTH} characters, this one ${key.length}`);
  if (!META_KEY.test(key)) {
    throw invalid('ERR_META_KEY', `${shown(key)} is no metadata key: it is printable ASCII and starts with a letter or digit`);
  }
}

export function checkPrefix(prefix: string): void {
  if (prefix === '') return;
  if (prefix.length > MAX_META_KEY_LENGTH) throw tooMuch(`a metadata prefix has at most ${MAX_META_KEY_LENGTH} characters`);
  if (!META_PREFIX.test(prefix)) throw invalid('ERR_META_KEY', `${shown(prefix)} is not the beginning of a metadata key`);
}

/** Gives the encoded value of each put, in the order of the operations; null for a remove. */
export function checkTransaction(compares: readonly Compare[], operations: readonly Operation[]): (Uint8Array | null)[] {
  if (compares.length > MAX_META_TRANSACTION || operations.length > MAX_META_TRANSACTION) {
    throw tooMuch(
      `a metadata transaction has at most ${MAX_META_TRANSACTION} compares and as many operations, this one ${compares.length} and ${operations.length}`,
    );
  }
  for (const { key, version } of compares) {
    checkKey(key);
    if (!Number.isSafeInteger(version) || version < 0)
      throw invalid('ERR_META_VERSION', `${String(version)} is no version of ${shown(key)}`);
  }
  const seen = new Set<string>();
  const encoded: (Uint8Array | null)[] = [];
  let totalBytes = 0;
  for (const operation of operations) {
    const key = keyOf(operation);
    checkKey(key);
    if (seen.has(key)) throw invalid('ERR_META_TWICE', `a metadata transaction changes ${shown(key)} twice`);
    seen.add(key);
    const value = 'put' in operation ? encode(key, operation.value) : null;
    encoded.push(value);
    totalBytes += key.length + (value?.length ?? 0);
  }
  if (totalBytes > MAX_META_TRANSACTION_BYTES) {
    throw tooMuch(`a metadata transaction has at most ${MAX_META_TRANSACTION_BYTES} bytes, this one ${totalBytes}`);
  }
  return encoded;
}

export const keyOf = (operation: Operation): string => ('put' in operation ? operation.put : operation.remove);

function encode(key: string, value: unknown): Uint8Array {
  if (value === undefined || damageOfValue(value) !== null || !isPlain(value, MAX_DEPTH)) {
    throw invalid(
      'ERR_META_VALUE',
      `the value for ${shown(key)} is not made of null, booleans, numbers, strings, bytes, arrays and plain objects`,
    );
  }
  const bytes = encodeMetaValue(value);
  if (bytes.length > MAX_META_VALUE_BYTES) {
    throw tooMuch(`a metadata value has at most ${MAX_META_VALUE_BYTES} bytes, the one for ${shown(key)} ${bytes.length}`);
  }
  return bytes;
}

/** Read back, it is what it was, whatever the store. */
function isPlain(value: unknown, depth: number): boolean {
  if (value === null || value === undefined) return true;
  if (typeof value !== 'object') return typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string';
  if (value instanceof Uint8Array) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) return value.every(one => isPlain(one, depth - 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && Object.values(value).every(one => isPlain(one, depth - 1));
}

const shown = (key: string): string => JSON.stringify(key.length > 60 ? `${key.slice(0, 57)}...` : key);
const invalid = (code: string, message: string): GatepathError =>
  new GatepathError('invalid', code, message, 'this is a fault of the program: report it');
const tooMuch = (message: string): GatepathError => invalid('ERR_META_LIMIT', message);
