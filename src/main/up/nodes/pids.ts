import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 50;

/** The pid in a file that a process of ours has written; null where there is none, or nothing else than a pid in it. */
export function pidIn(file: string): number | null {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    return Number.isSafeInteger(pid) && pid > 1 ? pid : null;
  } catch {
    return null;
  }
}

/** The process lives and its command line names `mark`: its pid may be another one's by now. */
export function isRunning(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(mark);
  } catch {
    return false;
  }
}

/** SIGTERM, and SIGKILL for one that does not end within the time. A stopped one goes on first. */
export async function endProcess(pid: number, ended: Promise<void>, timeoutMs: number): Promise<void> {
  signal(pid, 'SIGTERM');
  signal(pid, 'SIGCONT');
  const timer = setTimeout(() => signal(pid, 'SIGKILL'), timeoutMs);
  await ended;
  clearTimeout(timer);
}

/** As `endProcess`, for one that is not our child. */
export async function endStranger(pid: number, mark: string, timeoutMs: number): Promise<void> {
  if (!isRunning(pid, mark)) return;
  const ended = async (): Promise<void> => {
    while (isRunning(pid, mark)) await delay(POLL_MS);
  };
  await endProcess(pid, ended(), timeoutMs);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}
