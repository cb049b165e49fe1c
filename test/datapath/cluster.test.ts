import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { gatepath, gatepathArgv } from '../support/gatepath.js';
import { GatepathCluster, isAlive } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;
const PAGE = 4_096;

interface Session {
  readonly name: string;
  readonly state: string;
  readonly node: string | null;
  readonly path: string | null;
  readonly connections: number;
}

describe.skipIf(missing.length > 0)(`a datapath of several nodes${missingNote(missing)}`, () => {
  const dir = makeTempDir('dp-cluster');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'c'), nodes: 3, extraArgs: ['--rf', '1', '--vdisk', 'near:64M'] });
  const byHand: TestProcess[] = [];
  afterEach(async () => {
    for (const child of byHand) await child.kill();
    await cluster.kill();
  });
  afterAll(() => removeTempDir(dir));

  const data = cluster.options.dataDir;
  const connect = (vdisk: string): Promise<NbdClient> => NbdClient.connect({ socket: cluster.nbdSocket }, vdisk);
  const sessions = async (): Promise<Session[]> => {
    const status = JSON.parse(await gatepath('status', '--json', '--data', join(data, 'datapath'))) as {
      datapath: { sessions: Session[] };
    };
    return status.datapath.sessions.filter(({ connections }) => connections > 0);
  };

  it('serves what another node keeps, while the local Stargate is dead too: I/O, new attachments, and a start of its own', async () => {
    await cluster.start();
    const { nodes, datapath } = cluster.file;
    await gatepath('vdisk', 'create', 'far', '64M', '--data', join(data, 'node-2'));
    await gatepath('attach', 'far', '--data', join(data, 'node-2'));
    const far = await connect('far');
    await far.write(0, Buffer.alloc(PAGE, 7));
    expect((await sessions()).map(({ name, node, path }) => [name, node, path])).toEqual([['far', 'node-2', 'unix']]);

    process.kill(nodes[0]!.pid, 'SIGKILL');
    await far.write(PAGE, Buffer.alloc(PAGE, 8));
    expect((await far.read(0, PAGE))[0]).toBe(7);
    // Its metadata comes from another Stargate now.
    await gatepath('vdisk', 'create', 'later', '64M', '--data', join(data, 'node-3'));
    await gatepath('attach', 'later', '--data', join(data, 'node-3'));
    const later = await connect('later');
    await later.write(0, Buffer.alloc(PAGE, 9));
    await later.disconnect();
    await far.disconnect();

    // It starts without the local Stargate, from what it remembers.
    process.kill(datapath.pid, 'SIGKILL');
    expect(existsSync(`${cluster.nbdSocket}.nodes`)).toBe(true);
    await cluster.process.waitUntil('the datapath has ended', WAIT_MS, () => !isAlive(datapath.pid));
    byHand.push(TestProcess.start(gatepathArgv('datapath', '--config', join(data, 'datapath', 'datapath.yaml'))));
    await waitFor('both are served again', WAIT_MS, async () => {
      try {
        for (const [vdisk, fill] of [
          ['far', 7],
          ['later', 9],
        ] as const) {
          const client = await connect(vdisk);
          if ((await client.read(0, PAGE))[0] !== fill) throw new Error(`${vdisk} has lost what was written`);
          await client.disconnect();
        }
        return true;
      } catch (error) {
        if ((error as Error).message.includes('has lost')) throw error;
        return false;
      }
    });
  });
});
