import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { gatepath, runGatepath } from '../support/gatepath.js';
import { GatepathCluster, isAlive } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { run, TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;

describe.skipIf(missing.length > 0)(`nodes that go for good${missingNote(missing)}`, () => {
  const dir = makeTempDir('removal');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3 });
  const byHand: TestProcess[] = [];
  afterAll(async () => {
    for (const child of byHand) await child.kill();
    await cluster.kill();
    removeTempDir(dir);
  });

  async function write(fill: number): Promise<void> {
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'two');
    await client.write(0, Buffer.alloc(4_096, fill));
    await client.disconnect();
  }

  /** `ahead` goes on alone after `behind` has died, and dies too; `behind` returns, and nobody else. Then `ahead` is back, and gives up what it has. */
  async function recoverByForce(ahead: string, behind: string): Promise<void> {
    const data = cluster.options.dataDir;
    const nodeOf = (id: string) => cluster.file.nodes.find(one => one.id === id)!;
    const show = async (): Promise<{ members: string[]; health: string }> =>
      JSON.parse(await gatepath('vdisk', 'show', 'two', '--json', '--data', data)) as { members: string[]; health: string };
    const recover = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await runGatepath('vdisk', 'recover', 'two', ...args, '--data', nodeOf(behind).dataDir);
      return `${code} ${stdout}${stderr}`;
    };
    const start = (id: string): void => void byHand.push(TestProcess.start(nodeOf(id).command));
    await gatepath('attach', 'two', '--data', data);
    await write(3);
    await gatepath('detach', 'two', '--data', data);
    process.kill(nodeOf(behind).pid, 'SIGKILL');
    await waitFor('it goes on alone', WAIT_MS, async () => {
      const { members } = await show();
      return members.length === 1 && members[0] === ahead;
    });
    process.kill(nodeOf(ahead).pid, 'SIGKILL');
    start(behind);
    await waitFor('it serves', WAIT_MS, () => runGatepath('status', '--data', nodeOf(behind).dataDir).then(({ code }) => code === 0));
    // The one that was killed counts as alive for a few seconds.
    const known = await waitFor('what is known', WAIT_MS, async () => {
      const said = await recover();
      return said.includes('and lives, but') || said.includes('takes over') ? undefined : said;
    });
    expect(known).toContain('would be lost for good');
    expect(known).toMatch(new RegExp(`^1 vdisk two: history 1, term \\d+; members: ${ahead}\n`));
    expect(known).toMatch(new RegExp(`${behind} +\\d+ +\\d+ +whole`));
    expect(await recover('--accept-data-loss')).toContain(`0 vdisk two: history 1`);
    expect(await show()).toMatchObject({ members: [behind] });
    expect(await recover('--accept-data-loss')).toContain(`node "${behind}" serves it`);
    start(ahead);
    await waitFor('it has the copy of the other one', WAIT_MS, async () => (await show()).health === 'healthy');
    expect((await show()).members.sort()).toEqual([ahead, behind].sort());
  }

  it('one is drained and removed; of a vdisk whose other copy is gone the older one is recovered by force; a dead one is removed against all odds', async () => {
    await cluster.start();
    const data = cluster.options.dataDir;
    const show = async (): Promise<{ members: string[]; controller: string }> =>
      JSON.parse(await gatepath('vdisk', 'show', 'two', '--json', '--data', data)) as { members: string[]; controller: string };
    const remove = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await runGatepath('node', 'remove', ...args, '--data', data);
      return `${code} ${(stdout + stderr).replace(/\s+/g, ' ').trim()}`;
    };
    await gatepath('container', 'create', 'twice', '--rf', '2', '--data', data);
    await gatepath('vdisk', 'create', 'two', '64M', '--container', 'twice', '--data', data);
    const { controller: first, members } = await show();
    const [removed, spare] = [
      cluster.file.nodes.find(({ id }) => id === first)!,
      cluster.file.nodes.find(({ id }) => !members.includes(id))!,
    ];
    expect(await remove(first)).toBe(
      `1 error: node "${first}" is not removed: it lives, and is not drained others take over from it first: gatepath node drain ${first}`,
    );
    await gatepath('node', 'drain', first, '--data', data);
    expect(await remove(first)).toMatch(new RegExp(`^0 node "${first}" is removed.`));
    expect((await show()).members.sort()).toEqual([...members.filter(id => id !== first), spare.id].sort());
    await waitFor('up knows it', WAIT_MS, () => cluster.process.output.includes(`${first} has been removed from the cluster`));
    expect(cluster.file.nodes.map(({ id }) => id)).not.toContain(first);
    await waitFor('its process ends by itself', WAIT_MS, () => !isAlive(removed.pid));
    const again = await run(removed.command);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining(`${removed.dataDir} is of no cluster any more`) as string]);
    expect(await remove(first)).toMatch(/^0 /);

    await recoverByForce(
      members.find(id => id !== first)!,
      spare.id,
    );
    process.kill(cluster.file.nodes.find(({ id }) => id === spare.id)!.pid, 'SIGKILL');
    const isSilent = async (): Promise<boolean> => (await gatepath('node', 'show', spare.id, '--data', data)).includes('silent');
    await waitFor('the others notice', WAIT_MS, isSilent);
    expect(await remove(spare.id)).toContain(`1 error: node "${spare.id}" is not removed: vdisk two would have only 1 copy, fewer`);
    expect(await remove(spare.id, '--force')).toMatch(/^0 /);
    expect((await show()).members).toEqual(members.filter(id => id !== first));
    expect(await gatepath('node', 'list', '--data', data)).not.toContain(spare.id);
  });
});
