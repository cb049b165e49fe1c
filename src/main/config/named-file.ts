import { readFileSync, statSync } from 'node:fs';
import { GatepathError } from '../../base/errors.js';

const MAX_FILE_BYTES = 1 << 20;

/** A file that the configuration names with the key `name`. */
export function readNamed(name: string, file: string): Buffer {
  try {
    if (statSync(file).size > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`);
    return readFileSync(file);
  } catch (cause) {
    const message = `${name}: the file ${file} cannot be read: ${(cause as Error).message}`;
    throw new GatepathError('invalid', 'ERR_CONFIG', message, 'correct the path in the configuration, or the rights of the file', {
      cause,
    });
  }
}
