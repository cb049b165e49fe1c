import { formatSize } from '../base/size.js';
import { GatepathError } from '../base/errors.js';

/** Exit status of a command that was called wrongly. */
export const BAD_USAGE = 2;

export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/** Columns as wide as what is in them; numbers to the right. */
export function printTable(header: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map(row => String(row[column]).length)));
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, column) => (typeof cell === 'number' ? String(cell).padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  for (const row of [header, ...rows]) console.log(line(row));
}

/** A line each, the values below each other. */
export function printFields(fields: readonly (readonly [title: string, value: string])[]): void {
  const width = Math.max(...fields.map(([title]) => title.length)) + 1;
  for (const [title, value] of fields) console.log(`${title.padEnd(width)} ${value}`);
}

/** `error: what was wrong` and `       what to do`, on stderr. Gives the exit status. */
export function reportError(error: unknown): number {
  if (error instanceof GatepathError) {
    console.error(`error: ${error.message}`);
    if (error.action !== '') console.error(`       ${error.action}`);
    return USAGE_CODES.has(error.code) ? BAD_USAGE : 1;
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  console.error(`error: ${process.env['GATEPATH_DEBUG'] === undefined ? message : stack}`);
  if (FULL.has((error as NodeJS.ErrnoException).code ?? '')) {
    console.error('       a file system is full, that of the data directory where a node is started: make room there, and try again');
  }
  return 1;
}

/** A file system, or a user's part of it. */
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/** What can be seen in the arguments alone. */
const USAGE_CODES = new Set(['ERR_SIZE', 'ERR_NAME', 'ERR_URL', 'ERR_URI', 'ERR_USAGE']);

/** Where the data is, of which the sum is told before. */
export function usedText(allocatedBytes: number, logBytes: number, physicalBytes: number): string {
  return `${formatSize(allocatedBytes)} in extents, up to ${formatSize(logBytes)} in the log; ${formatSize(physicalBytes)} with all copies`;
}
