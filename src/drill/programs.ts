import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GatepathError } from '../base/errors.js';

/** Debian puts some programs where an ordinary user's PATH does not look. */
const EXTRA_DIRS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
const MAX_OUTPUT_BYTES = 16 << 20;

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

/** Absolute path. Throws ERR_NO_PROGRAM. */
export function program(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new GatepathError('invalid', 'ERR_NO_PROGRAM', `${name} is not installed`, 'install it');
  return path;
}

/** What it writes to stdout. Throws ERR_PROGRAM with what it says where it fails. */
export async function outputOf(name: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program(name), [...args], { cwd, maxBuffer: MAX_OUTPUT_BYTES });
    return stdout;
  } catch (error) {
    if (error instanceof GatepathError) throw error;
    const said = String((error as { stderr?: string }).stderr ?? '').trim() || (error as Error).message;
    throw new GatepathError('fatal', 'ERR_PROGRAM', `${name} ${args.join(' ')}: ${said}`, '');
  }
}
