import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { TestProcess } from '../support/process.js';
import type { TestSettings } from './parts.js';

const SCRIPT = fileURLToPath(new URL('process.ts', import.meta.url));
const TIMEOUT_MS = 20_000;

describe.each(['io_uring', 'libuv'] as const)('the shards of a process, %s', engine => {
  const start = (trouble: TestSettings['trouble']) => TestProcess.start([process.execPath, '--import', 'tsx', SCRIPT, trouble, engine]);

  it('start, answer, and end when they are told to', async () => {
    const child = start('none');
    await child.waitUntil('answers', TIMEOUT_MS, () => child.stdout.includes('both shards answer'));
    expect(await child.stop(TIMEOUT_MS)).toEqual({ code: 0, signal: null });
  });

  it('one that cannot start its parts ends them all, with the reason', async () => {
    const child = start('does not mount');
    expect(await child.exited).toEqual({ code: 1, signal: null });
    expect(child.stdout).toContain('not started: ERR_DAMAGED: the directory is damaged');
  });

  it('one that crashes ends the process', async () => {
    const child = start('crashes');
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(child.stderr).toContain('a shard has crashed: a bug');
  });

  it('one that does not end in time does not keep the process', async () => {
    const child = start('does not close');
    await child.waitUntil('answers', TIMEOUT_MS, () => child.stdout.includes('both shards answer'));
    expect(await child.stop(TIMEOUT_MS)).toEqual({ code: null, signal: 'SIGKILL' });
    expect(child.stderr).toContain('shards did not end within 500 ms');
  });
});
