import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { GatepathError } from '../base/errors.js';
import { STOP_TIMEOUT_MS } from './limits.js';

/** What it takes to start a process again as it was. */
export interface ProcessImage {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Time that a process has had on a processor. */
const TICKS_PER_SECOND = 100;
const EXIT_POLL_MS = 2;

/** The process as it runs now; null: it does not. */
export function imageOf(pid: number): ProcessImage | null {
  try {
    const argv = splitZeroes(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    const env: Record<string, string> = {};
    for (const entry of splitZeroes(readFileSync(`/proc/${pid}/environ`, 'utf8'))) {
      const at = entry.indexOf('=');
      if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1);
    }
    return argv.length === 0 ? null : { argv, cwd, env };
  } catch {
    return null;
  }
}

const splitZeroes = (text: string): string[] => text.split('\0').filter(part => part !== '');

/** A zombie is dead: only its parent has not looked yet. */
export function isAlive(pid: number): boolean {
  const state = statOf(pid)?.[0];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** Seconds on a processor since it began; null: there is none. */
export function cpuSecondsOf(pid: number): number | null {
  const fields = statOf(pid);
  return fields === null ? null : (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Of the whole machine since it began: seconds of all processors together. */
export function machineSeconds(): { readonly busy: number; readonly idle: number } {
  const numbers = (/^cpu\s+(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '').split(/\s+/).map(Number);
  const idle = (numbers[3] ?? 0) + (numbers[4] ?? 0);
  // Guests' time (from the ninth on) is in the user's already.
  const all = numbers.slice(0, 8).reduce((sum, one) => sum + one, 0);
  return { busy: (all - idle) / TICKS_PER_SECOND, idle: idle / TICKS_PER_SECOND };
}

/** From the state on: the name before it may hold anything. */
function statOf(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

/** Never anybody else's process: one that has ended may have left its number to another. `command`: how the one that is meant was started. */
export function signalProcess(pid: number, command: readonly string[], signal: NodeJS.Signals): void {
  const running = imageOf(pid);
  // The program may be named by another path.
  const expected = command.slice(2);
  const found = running?.argv.slice(-expected.length || undefined) ?? [];
  if (running === null || expected.some((part, i) => part !== found[i])) {
    const message = `process ${pid} is not the one that cluster.json says: ${command.join(' ')}`;
    throw new GatepathError('invalid', 'ERR_OTHER_PROCESS', message, 'see that the system is up and its cluster.json is its own');
  }
  process.kill(pid, signal);
}

export async function waitForExit(pid: number, timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new GatepathError('retryable', 'ERR_STOP_TIMEOUT', `process ${pid} has not ended within ${timeoutMs} ms`, 'look at its log');
    }
    await new Promise(resolve => setTimeout(resolve, EXIT_POLL_MS));
  }
}

/** Starts it so that it outlives the drill. Its output goes to the end of the file. Gives its number. */
export function startProcess({ argv, cwd, env }: ProcessImage, logFile: string): number {
  const log = openSync(logFile, 'a');
  try {
    const child = spawn(argv[0]!, argv.slice(1), { cwd, env, detached: true, stdio: ['ignore', log, log] });
    child.on('error', () => undefined);
    child.unref();
    if (child.pid === undefined) throw new GatepathError('fatal', 'ERR_START', `${argv.join(' ')} could not be started`, '');
    return child.pid;
  } finally {
    closeSync(log);
  }
}
