import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
// Compiled code: workers run it.
import { StoreHandle } from '../../../dist/stargate/store/store-handle.js';

/** A shard as it is in its ring: it never returns to Node's event loop, and only a wake gets it out of its wait. */
const SHARD = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(({ openBlockStore }) => {
    const signal = new SharedArrayBuffer(64);
    const words = new Int32Array(signal);
    const listeners = [];
    const store = openBlockStore(workerData.connection, { wakeHandle: { signal, eventFd: -1 }, onWake: listener => listeners.push(listener) }, 4);
    let answers = 0;
    let layer = 0;
    const seen = [];
    const owner = {
      onCommitted: (tag, ok) => { answers++; if (!ok) throw new Error('the door was shut'); },
      onLayerCreated: (tag, created) => { answers++; layer = created; },
      onStoreFailed: message => { throw new Error(message); },
    };
    const wait = wanted => {
      while (answers < wanted) {
        if (Atomics.wait(words, 0, seenWakes, 10_000) === 'timed-out') throw new Error('nobody woke the shard');
        seenWakes = Atomics.load(words, 0);
        for (const listener of listeners) listener();
      }
    };
    let seenWakes = 0;
    store.createLayer('v', owner, 0);
    wait(1);
    const out = { state: new Uint8Array(64), crc: new Uint32Array(64), seq: new Float64Array(64) };
    for (let i = 0; i < workerData.commits; i++) {
      const drain = { layer, segment: 0, fromSeq: i, toSeq: i + 1, count: 1, block: Int32Array.of(i % 640), blocks: Int32Array.of(1), state: Uint8Array.of(1), crc: Uint32Array.of(i), seq: Float64Array.of(i + 1) };
      store.commitDrain(drain, owner, i);
      store.lookup(layer, 0, i % 640, 1, out);
      wait(i + 2);
      store.lookup(layer, 0, i % 640, 1, out);
      if (out.state[0] !== 1 || out.crc[0] !== i || out.seq[0] !== i + 1) throw new Error('commit ' + i + ' is not seen: ' + [out.state[0], out.crc[0], out.seq[0]]);
    }
    parentPort.postMessage({ drained: store.drainSeq(layer, 0), bytes: store.allocatedBytes(layer), misses: store.statistics().chunkMisses });
  });
`;

describe('a shard blocked in its ring', () => {
  it('commits, is woken by the answer, and sees each of its commits at once', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gatepath-store-'));
    const handle = await StoreHandle.start(directory, error => {
      throw error;
    });
    const connection = handle.connect();
    const module = new URL('../../../dist/stargate/store/store-handle.js', import.meta.url).href;
    const worker = new Worker(SHARD, { eval: true, workerData: { connection, module, commits: 300 }, transferList: [connection.port] });
    const report = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    expect(report).toMatchObject({ drained: 300, bytes: 300 * 4096 });
    expect((report as { misses: number }).misses).toBeGreaterThan(300);
    await worker.terminate();
    await handle.stop();
    rmSync(directory, { recursive: true });
  });
});
