import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { LmdbAt } from '../../src/base/lmdb-image.js';
import type { EventView, StatusView } from '../../src/control/schemas.js';
import { KeyKind } from '../../src/stargate/store/format.js';
import { gatepath, readClusterFile } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { run, TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';
import { DamagedDirectory } from './verify/damaged-directory.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;
const CHUNK_KEY_BYTES = 11;
const STORE = 'stargate/store/data.mdb';

// Of a single node: rot.test.ts.
describe.skipIf(missing.length > 0)(`a node of a cluster whose block store is damaged${missingNote(missing)}`, () => {
  const dir = makeTempDir('damaged-store');
  const data = join(dir, 'data');
  const cluster = new GatepathCluster({ dataDir: data, nodes: 2, extraArgs: ['--rf', '2', '--vdisk', 'demo:64M'] });
  const byHand: TestProcess[] = [];
  afterEach(async () => {
    for (const child of byHand) await child.kill();
    await cluster.kill();
  });
  afterAll(() => removeTempDir(dir));

  it('gives its copies up for a page, and is brought up from the other node; does not start where it has the only copy; and has a record written anew', async () => {
    await cluster.start();
    const second = (): { pid: number; dataDir: string; command: readonly string[] } => readClusterFile(data)!.nodes[1]!;
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'demo');
    await client.write(0, Buffer.alloc(1 << 20, 7));
    const damaged = new DamagedDirectory(second().dataDir);
    const flip = (): void => damaged.flip(STORE, damaged.lmdbPages(STORE).root + LmdbAt.flags, 0xff);
    const kill = async (): Promise<void> => {
      const { pid } = second();
      process.kill(pid, 'SIGKILL');
      await waitFor('it has ended', WAIT_MS, () => !existsSync(`/proc/${pid}`));
    };
    const start = async (): Promise<void> => {
      const { pid, command } = second();
      byHand.push(TestProcess.start(command));
      await waitFor('the node is back', WAIT_MS, () => second().pid !== pid);
    };
    const show = async (vdisk: string): Promise<{ health: string; members: string[] }> =>
      JSON.parse(await gatepath('vdisk', 'show', vdisk, '--json', '--data', data)) as { health: string; members: string[] };

    await kill();
    flip();
    await start();
    const aside = join(second().dataDir, 'stargate-damaged-1');
    expect(existsSync(join(aside, 'store', 'data.mdb'))).toBe(true);
    await waitFor('all copies are whole', WAIT_MS, async () => (await show('demo')).health === 'healthy');
    expect((await show('demo')).members).toEqual(['node-1', 'node-2']);
    const events = JSON.parse(await gatepath('events', '--data', second().dataDir, '--json')) as EventView[];
    const cause = expect.stringMatching(
      /store\/data\.mdb, is damaged, page \d+: flags \d+ .*the copies of this node are given up/,
    ) as string;
    expect(events).toContainEqual(expect.objectContaining({ kind: 'rot-found', severity: 'error', cause }));

    await gatepath('container', 'create', 'one', '--rf', '1', '--data', data);
    await gatepath('vdisk', 'create', 'alone', '64M', '--container', 'one', '--data', second().dataDir);
    expect((await show('alone')).members).toEqual(['node-2']);
    const recordOf = (): { readonly at: number } | undefined =>
      [...damaged.records(STORE)].find(([key]) => key.length === CHUNK_KEY_BYTES && key.charCodeAt(0) === KeyKind.chunk)?.[1];
    await waitFor('what came is in its extents', WAIT_MS, () => recordOf() !== undefined);
    await kill();
    flip();
    const refused = await run(second().command);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/data\.mdb, is damaged, page \d+: .*; no other node has alone/),
    ]);
    expect(existsSync(join(second().dataDir, 'stargate-damaged-2'))).toBe(false);
    flip();
    damaged.flip(STORE, recordOf()!.at + 30, 4);
    await start();
    await waitFor('it is served again', WAIT_MS, async () => (await show('alone')).health === 'healthy');
    await waitFor('all copies are whole', WAIT_MS, async () => (await show('demo')).health === 'healthy');

    // Nothing of it is in the memory of that node. A record of its block store, of 64 blocks, is damaged.
    await gatepath('node', 'drain', 'node-1', '--data', data);
    expect((await client.read(0, 1 << 20)).equals(Buffer.alloc(1 << 20, 7))).toBe(true);
    const { shards } = JSON.parse(await gatepath('status', '--data', second().dataDir, '--json')) as StatusView;
    expect(shards.reduce((sum, { rot }) => sum + rot.refilledRecords, 0)).toBe(1);
    expect(shards.reduce((sum, { rot }) => sum + rot.lostBlocks, 0)).toBe(0);
    await client.disconnect();
    await cluster.stop();
    expect(await gatepath('verify', data)).toMatch(/^between nodes: clean/m);
  });
});
