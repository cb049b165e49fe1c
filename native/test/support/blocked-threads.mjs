// A process with threads that are blocked in their engines, and one way for it to end: argv[2]; the engine: argv[3].
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { createArena, createEngine } from '../../dist/index.js';

const THREADS = 4;

if (isMainThread) {
  const [, , how, kind] = process.argv;
  const workers = Array.from({ length: THREADS }, () => new Worker(new URL(import.meta.url), { workerData: { how, kind } }));
  await Promise.all(workers.map(worker => new Promise(resolve => worker.once('message', resolve))));
  // They are asleep by now.
  await delay(100);
  if (how === 'exit') process.exit(7);
  if (how === 'throw') throw new Error('a bug of the main thread');
  if (how === 'terminate') {
    await Promise.all(workers.map(worker => worker.terminate()));
    console.log('all terminated');
  }
} else {
  const engine = createEngine({ arena: createArena(1 << 20), kind: workerData.kind });
  const listener = engine.listen({ family: 'tcp', host: '127.0.0.1', port: 0 });
  const client = engine.register({ onCompletion: () => undefined });
  engine.accept(listener, client, 0);
  parentPort.postMessage('blocked');
  await engine.run();
}
