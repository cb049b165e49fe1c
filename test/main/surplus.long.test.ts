import { appendFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../src/control/client.js';
import { gatepath } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;
const MIB = 2 ** 20;
const DATA_MIB = 24;

interface Shown {
  readonly controller: string;
  readonly members: readonly string[];
  readonly health: string;
}

describe.skipIf(missing.length > 0)(`a copy that its vdisk has no place for${missingNote(missing)}`, () => {
  const dir = makeTempDir('surplus');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3, extraArgs: ['--rf', '2'] });
  const data = cluster.options.dataDir;
  let returned: TestProcess | undefined;
  afterAll(async () => {
    await returned?.kill();
    await cluster.kill();
    removeTempDir(dir);
  });

  const show = async (): Promise<Shown> => JSON.parse(await gatepath('vdisk', 'show', 'disk', '--json', '--data', data)) as Shown;
  const healthy = () =>
    waitFor('two copies', WAIT_MS, async () => {
      const said = await show();
      return said.health === 'healthy' && said.members.length === 2 ? said : undefined;
    });
  /** Of the extents of a node. */
  function allocatedMib(dataDir: string): number {
    const extents = join(dataDir, 'stargate', 'extents');
    const files = readdirSync(extents, { recursive: true, encoding: 'utf8' }).map(path =>
      statSync(join(extents, path), { throwIfNoEntry: false }),
    );
    return files.reduce((sum, file) => sum + (file?.isFile() === true ? file.blocks * 512 : 0), 0) / MIB;
  }

  it('is removed after keepSurplusMs: its space comes back, the event says so, and the other copies have everything', async () => {
    await cluster.start();
    await gatepath('vdisk', 'create', 'disk', '64M', '--data', data);
    await gatepath('attach', 'disk', '--data', data);
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'disk');
    for (let i = 0; i < DATA_MIB; i++) await client.write(i * MIB, Buffer.alloc(MIB, i + 1));
    const { controller, members } = await healthy();
    const lost = members.find(node => node !== controller)!;
    const { pid, command, dataDir } = cluster.file.nodes.find(({ id }) => id === lost)!;
    const member = new ControlClient({ socketPath: join(dataDir, 'control.sock') });
    await waitFor('its drain', WAIT_MS, async () => (await member.counters()).stored[0]?.allocatedBytes === DATA_MIB * MIB);
    process.kill(pid, 'SIGKILL');
    await waitFor('another node has its place', WAIT_MS, async () => !(await show()).members.includes(lost));
    expect((await healthy()).members).not.toContain(lost);

    expect(allocatedMib(dataDir)).toBeGreaterThanOrEqual(DATA_MIB);
    appendFileSync(command[command.indexOf('--config') + 1]!, '\nkeepSurplusMs: 3000\n');
    returned = TestProcess.start(command);
    await waitFor('its space', WAIT_MS, () => allocatedMib(dataDir) < 1);
    const events = JSON.parse(await gatepath('events', '--json', '--vdisk', 'disk', '--data', dataDir)) as readonly object[];
    expect(events).toContainEqual(
      expect.objectContaining({ source: lost, kind: 'replica-discarded', details: { freedBytes: DATA_MIB * MIB } }),
    );
    expect((await show()).members).not.toContain(lost);
    for (let i = 0; i < DATA_MIB; i++) expect((await client.read(i * MIB, 4096))[0]).toBe(i + 1);
    await client.disconnect();
  });
});
