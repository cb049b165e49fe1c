import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';

/** Debian puts some programs where an ordinary user's PATH does not look. */
const EXTRA_DIRECTORIES = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Absolute path of an installed program, or undefined. */
export function findProgram(name: string): string | undefined {
  return [...(process.env['PATH'] ?? '').split(':'), ...EXTRA_DIRECTORIES]
    .filter(directory => directory !== '')
    .map(directory => join(directory, name))
    .find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
