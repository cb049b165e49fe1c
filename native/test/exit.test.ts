import { describe, expect, it } from 'vitest';
import { run, script } from './support/child.js';

// process.exit, terminate and a fatal error join every thread. One that sleeps in its ring hears of none of them.

const LIMIT_MS = 8_000;

describe.each(['io_uring', 'libuv'])('a process whose threads are blocked in their engines: %s', kind => {
  const end = (how: string) => run([process.execPath, script('blocked-threads.mjs'), how, kind]);

  it('ends by process.exit', async () => {
    const ended = await end('exit');
    expect(ended).toMatchObject({ code: 7, signal: null });
    expect(ended.ms).toBeLessThan(LIMIT_MS);
  });

  it('ends by an exception that nobody catches', async () => {
    const ended = await end('throw');
    expect(ended).toMatchObject({ code: 1, signal: null });
    expect(ended.stderr).toContain('a bug of the main thread');
    expect(ended.ms).toBeLessThan(LIMIT_MS);
  });

  it('ends when its threads are terminated', async () => {
    const ended = await end('terminate');
    expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'all terminated\n' });
    expect(ended.ms).toBeLessThan(LIMIT_MS);
  });
});
