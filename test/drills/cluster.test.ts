import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/drill/cluster.js';
import { findLeader, makeLeader } from '../../src/drill/etcd.js';
import type { Report } from '../../src/drill/report.js';
import { gatepathArgv, runGatepath } from '../support/gatepath.js';
import { GatepathCluster } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { isQuarantined } from '../support/quarantine.js';
import { run } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const DRILL_TIMEOUT_MS = 280_000;
/** Restarts of whole processes, on a machine that may be busy. */
const WAIT_MS = 120_000;
const NOTHING = { lost: 0, doubled: 0, stale: 0, torn: 0 };
const MIB = 1 << 20;

interface Shown {
  readonly controller: string;
  readonly members: readonly string[];
}

/** Real Stargates, etcd and datapath: what the simulation leaves out. Bounds of pauses are for drills on a quiet machine. */
describe.skipIf(missing.length > 0)(`three nodes, two replicas${missingNote(missing)}`, { timeout: 2 * DRILL_TIMEOUT_MS }, () => {
  const dir = makeTempDir('drill-cluster');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'data'), nodes: 3, extraArgs: ['--rf', '2', '--vdisk', 'demo:1G'] });

  beforeAll(() => cluster.start(), WAIT_MS);
  afterAll(async () => {
    await cluster.kill();
    removeTempDir(dir);
  });

  const show = async (): Promise<Shown> =>
    JSON.parse((await runGatepath('vdisk', 'show', 'demo', '--data', cluster.options.dataDir, '--json')).stdout) as Shown;

  it('makes any member of etcd the one that leads', async () => {
    const system = new Cluster(cluster.options.dataDir, false);
    for (const member of [...system.file.etcd, ...system.file.etcd]) {
      await makeLeader(system, member);
      expect((await findLeader(system)).address).toBe(member.address);
    }
  });

  it('kill: nothing lost, doubled or stale, no error, no connection dropped; every replica has everything', async () => {
    const args = ['drill', 'kill', '--data', cluster.options.dataDir, '--rounds', '1', '--seconds', '5', '--json'];
    const { stdout, stderr, code } = await run(gatepathArgv(...args), { timeoutMs: DRILL_TIMEOUT_MS });
    expect(stdout, stderr).toMatch(/^\{/);
    const { passed, rounds } = JSON.parse(stdout) as Report;
    expect({ code, passed, failures: rounds[0]!.failures }).toEqual({ code: 0, passed: true, failures: [] });
    expect(rounds[0]).toMatchObject({ disconnects: 0, errors: 0, stuck: 0, verdict: { counts: NOTHING } });
    expect(await isQuarantined('demo', cluster.options.dataDir)).toBe(false);
  });

  it('a member that dies is replaced on the third node, from the extents; that one serves alone what it was given', async () => {
    await waitFor('two members', WAIT_MS, async () => (await show()).members.length === 2);
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'demo');
    const content = (i: number): Buffer => Buffer.alloc(MIB, 1 + (i % 250));
    // More than the log keeps: what comes later gets it from the extents.
    for (let i = 0; i < 400; i++) await client.write(i * MIB, content(i));
    const { controller, members } = await show();
    const gone = members.find(node => node !== controller)!;
    kill(gone);
    await waitFor('another member in its place', WAIT_MS, async () => {
      const now = (await show()).members;
      return now.length === 2 && !now.includes(gone);
    });
    kill(controller);
    for (const i of [0, 1, 200, 399]) expect((await client.read(i * MIB, MIB)).equals(content(i))).toBe(true);
    const after = await show();
    expect([gone, controller]).not.toContain(after.controller);
    await client.disconnect();
  });

  function kill(id: string): void {
    process.kill(cluster.file.nodes.find(node => node.id === id)!.pid, 'SIGKILL');
  }
});
