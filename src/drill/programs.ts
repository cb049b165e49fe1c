import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GatepathError } from '../base/errors.js';
import { findProgram } from '../cli/programs.js';
import { PROGRAM_TIMEOUT_MS } from './limits.js';

const MAX_OUTPUT_BYTES = 16 << 20;

/** Absolute path. Throws ERR_NO_PROGRAM. */
export function program(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new GatepathError('invalid', 'ERR_NO_PROGRAM', `${name} is not installed`, 'install it');
  return path;
}

/** What it writes to stdout. Throws ERR_PROGRAM with what it says where it fails. */
export async function outputOf(name: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program(name), [...args], {
      cwd,
      maxBuffer: MAX_OUTPUT_BYTES,
      timeout: PROGRAM_TIMEOUT_MS,
    });
    return stdout;
  } catch (error) {
    if (error instanceof GatepathError) throw error;
    const said = String((error as { stderr?: string }).stderr ?? '').trim() || (error as Error).message;
    throw new GatepathError('fatal', 'ERR_PROGRAM', `${name} ${args.join(' ')}: ${said}`, '');
  }
}

/** The same; empty where it fails. Throws ERR_NO_PROGRAM. */
export function outputIfAny(name: string, args: readonly string[]): Promise<string> {
  return outputOf(name, args).catch((error: GatepathError) => {
    if (error.code === 'ERR_PROGRAM') return '';
    throw error;
  });
}
