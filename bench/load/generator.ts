import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check } from '../../test/support/process.js';
import { program } from '../../test/support/programs.js';

const SOURCE = fileURLToPath(new URL('nbdload.c', import.meta.url));

/** What nbdload reports of one run. Latencies are of single requests, from sent to answered. */
export interface LoadReport {
  readonly operations: number;
  readonly seconds: number;
  readonly iops: number;
  readonly mbPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly errors: number;
  readonly mismatches: number;
  readonly clientCpuSeconds: number;
}

export interface LoadRequest {
  readonly socket: string;
  readonly exportName: string;
  readonly mode: 'read' | 'write';
  readonly blockBytes: number;
  readonly queueDepth: number;
  readonly connections?: number;
  readonly seconds: number;
  readonly warmupSeconds?: number;
  readonly rangeBytes: number;
  readonly fua?: boolean;
  readonly verify?: boolean;
  /** First write the whole range with random data. */
  readonly fill?: boolean;
  /** The client's CPU, by taskset. */
  readonly pinToCpu?: number;
}

/** Compiles the load generator once per content of its source; gives its path. */
export async function compileLoadGenerator(): Promise<string> {
  const dir = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'gatepath', 'bench');
  mkdirSync(dir, { recursive: true });
  const key = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16);
  const path = join(dir, `nbdload-${key}`);
  if (!existsSync(path)) {
    await check([program('cc'), '-O2', '-Wall', '-Wextra', '-pthread', '-o', `${path}.${process.pid}`, SOURCE]);
    renameSync(`${path}.${process.pid}`, path);
  }
  return path;
}

export async function runLoad(generator: string, request: LoadRequest): Promise<LoadReport> {
  const argv = request.pinToCpu === undefined ? [] : [program('taskset'), '-c', String(request.pinToCpu)];
  argv.push(generator, '-u', request.socket, '-e', request.exportName, '-m', request.mode, '-b', String(request.blockBytes));
  argv.push('-q', String(request.queueDepth), '-c', String(request.connections ?? 1), '-t', String(request.seconds));
  argv.push('-w', String(request.warmupSeconds ?? 0.5), '-s', String(request.rangeBytes));
  if (request.fua === true) argv.push('-f');
  if (request.verify === true) argv.push('-V');
  if (request.fill === true) argv.push('-F');
  return JSON.parse(await check(argv, { timeoutMs: 300_000 })) as LoadReport;
}
