import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';

/** Debian puts some programs where an ordinary user's PATH does not look. */
const EXTRA_DIRS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Absolute path of a program, or undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  for (const dir of [...(process.env['PATH'] ?? '').split(':'), ...EXTRA_DIRS]) {
    if (dir === '') continue;
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // not here: the next directory
    }
  }
  return undefined;
}

export function program(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed; as root, "node scripts/packages.mjs" installs what the tests need`);
  return path;
}

/**
 * The programs of `names` that are missing, for `describe.skipIf(missingPrograms(...).length > 0)`.
 * The caller's skip is counted and named by the runner; with CI=true a skip fails the run (scripts/test.mjs).
 */
export function missingPrograms(...names: readonly string[]): readonly string[] {
  return names.filter(name => findProgram(name) === undefined);
}

/** A suffix for a suite's title that says why it is skipped, empty where nothing is missing. */
export function missingNote(missing: readonly string[]): string {
  return missing.length === 0 ? '' : ` [missing: ${missing.join(', ')}]`;
}
