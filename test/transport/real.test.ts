import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const BYTES = 8 << 20;
let directory: string;
let socket: string;
const children: ChildProcess[] = [];

function run(script: string, options: Record<string, string | number>): ChildProcess {
  const file = fileURLToPath(new URL(`real/${script}.ts`, import.meta.url));
  const args = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

/** The n-th line that it prints. */
function line(child: ChildProcess, n = 1): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout!.on('data', (data: Buffer) => {
      text += data.toString();
      const lines = text.split('\n');
      if (lines.length > n) resolve(lines[n - 1]!);
    });
    child.on('exit', code => reject(new Error(`ended with ${code} before it said all`)));
  });
}

interface Result {
  readonly done: number;
  readonly bad: number;
  readonly lost: number;
  readonly replayed: number;
  readonly problems: string[];
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-wire-'));
  socket = join(directory, 'stargate.sock');
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

describe.each(['io_uring', 'libuv'])('Unix path between two processes, %s', engine => {
  const vdisk = randomUUID();

  it.each([
    [4_096, 32],
    [65_536, 8],
    [1 << 20, 6],
  ])('carries and checks %d bytes at depth %d', async (size, depth) => {
    const server = run('stargate', { socket, engine, vdisk, bytes: BYTES });
    expect(await line(server)).toBe('ready');
    const client = run('client', { socket, engine, vdisk, bytes: BYTES, size, depth, ms: 2_000, mode: 'verify' });
    const result = JSON.parse(await line(client, 2)) as Result;
    expect(result).toMatchObject({ bad: 0, lost: 0, problems: [] });
    // Few on a machine that is busy with other tests: each counts, since each is checked.
    expect(result.done).toBeGreaterThan(10);
  });

  it('waits for a Stargate that is stopped and goes on', async () => {
    const server = run('stargate', { socket, engine, vdisk, bytes: BYTES });
    await line(server);
    const client = run('client', { socket, engine, vdisk, bytes: BYTES, size: 4_096, depth: 16, ms: 5_000, mode: 'verify' });
    const end = line(client, 2);
    expect(await line(client)).toBe('started');
    server.kill('SIGSTOP');
    await delay(1_700);
    server.kill('SIGCONT');
    const result = JSON.parse(await end) as Result;
    expect(result.bad).toBe(0);
    expect(result.lost).toBeGreaterThan(0);
    expect(result.problems).toEqual(['path-lost', 'path-opened']);
  });
});
