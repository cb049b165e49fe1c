import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

const LIMIT_MS = 20_000;

/** A script beside this one. */
export function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Runs a program to its end; one that does not end is killed and has the signal SIGKILL. */
export function run(argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<ChildEnd> {
  const startedAt = performance.now();
  const child = spawn(argv[0]!, argv.slice(1), { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (text: string) => (output[name] += text));
  const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(limit);
      resolve({ code, signal, ...output, ms: performance.now() - startedAt });
    });
  });
}
