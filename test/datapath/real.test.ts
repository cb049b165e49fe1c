import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createArena } from 'uring-engine';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { DatapathMain } from '../../src/datapath/main.js';
import { keys } from '../../src/meta/model.js';
import { ShardPool, ShardThreads } from '../../src/shard/pool.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';
import type { TestShardSettings } from './real/shard.js';

const run = promisify(execFile);
const BYTES = 24 << 20;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-datapath-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe.each(['io_uring', 'libuv'] as const)('datapath in two threads, %s', engine => {
  it('serves libnbd over both shards, and stops within 2 s', async () => {
    const nbdSocket = join(directory, 'nbd.sock');
    const metadata = new MemoryMetadata();
    const vdisk = { id: randomUUID(), sizeBytes: BYTES, shard: 1 };
    const settings: TestShardSettings = { engine, nbdSocket, datapathUuid: randomUUID(), vdisk };
    const crashes: Error[] = [];
    const pool = await ShardPool.start({
      threads: new ShardThreads(2, fileURLToPath(new URL('real/worker.mjs', import.meta.url))),
      arena: createArena(512 << 20).handle,
      settings: () => ({ settings }),
      parts: 2,
      log: silentLogger,
      onCrash: error => crashes.push(error),
    });
    const main = new DatapathMain({ store: metadata, host: 'here', shards: pool, acceptingShard: 0, log: silentLogger });
    const attachment = { vdiskId: vdisk.id, vdiskName: 'demo', host: 'here', generation: 1, sizeBytes: BYTES, createdAt: '' };
    await metadata.put(keys.attachment('here', vdisk.id), attachment);
    await main.whenExported(vdisk.id, 5_000);

    const uri = `nbd+unix:///demo?socket=${nbdSocket}`;
    const [source, back] = [join(directory, 'source'), join(directory, 'back')];
    const content = randomBytes(BYTES);
    writeFileSync(source, content);
    await run('nbdcopy', ['--connections=4', '--requests=32', source, uri]);
    // The vdisk in memory maps half of everything as a hole, whatever it holds.
    await run('nbdcopy', ['--no-extents', '--connections=4', '--requests=32', uri, back]);
    expect(Buffer.compare(readFileSync(back), content)).toBe(0);
    const status = await main.status();
    const used = status.sessions.filter(session => session.opened > 0);
    expect(used.map(({ shard, path, state, unanswered, lost }) => ({ shard, path, state, unanswered, lost }))).toEqual([
      { shard: 0, path: 'other-shard', state: 'open', unanswered: 0, lost: 0 },
      { shard: 1, path: 'same-shard', state: 'open', unanswered: 0, lost: 0 },
    ]);

    await metadata.transaction([], [{ remove: keys.attachment('here', vdisk.id) }]);
    await main.whenRemoved(vdisk.id, 5_000);
    await expect(run('nbdinfo', [uri])).rejects.toThrow();
    main.close();
    const stopping = performance.now();
    await pool.stop();
    expect(performance.now() - stopping).toBeLessThan(2_000);
    expect(crashes).toEqual([]);
  });
});
