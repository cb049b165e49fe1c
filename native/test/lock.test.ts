import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run, script } from './support/child.js';

const HOLDER = script('lock-holder.mjs');

describe.each([
  ['flock', {}],
  ['process numbers (without the addon)', { URING_ENGINE_NO_ADDON: '1' }],
] as const)('a locked directory, by %s', (_name, environment: Record<string, string>) => {
  let directory: string;
  let holders: ChildProcess[];
  beforeEach(() => {
    directory = fs.mkdtempSync(join(tmpdir(), 'ue-lock-'));
    holders = [];
  });
  afterEach(async () => {
    for (const holder of holders) await kill(holder);
    fs.rmSync(directory, { recursive: true });
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  /** A process that has locked it. */
  async function holder(...rest: string[]): Promise<ChildProcess> {
    const child = spawn(process.execPath, [HOLDER, directory, ...rest], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    holders.push(child);
    const said = await new Promise<string>(resolve => child.stdout.setEncoding('utf8').once('data', resolve));
    expect(said).toBe('locked\n');
    return child;
  }

  async function kill(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise(resolve => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  const tryLock = () => run([process.execPath, HOLDER, directory], environment);

  async function lockHere(): Promise<typeof import('../src/lock.js')> {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    vi.resetModules();
    return import('../src/lock.js');
  }

  it('is refused to a second process, which is told who holds it', async () => {
    const first = await holder();
    const second = await tryLock();
    expect(second.stdout).toMatch(new RegExp(`^held by pid ${first.pid} \\(.*lock-holder.mjs ${directory}\\)\n$`));
    // And it keeps what it says.
    expect((await tryLock()).stdout).toBe(second.stdout);
  });

  it('is free when its process is killed', async () => {
    await kill(await holder());
    expect(fs.readFileSync(join(directory, 'lock'), 'utf8')).not.toBe('');
    await holder();
  });

  it('is free when it is released, though the process lives on', async () => {
    await holder('release');
    const { lockDirectory } = await lockHere();
    const lock = lockDirectory(directory);
    expect(lock).not.toHaveProperty('heldBy');
    expect((await tryLock()).stdout).toMatch(new RegExp(`^held by pid ${process.pid} `));
    (lock as { release(): void }).release();
    await holder();
  });

  it('is refused to the process that has it', async () => {
    const { lockDirectory } = await lockHere();
    const lock = lockDirectory(directory);
    expect(lockDirectory(directory)).toMatchObject({ heldBy: expect.stringContaining(`pid ${process.pid} `) as string });
    // By another name, too.
    fs.symlinkSync(directory, `${directory}.link`);
    expect(lockDirectory(`${directory}.link`)).toHaveProperty('heldBy');
    fs.unlinkSync(`${directory}.link`);
    (lock as { release(): void }).release();
    // A second release closes nothing that is somebody else's by then.
    const other = fs.openSync('/dev/null', 'r');
    (lock as { release(): void }).release();
    expect(fs.fstatSync(other).isCharacterDevice()).toBe(true);
    fs.closeSync(other);
    (lockDirectory(directory) as { release(): void }).release();
  });

  it('of a shorter command line names that one alone', async () => {
    fs.writeFileSync(join(directory, 'lock'), `999999999 ${'x'.repeat(10_000)}\n`);
    const first = await holder();
    expect((await tryLock()).stdout).toBe(`held by pid ${first.pid} (${process.execPath} ${HOLDER} ${directory})\n`);
  });

  it('has to be there', async () => {
    const { lockDirectory } = await lockHere();
    expect(() => lockDirectory(join(directory, 'none'))).toThrow(/ENOENT/);
  });
});
