import { findProgram } from '../../src/cli/programs.js';

export { findProgram };

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
