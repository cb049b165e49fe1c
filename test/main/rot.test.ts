import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LmdbAt } from '../../src/base/lmdb-image.js';
import { chunkKey, segmentKey } from '../../src/stargate/store/format.js';
import type { EventView, StatusView } from '../../src/control/schemas.js';
import { GatepathUp, gatepath, gatepathArgv } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { run } from '../support/process.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep, waitFor } from '../support/wait.js';
import { DamagedDirectory } from './verify/damaged-directory.js';

const BLOCK = 4096;
const CHUNK_BLOCKS = 64;
const WAIT_MS = 60_000;
const EIO = { errnoCode: 5 };

// Bits that flip on the disk of a node that holds the only copy.
describe('one copy that rots', () => {
  let dir = '';
  let data = '';
  let system: GatepathUp;
  let damaged: DamagedDirectory;
  const content = randomBytes(4 * CHUNK_BLOCKS * BLOCK);
  const connect = (name = 'web1') => NbdClient.connect({ socket: system.socket }, name);
  const block = (n: number) => content.subarray(n * BLOCK, (n + 1) * BLOCK);

  beforeEach(async () => {
    dir = makeTempDir('rot');
    data = join(dir, 'data');
    damaged = new DamagedDirectory(data);
    system = new GatepathUp({ dataDir: data, vdisk: 'web1', size: '1G', extraArgs: ['--vdisk', 'web2:1G'] });
    await system.start();
    for (const name of ['web1', 'web2']) {
      const client = await connect(name);
      await client.write(0, content);
      await client.disconnect();
    }
  });
  afterEach(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  const eventsOf = async (): Promise<EventView[]> => JSON.parse(await gatepath('events', '--data', data, '--json')) as EventView[];
  const rotOf = (events: readonly EventView[]) => events.filter(({ kind }) => kind === 'rot-found').map(({ details }) => details);

  it('in the extents: that block is EIO, its neighbours are read, it is told with its range, and a write heals it', async () => {
    await system.stop();
    damaged.flip('stargate/extents/1/0.ext', 5 * BLOCK + 99, 1);
    await system.start();
    const client = await connect();
    await expect(client.read(5 * BLOCK, BLOCK)).rejects.toMatchObject(EIO);
    await expect(client.read(3 * BLOCK, 4 * BLOCK)).rejects.toMatchObject(EIO);
    for (const good of [4, 6]) expect(await client.read(good * BLOCK, BLOCK)).toEqual(block(good));
    expect(rotOf(await eventsOf())).toContainEqual(expect.objectContaining({ offsetBytes: 5 * BLOCK, lengthBytes: BLOCK }));
    const { shards } = JSON.parse(await gatepath('status', '--data', data, '--json')) as StatusView;
    expect(shards.reduce((sum, { rot }) => sum + rot.lostBlocks, 0)).toBeGreaterThan(0);
    expect(await gatepath('status', '--data', data)).toMatch(/^damage {4}0 blocks repaired from other nodes; found nowhere whole: \d+$/m);
    // What the next drain of the segment needs, and this process has read before.
    const [, record] = [...damaged.records('stargate/store/data.mdb')].find(([key]) => key === segmentKey(1, 0).toString('latin1'))!;
    damaged.flip('stargate/store/data.mdb', record.at + 12, 4);
    await client.write(5 * BLOCK, block(5));
    expect(await client.read(0, content.length)).toEqual(content);
    await client.disconnect();
    await waitFor('the segment is drained', WAIT_MS, async () => (await eventsOf()).some(({ kind }) => kind === 'rot-mended'));
    await system.stop();
    expect(damaged.problems()).toEqual([]);
  });

  it('in a record of the block store: the blocks of that record are EIO, those beside them are read', async () => {
    await system.stop();
    const [, record] = [...damaged.records('stargate/store/data.mdb')].find(([key]) => key === chunkKey(1, 0, 2).toString('latin1'))!;
    damaged.flip('stargate/store/data.mdb', record.at + 30, 4);
    await system.start();
    // A field that the library does not look at; of a page that the start has written.
    const { root } = damaged.lmdbPages('stargate/store/data.mdb');
    damaged.flip('stargate/store/data.mdb', root + LmdbAt.transaction + 7, 1);
    const client = await connect();
    for (const n of [2 * CHUNK_BLOCKS, 3 * CHUNK_BLOCKS - 1]) await expect(client.read(n * BLOCK, BLOCK)).rejects.toMatchObject(EIO);
    for (const n of [2 * CHUNK_BLOCKS - 1, 3 * CHUNK_BLOCKS]) expect(await client.read(n * BLOCK, BLOCK)).toEqual(block(n));
    expect(rotOf(await eventsOf())).toContainEqual(expect.objectContaining({ offsetBytes: 2 * CHUNK_BLOCKS * BLOCK }));
    const other = await connect('web2');
    expect(await other.read(0, content.length)).toEqual(content);
    await client.disconnect();
    await other.disconnect();
    const status = await waitFor('the damaged page is told', 60_000, async () => {
      const told = JSON.parse(await gatepath('status', '--data', data, '--json')) as StatusView;
      return (told.storePages?.damaged ?? 0) > 0 && told;
    });
    expect(status).toMatchObject({ health: 'degraded', storePages: { damaged: 1 } });
    const cause = `the database of the block store is damaged, page ${root / 4096}: it is of a transaction that has not been`;
    expect(await eventsOf()).toContainEqual(expect.objectContaining({ kind: 'rot-found', vdiskId: null, cause }));
  });

  it('in the log: that vdisk is refused, and told with its range; the other one is served', async () => {
    // Until the log says of its last batches, too, that they are durable: before that, what is damaged is torn.
    await sleep(500);
    await system.kill();
    const entries = ['0', '1'].flatMap(n => {
      const found = damaged.batches(`stargate/oplog/stream-${n}`);
      return found === null ? [] : found.batches.flatMap(batch => batch.entries.map(entry => ({ ...entry, file: found.file })));
    });
    const entry = entries.find(({ kind, payloadBytes }) => kind === 1 && payloadBytes > 0)!;
    damaged.flip(entry.file, entry.payloadAt + 1, 1);
    const problem = damaged.problems().find(({ code }) => code === 'oplog-rot');
    await system.start();
    const [lost, whole] = problem!.vdisk === 'web1' ? ['web1', 'web2'] : ['web2', 'web1'];
    const list = JSON.parse(await gatepath('vdisk', 'show', lost, '--data', data, '--json')) as { health: string; problem: string };
    expect(list).toMatchObject({
      health: 'unavailable',
      problem: expect.stringContaining(`${entry.offsetBytes}+${entry.lengthBytes} of the vdisk`) as unknown,
    });
    expect(problem).toMatchObject({ offsetBytes: entry.offsetBytes, lengthBytes: entry.lengthBytes });
    const client = await connect(whole);
    expect(await client.read(0, content.length)).toEqual(content);
    await client.disconnect();
  });

  // Of a single record: damaged-metadata.test.ts.
  it('in a page of the metadata or of the block store: the node does not start, says which, and touches nothing', async () => {
    await system.stop();
    const meta = 'meta/data.mdb';
    const store = 'stargate/store/data.mdb';
    for (const [file, at, said] of [
      [meta, LmdbAt.flags + 2, /the metadata in \S+meta\/data\.mdb is damaged, page \d+: /],
      [store, LmdbAt.flags, /the block store, \S+store\/data\.mdb, is damaged, page \d+: .*only copy[\s\S]*restore the whole directory/],
    ] as const) {
      const { root } = damaged.lmdbPages(file);
      damaged.flip(file, root + at, 0xff);
      const before = readFileSync(join(data, file));
      const refused = await run(gatepathArgv('up', '--data', data));
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(said)]);
      expect(readFileSync(join(data, file)).equals(before)).toBe(true);
      damaged.flip(file, root + at, 0xff);
    }
    await system.start();
    const client = await connect();
    expect(await client.read(0, content.length)).toEqual(content);
    await client.disconnect();
  });
});
