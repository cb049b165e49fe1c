import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../../src/control/client.js';
import { gatepath, gatepathArgv } from '../../support/gatepath.js';
import { GatepathCluster } from '../../support/gatepath-cluster.js';
import { NbdClient, type NbdReplyError } from '../../support/nbd/client.js';
import { check, TestProcess } from '../../support/process.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep, waitFor } from '../../support/wait.js';
import { makeRaw } from './images.js';

const missing = missingPrograms('etcd', 'setpriv', 'qemu-img', 'nbdkit', 'nbdcopy');
const seed = seedFromEnvironment();
const MIB = 2 ** 20;
const WAIT_MS = 90_000;
const ENOSPC = 28;
const QUOTA_MIB = 96;
/** Each vdisk of the container that has the quota; there are more of them than fit. */
const VDISK_MIB = 48;
/** What several nodes may take beyond a quota before they hear of each other. */
const BEYOND_MIB = 24;

describe.skipIf(missing.length > 0)(`import, export and quotas on three nodes, seed ${seed}${missingNote(missing)}`, () => {
  const dir = makeTempDir('xnodes');
  const cluster = new GatepathCluster({ dataDir: join(dir, 'c'), nodes: 3, extraArgs: ['--rf', '2', '--restart'] });
  const data = cluster.options.dataDir;
  const servers: TestProcess[] = [];

  beforeAll(() => cluster.start());
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.kill();
  });
  afterAll(async () => {
    await cluster.kill();
    removeTempDir(dir);
  });

  const at = (name: string): string => join(dir, name);
  const dataOf = (node: string): string => cluster.file.nodes.find(({ id }) => id === node)!.dataDir;
  const client = (node = 'node-1') => new ControlClient({ socketPath: join(dataOf(node), 'control.sock') });
  const vdisk = (...args: string[]): Promise<string> => gatepath('vdisk', ...args, '--data', data);
  const start = (...args: string[]): TestProcess => TestProcess.start(gatepathArgv('vdisk', ...args, '--data', data));

  /** Node → the next start of it serves. */
  async function killed(node: string): Promise<() => Promise<void>> {
    const { pid } = cluster.file.nodes.find(({ id }) => id === node)!;
    process.kill(pid, 'SIGKILL');
    return async () => {
      await waitFor(`${node} is back`, WAIT_MS, () => cluster.file.nodes.find(({ id }) => id === node)!.pid !== pid);
      await waitFor('all copies', WAIT_MS, async () => {
        const all = await client()
          .listVdisks()
          .catch(() => []);
        return all.length > 0 && all.every(({ health }) => health === 'healthy');
      });
    };
  }

  async function serve(...argv: string[]): Promise<string> {
    const socket = at(`s${servers.length}.sock`);
    rmSync(socket, { force: true });
    const server = TestProcess.start(argv.map(one => (one === 'SOCKET' ? socket : one)));
    servers.push(server);
    await server.waitUntil('its socket', 20_000, () => existsSync(socket));
    return socket;
  }

  it('comes in through one node and out through another', async () => {
    const raw = makeRaw(at('disk.raw'), seed);
    await gatepath('vdisk', 'import', 'one', raw.path, '--data', dataOf('node-1'));
    expect((await client('node-2').showVdisk('one')).members).toHaveLength(2);
    await gatepath('vdisk', 'export', 'one', at('one.raw'), '--data', dataOf('node-3'));
    const [wanted, found] = [readFileSync(raw.path), readFileSync(at('one.raw'))];
    expect(found.subarray(0, wanted.length).equals(wanted)).toBe(true);
    expect(found.subarray(wanted.length).every(byte => byte === 0)).toBe(true);
  });

  it('goes on when its controller’s node is killed in the middle: in and out', async () => {
    const slow = await serve('nbdkit', '-f', '-U', 'SOCKET', '--filter=delay', 'pattern', 'size=128M', 'delay-read=1');
    const fast = await serve('nbdkit', '-f', '-U', 'SOCKET', 'pattern', 'size=128M');
    await check(['nbdcopy', `nbd+unix:///?socket=${fast}`, at('pattern.raw')]);
    const importing = start('import', 'two', `nbd+unix:///?socket=${slow}`);
    const controller = await waitFor('some of it is there', WAIT_MS, async () => {
      const found = (await client().listVdisks()).find(({ lease }) => lease?.vdiskName === 'two');
      return (found?.allocatedBytes ?? 0) + (found?.logBytes ?? 0) > 0 && found!.controller!;
    });
    let whole = await killed(controller);
    expect([await importing.exited, importing.stderr]).toEqual([expect.objectContaining({ code: 0 }), expect.any(String)]);
    await vdisk('export', 'two', at('two.raw'));
    expect(await check(['cmp', at('pattern.raw'), at('two.raw')])).toBe('');
    await whole();

    writeFileSync(at('target.raw'), '');
    await check(['truncate', '-s', '128M', at('target.raw')]);
    const target = await serve('nbdkit', '-f', '-U', 'SOCKET', '--filter=delay', 'file', at('target.raw'), 'delay-write=1');
    const exporting = start('export', 'two', `nbd+unix:///?socket=${target}`);
    await waitFor('some of it is written', WAIT_MS, () => statSync(at('target.raw')).blocks > 0);
    whole = await killed(
      (
        await client('node-2')
          .showVdisk('two')
          .catch(() => client('node-3').showVdisk('two'))
      ).controller!,
    );
    expect([await exporting.exited, exporting.stderr]).toEqual([expect.objectContaining({ code: 0 }), expect.any(String)]);
    expect(await check(['cmp', at('pattern.raw'), at('target.raw')])).toBe('');
    await whole();
  });

  /** Until there is no space: MiB that were answered, from the next one on. */
  async function writeAll(name: string, from: number): Promise<number> {
    const nbd = await NbdClient.connect({ socket: cluster.nbdSocket }, name);
    try {
      for (let i = from; i < VDISK_MIB; i++) await nbd.write(i * MIB, Buffer.alloc(MIB, i + 1));
      return VDISK_MIB;
    } catch (error) {
      expect((error as NbdReplyError).errnoCode).toBe(ENOSPC);
      const map = await client().mapVdisk(name, 0);
      return map.ranges.reduce((sum, { lengthBytes, state }) => sum + (state === 'data' ? lengthBytes : 0), 0) / MIB;
    } finally {
      await nbd.disconnect();
    }
  }
  const settled = (node?: string) =>
    waitFor('drained', WAIT_MS, async () => {
      const one = await client(node).showContainer('tight');
      return one.logBytes === 0 && one;
    });

  it('shares a quota among the nodes: together they take all of it, and little more, also after a trim, and after one is killed', async () => {
    await gatepath('container', 'create', 'tight', '--rf', '2', '--quota', `${QUOTA_MIB}M`, '--enospc', 'error', '--data', data);
    const names = ['q1', 'q2', 'q3', 'q4', 'q5', 'q6'];
    for (const name of names) {
      // Whoever is asked is the first to control it.
      const through = dataOf(`node-${1 + (names.indexOf(name) % 3)}`);
      await gatepath('vdisk', 'create', name, `${VDISK_MIB}M`, '--container', 'tight', '--data', through);
      await gatepath('attach', name, '--data', data);
    }
    const controllers = new Map<string, string>();
    for (const name of names) controllers.set(name, (await client().showVdisk(name)).controller!);
    expect(new Set(controllers.values()).size).toBeGreaterThan(1);

    const used = await Promise.all(names.map(name => writeAll(name, 0)));
    const sum = used.reduce((a, b) => a + b, 0);
    expect(sum).toBeGreaterThan(QUOTA_MIB - names.length * 2);
    expect(sum).toBeLessThan(QUOTA_MIB + BEYOND_MIB);
    for (const node of ['node-1', 'node-2', 'node-3']) expect((await settled(node)).allocatedBytes).toBe(sum * MIB);
    await waitFor('both copies are drained', WAIT_MS, async () => (await client().showContainer('tight')).physicalBytes === 2 * sum * MIB);

    // What one gives back another one's vdisk takes, at another node.
    const [giver] = names;
    const taker = names.find(name => controllers.get(name) !== controllers.get(giver!))!;
    const nbd = await NbdClient.connect({ socket: cluster.nbdSocket }, giver!);
    await nbd.trim(0, VDISK_MIB * MIB);
    await nbd.disconnect();
    const before = used[names.indexOf(taker)]!;
    const after = await waitFor('space for the other', WAIT_MS, async () => {
      const now = await writeAll(taker, 0);
      return now > before && now;
    });
    expect((await settled()).allocatedBytes).toBeLessThan((QUOTA_MIB + BEYOND_MIB) * MIB);
    expect(after).toBeLessThanOrEqual(VDISK_MIB);

    const whole = await killed(controllers.get(taker)!);
    const left = ['node-1', 'node-2', 'node-3'].find(node => node !== controllers.get(taker))!;
    await waitFor(
      'another one controls it',
      WAIT_MS,
      async () => (await client(left).showVdisk(taker)).controller !== controllers.get(taker),
    );
    await sleep(1_000);
    for (const name of names) await writeAll(name, 0);
    await whole();
    for (const node of ['node-1', 'node-2', 'node-3']) {
      const { allocatedBytes } = await settled(node);
      expect(allocatedBytes / MIB).toBeLessThan(QUOTA_MIB + 2 * BEYOND_MIB);
      expect(allocatedBytes / MIB).toBeGreaterThan(QUOTA_MIB - names.length * 2);
    }
  });
});
