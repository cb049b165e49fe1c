import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, beforeEach } from 'vitest';

const LIMIT_MS = 70_000;

const WATCHDOG = `
  const { parentPort, workerData } = require('node:worker_threads');
  let limit;
  parentPort.on('message', name => {
    clearTimeout(limit);
    limit = setTimeout(() => {
      require('node:fs').writeSync(2, 'blocked for ever: ' + name + '\\n');
      process.kill(process.pid, 'SIGKILL');
    }, workerData);
  });
`;

/** Ends the process where a test blocks its thread for ever: the time limit of the test runner needs that thread's event loop. */
export function useWatchdog(): void {
  let watchdog: Worker;
  beforeAll(() => {
    watchdog = new Worker(WATCHDOG, { eval: true, workerData: LIMIT_MS });
    watchdog.unref();
  });
  beforeEach(context => watchdog.postMessage(context.task.name));
  afterAll(async () => {
    await watchdog.terminate();
  });
}
