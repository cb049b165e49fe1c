import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { gatepath } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 120_000;
const PAGE = 4_096;
const BLOCKS = 64;

interface Shown {
  readonly controller: string;
  readonly health: string;
}

describe.skipIf(missing.length > 0)(`durability: flush on three nodes${missingNote(missing)}`, () => {
  const dir = makeTempDir('flush-nodes');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3, extraArgs: ['--restart'] });
  const data = cluster.options.dataDir;
  afterEach(() => cluster.kill());
  afterAll(() => removeTempDir(dir));

  const show = async (): Promise<Shown> => JSON.parse(await gatepath('vdisk', 'show', 'disk', '--json', '--data', data)) as Shown;
  const healthy = (): Promise<Shown> =>
    waitFor('three members', WAIT_MS, async () => {
      const said = await show().catch(() => undefined);
      return said?.health === 'healthy' ? said : undefined;
    });
  const kill = (which: (id: string) => boolean): void => {
    for (const { id, pid } of cluster.file.nodes) if (which(id)) process.kill(pid, 'SIGKILL');
  };

  /** Many writes, so that some are in memory alone when they have been answered. */
  async function fill(client: NbdClient, value: number): Promise<void> {
    await Promise.all(Array.from({ length: BLOCKS }, (_, i) => client.write(i * PAGE, Buffer.alloc(PAGE, value))));
  }

  const content = async (client: NbdClient): Promise<number[]> => {
    const found: number[] = [];
    for (let i = 0; i < BLOCKS; i++) found.push((await client.read(i * PAGE, PAGE))[0]!);
    return [...new Set(found)];
  };

  it('the death of one, or of the controller, costs nothing; of all: what was not flushed, and the next flush fails once', async () => {
    await cluster.start();
    await gatepath('container', 'create', 'cached', '--rf', '3', '--durability', 'flush', '--data', data);
    await gatepath('vdisk', 'create', 'disk', '64M', '--container', 'cached', '--data', data);
    await gatepath('attach', 'disk', '--data', data);
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'disk');
    const { controller: first } = await healthy();

    await fill(client, 1);
    kill(id => id !== first && id !== cluster.file.nodes.find(node => node.id !== first)!.id);
    await fill(client, 2);
    await client.flush();
    expect(await content(client)).toEqual([2]);

    const { controller } = await healthy();
    await fill(client, 3);
    kill(id => id === controller);
    await client.flush();
    expect(await content(client)).toEqual([3]);
    expect((await show()).controller).not.toBe(controller);

    await healthy();
    await client.flush();
    await fill(client, 4);
    kill(() => true);
    await expect(client.flush()).rejects.toThrow(/error 5/);
    await client.flush();
    const left = await content(client);
    expect(left.every(value => value === 3 || value === 4)).toBe(true);
    await fill(client, 5);
    await client.flush();
    const { controller: last } = await healthy();
    // Whoever follows does not tell it again.
    kill(id => id === last);
    await client.flush();
    expect(await content(client)).toEqual([5]);
    await client.disconnect();
  });
});
