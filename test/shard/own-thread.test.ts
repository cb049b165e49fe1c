import { getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

const MODULE = new URL('../../dist/shard/own-thread.js', import.meta.url);

it('a thread that yields to others is the only one of its process that does', async () => {
  const before = getPriority();
  const script = `
    const { parentPort } = require('node:worker_threads');
    const { getPriority } = require('node:os');
    import('${MODULE.href}').then(({ ownThreadId, yieldToOthers }) => {
      yieldToOthers(${before + 3});
      parentPort.postMessage({ thread: ownThreadId(), priority: getPriority(ownThreadId()) });
    });`;
  const worker = new Worker(script, { eval: true });
  const { thread, priority } = await new Promise<{ thread: number; priority: number }>((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
  });
  await worker.terminate();
  expect(thread).not.toBe(process.pid);
  expect([priority, getPriority()]).toEqual([before + 3, before]);
});
