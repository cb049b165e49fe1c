import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { ClusterReport } from '../../src/main/verify/cluster.js';
import { gatepath, gatepathArgv, readClusterFile, runGatepath } from '../support/gatepath.js';
import { GatepathCluster, isAlive, pidsOf } from '../support/gatepath-cluster.js';
import { NbdClient } from '../support/nbd/client.js';
import { run, TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const missing = missingPrograms('etcd', 'setpriv');
const WAIT_MS = 90_000;
const PAGE = 4_096;

describe.skipIf(missing.length > 0)(`gatepath up --nodes${missingNote(missing)}`, () => {
  const dir = makeTempDir('nodes');
  const clusters: GatepathCluster[] = [];
  const byHand: TestProcess[] = [];
  afterEach(async () => {
    for (const child of byHand.splice(0)) await child.kill();
    for (const cluster of clusters.splice(0)) await cluster.kill();
  });
  afterAll(() => removeTempDir(dir));

  function make(name: string, nodes: number, ...extraArgs: readonly string[]): GatepathCluster {
    const cluster = new GatepathCluster({ dataDir: join(dir, name), nodes, extraArgs });
    clusters.push(cluster);
    return cluster;
  }

  /** Of the first block, over NBD. */
  async function read(cluster: GatepathCluster): Promise<Buffer> {
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'demo');
    const data = await client.read(0, PAGE);
    await client.disconnect();
    return data;
  }

  /** TLS 1.3 tells a client that it is refused only behind its own handshake. */
  async function refusesWithoutCertificate(address: string): Promise<void> {
    const [host, port] = address.split(':');
    const refused = new Promise<string>(resolve => {
      const socket = connect({ host: host!, port: Number(port), rejectUnauthorized: false });
      socket.on('error', error => resolve(error.message)).on('data', data => resolve(`answered ${data.toString('latin1')}`));
      socket.once('secureConnect', () => socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'));
      socket.once('end', () => resolve('ended'));
    });
    expect(await refused).toMatch(/certificate/i);
  }

  async function write(cluster: GatepathCluster, fill: number): Promise<void> {
    const client = await NbdClient.connect({ socket: cluster.nbdSocket }, 'demo');
    await client.write(0, Buffer.alloc(PAGE, fill));
    await client.disconnect();
  }

  /** Over TCP nodes ask each other by their links, as on several machines. */
  async function upgradeAll(cluster: GatepathCluster): Promise<void> {
    const data = cluster.options.dataDir;
    const [first, second] = cluster.file.nodes;
    interface Said {
      id: string;
      version: string | null;
      startedAt: string | null;
      drainingSince: string | null;
    }
    const list = async (through: string): Promise<Said[]> =>
      JSON.parse(await gatepath('node', 'list', '--json', '--data', through)) as Said[];
    rmSync(join(second!.dataDir, 'control.sock'));
    const before = await waitFor('both say since when they run', WAIT_MS, async () => {
      const said = await list(first!.dataDir);
      return said.every(({ startedAt }) => typeof startedAt === 'string') ? said : undefined;
    });
    await gatepath('node', 'drain', 'node-2', '--data', data);
    const refused = await runGatepath('cluster', 'rolling-upgrade', '--all', '--data', data);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('node node-2 is drained') as string]);
    await gatepath('node', 'undrain', 'node-2', '--data', data);
    expect(await gatepath('cluster', 'rolling-upgrade', '--data', data)).toContain('all nodes run');
    // As of one that was interrupted when it had drained node-2.
    await gatepath('node', 'drain', 'node-2', '--data', data);
    const state = { version: before[0]!.version, done: [], current: 'node-2' };
    writeFileSync(join(data, 'rolling-upgrade.json'), JSON.stringify(state));
    const said = await gatepath('cluster', 'rolling-upgrade', '--all', '--data', data);
    expect(said).toMatch(/going on .*\nnode-2 is drained, and is restarted\n.*whole\nnode-1 is drained/);
    expect(said).toMatch(/2 nodes were upgraded to .*; the longest pause of a disk here was \d+ ms\n$/);
    expect(existsSync(join(data, 'rolling-upgrade.json'))).toBe(false);
    const after = await list(data);
    for (const [i, { startedAt, drainingSince }] of after.entries()) {
      expect(startedAt).not.toBe(before[i]!.startedAt);
      expect(drainingSince).toBeNull();
    }
    expect(await gatepath('vdisk', 'show', 'demo', '--data', data)).toContain('healthy');
  }

  it('runs a cluster, and says in cluster.json what of; a node that was killed comes back by its command; Ctrl-C leaves nothing', async () => {
    const cluster = make('three', 3, '--rf', '1', '--vdisk', 'demo:64M');
    const data = cluster.options.dataDir;
    await cluster.start();
    const { file } = cluster;
    expect(file).toEqual({
      version: 1,
      nodes: [1, 2, 3].map(i => ({
        id: `node-${i}`,
        pid: expect.any(Number) as number,
        dataDir: join(data, `node-${i}`),
        address: `unix:${data}/node-${i}/control.sock`,
        command: [...gatepathArgv(), 'stargate', '--config', join(data, `node-${i}`, 'stargate.yaml')],
        network: null,
      })),
      etcd: [1, 2, 3].map(i => ({
        pid: expect.any(Number) as number,
        address: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) as string,
        socket: join(data, 'run', `etcd-${i}:0`),
        command: expect.arrayContaining(['--data-dir', join(data, `etcd-${i}`)]) as string[],
        network: null,
      })),
      datapath: {
        pid: expect.any(Number) as number,
        node: 'node-1',
        nbdSocket: cluster.nbdSocket,
        command: [...gatepathArgv(), 'datapath', '--config', join(data, 'datapath', 'datapath.yaml')],
        network: null,
      },
      console: null,
    });
    expect(new Set([...pidsOf(file), cluster.process.pid]).size).toBe(8);
    expect(pidsOf(file).every(isAlive)).toBe(true);
    await write(cluster, 7);
    // A vdisk of another node, as all nodes tell of it.
    expect(await gatepath('vdisk', 'create', 'other', '64M', '--data', join(data, 'node-2'))).toContain('created');
    const show = async (vdisk: string, through = data) =>
      JSON.parse(await gatepath('vdisk', 'show', vdisk, '--json', '--data', through)) as Record<string, unknown>;
    for (const through of [data, join(data, 'node-3')]) {
      expect(await show('other', through)).toMatchObject({
        controller: 'node-2',
        members: ['node-2'],
        health: 'healthy',
        allocatedBytes: 0,
      });
    }
    const nodesOf = async () =>
      (JSON.parse(await gatepath('node', 'list', '--json', '--data', data)) as { id: string; alive: boolean; controls: number }[]).map(
        ({ id, alive, controls }) => `${id} ${alive ? 'alive' : 'silent'} ${controls}`,
      );
    expect(await nodesOf()).toEqual(['node-1 alive 1', 'node-2 alive 1', 'node-3 alive 0']);
    expect(await gatepath('node', 'show', 'node-2', '--data', data)).toMatch(/management +unix:.*node-2\/control\.sock/);

    const [first] = file.nodes;
    process.kill(first!.pid, 'SIGKILL');
    await waitFor('up says so', WAIT_MS, () =>
      cluster.process.output.includes(`node-1 has ended (SIGKILL); start it again with: ${first!.command.join(' ')}`),
    );
    // Through another node, which knows the same.
    expect(await gatepath('container', 'list', '--data', data)).toContain('default');
    expect(await gatepath('vdisk', 'list', '--data', data)).toContain('demo');
    await waitFor('the others notice', WAIT_MS, async () => (await nodesOf())[0] === 'node-1 silent 1');
    expect(await show('demo')).toMatchObject({ health: 'unavailable', problem: 'node-1, with its data, does not answer' });
    expect(JSON.parse(await gatepath('status', '--json', '--data', data))).toMatchObject({
      health: 'unavailable',
      problems: ['node "node-1" does not answer', 'vdisk "demo" is not served: node-1, with its data, does not answer'],
    });

    byHand.push(TestProcess.start(first!.command));
    const after = await waitFor('the node is back', WAIT_MS, () => {
      const now = readClusterFile(data);
      return now !== undefined && now.nodes[0]!.pid !== first!.pid ? now : undefined;
    });
    expect(after).toEqual({ ...file, nodes: [{ ...first, pid: byHand[0]!.pid }, ...file.nodes.slice(1)] });
    expect((await read(cluster)).equals(Buffer.alloc(PAGE, 7))).toBe(true);
    // Deleted through a node that does not have it.
    expect(await gatepath('vdisk', 'delete', 'other', '--data', join(data, 'node-3'))).toContain('deleted');
    await waitFor('its node has forgotten it', WAIT_MS, async () => (await nodesOf())[1] === 'node-2 alive 0');
    // A node that hangs is passed over.
    process.kill(after.nodes[0]!.pid, 'SIGSTOP');
    expect(await gatepath('container', 'list', '--data', data)).toContain('default');

    await cluster.stop();
    expect(pidsOf(after).filter(isAlive)).toEqual([]);
    expect(existsSync(join(data, 'cluster.json'))).toBe(false);
    expect(readdirSync(data).filter(name => name.endsWith('.sock'))).toEqual([]);
  });

  it('--restart brings back what ends; all ends with an `up` that is killed, and the next one goes on with the data; over TCP', async () => {
    const cluster = make('two', 2, '--tcp', '--restart', '--vdisk', 'demo:64M');
    const data = cluster.options.dataDir;
    await cluster.start();
    await write(cluster, 9);
    const before = cluster.file;
    for (const { address } of before.etcd) expect(address).toMatch(/^https:/);
    const nodes = JSON.parse(await gatepath('node', 'list', '--json', '--data', data)) as { tcp: string }[];
    expect(nodes.map(({ tcp }) => tcp)).toEqual([1, 2].map(() => expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string));
    // Two nodes with two copies: all of the write went that way. Without a certificate nobody is heard.
    await refusesWithoutCertificate(nodes[1]!.tcp);
    await refusesWithoutCertificate(new URL(before.etcd[1]!.address).host);
    for (const pid of [before.nodes[1]!.pid, before.datapath.pid]) process.kill(pid, 'SIGKILL');
    const after = await waitFor('both are back', WAIT_MS, () => {
      const now = readClusterFile(data)!;
      return now.nodes[1]!.pid !== before.nodes[1]!.pid && now.datapath.pid !== before.datapath.pid ? now : undefined;
    });
    expect({ ...after, nodes: after.nodes.slice(0, 1), datapath: null }).toEqual({
      ...before,
      nodes: before.nodes.slice(0, 1),
      datapath: null,
    });
    const block = await waitFor('a read', WAIT_MS, () => read(cluster).catch(() => undefined));
    expect(block.equals(Buffer.alloc(PAGE, 9))).toBe(true);

    await upgradeAll(cluster);
    const upgraded = cluster.file;
    await cluster.process.kill();
    await waitFor('all have ended', WAIT_MS, () => !pidsOf(upgraded).some(isAlive));
    await cluster.start();
    expect((await read(cluster)).equals(Buffer.alloc(PAGE, 9))).toBe(true);
    await cluster.stop();
    expect(pidsOf(upgraded).filter(isAlive)).toEqual([]);
    const [one, two] = [1, 2].map(i => join(data, `node-${i}`)) as [string, string];
    const said = await gatepath('verify', data);
    for (const node of [one, two]) expect(said).toMatch(new RegExp(`^${node}: clean: 1 vdisks`, 'm'));
    expect(said).toMatch(/^between nodes: clean: the logs of 1 vdisks that more than one of them has\netcd was not read/m);
    // By name; of one that is a copy of another one neither is the cluster's.
    const { code, stdout } = await runGatepath('verify', '--json', one, two, one);
    expect(code).toBe(1);
    expect((JSON.parse(stdout) as ClusterReport).problems).toMatchObject([{ code: 'directory-twice', file: `${one}, ${one}` }]);
  });

  it('a drained node controls nothing, also when the controller dies; a vdisk is deleted on all its nodes: one that was dead does so when it is back', async () => {
    const cluster = make('deleted', 3, '--vdisk', 'demo:64M');
    const data = cluster.options.dataDir;
    await cluster.start();
    await write(cluster, 5);
    const { nodes } = cluster.file;
    const holdsData = ({ dataDir }: { readonly dataDir: string }): boolean =>
      readdirSync(join(dataDir, 'stargate', 'extents'), { recursive: true, encoding: 'utf8' }).some(name => name.endsWith('.ext'));
    await waitFor('all have data in their extents', WAIT_MS, () => nodes.every(holdsData));

    const show = async (): Promise<{ members: string[]; controller: string }> =>
      JSON.parse(await gatepath('vdisk', 'show', 'demo', '--json', '--data', data)) as { members: string[]; controller: string };
    const drained = (await show()).controller;
    expect(await gatepath('node', 'drain', drained, '--data', data)).toContain('controls nothing, and may be stopped');
    const { controller, members } = await show();
    expect(controller).not.toBe(drained);
    expect(members).toContain(drained);
    const dead = nodes.find(({ id }) => id === controller)!;
    const left = nodes.filter(node => node !== dead);
    process.kill(dead.pid, 'SIGKILL');
    expect((await read(cluster)).equals(Buffer.alloc(PAGE, 5))).toBe(true);
    await waitFor('it is out of the group', WAIT_MS, async () => !(await show()).members.includes(dead.id));
    expect((await show()).controller).toBe(left.find(({ id }) => id !== drained)!.id);
    expect(await gatepath('node', 'show', drained, '--data', data)).toMatch(/state +alive, drained/);
    expect(await gatepath('node', 'undrain', drained, '--data', data)).toContain('full duty again');
    const degraded = {
      health: 'degraded',
      problem: expect.stringMatching(new RegExp(`^kept on 2 of 3 nodes now: ${dead.id} is missing since 20`)) as string,
      missing: [{ node: dead.id, since: expect.any(String) as string }],
      resyncing: null,
    };
    expect(JSON.parse(await gatepath('vdisk', 'show', 'demo', '--json', '--data', data))).toMatchObject(degraded);
    expect(JSON.parse(await gatepath('status', '--json', '--data', data))).toMatchObject({
      health: 'degraded',
      vdisks: { ill: [{ name: 'demo', ...degraded }] },
    });
    await gatepath('detach', 'demo', '--data', data);
    expect(await gatepath('vdisk', 'delete', 'demo', '--data', data)).toContain('deleted');
    await waitFor('the others have removed it', WAIT_MS, () => !left.some(holdsData));
    expect(holdsData(dead)).toBe(true);
    byHand.push(TestProcess.start(dead.command));
    await waitFor('it has removed it, too', WAIT_MS, () => !holdsData(dead));
    const problems = async (): Promise<string[]> =>
      (JSON.parse(await gatepath('status', '--json', '--data', dead.dataDir)) as { problems: string[] }).problems;
    await waitFor('nothing is wrong there', WAIT_MS, async () => (await problems()).length === 0);
    await cluster.stop();
  });
});

describe('gatepath up --nodes, used wrongly', () => {
  const dir = makeTempDir('wrong');
  afterAll(() => removeTempDir(dir));

  async function refused(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runGatepath('up', ...args);
    expect(stdout).toBe('');
    return `${code} ${stderr.replace(/\s+/g, ' ').trim()}`;
  }

  it('says what to do instead', async () => {
    expect(await refused('--nodes', '1')).toBe('2 error: --nodes 1 is no cluster leave --nodes out for one node, or give at least 2');
    expect(await refused('--nodes', '17')).toContain('2 error: --nodes 17 is not a number from 1 to 16');
    expect(await refused('--nodes', '2', '--rf', '3')).toContain('2 error: --rf 3 needs 3 nodes, not 2');
    expect(await refused('--rf', '2')).toContain('2 error: --rf, --restart, --tcp and --namespaces are for a cluster');
    expect(await refused('--restart')).toContain('2 error: --rf, --restart, --tcp and --namespaces are for a cluster');
    expect(await refused('--tcp')).toContain('2 error: --rf, --restart, --tcp and --namespaces are for a cluster');
  });

  it('says which package has etcd where there is none', async () => {
    const argv = gatepathArgv('up', '--nodes', '2', '--data', join(dir, 'none'));
    const { code, stderr } = await run(argv, { env: { PATH: '/nowhere' } });
    // Where it is in a directory that is looked into in any case, this cannot be tried.
    if (missingPrograms('etcd').length === 0 && ['/usr/sbin/etcd', '/sbin/etcd', '/usr/local/sbin/etcd'].some(path => existsSync(path)))
      return;
    expect([code, stderr.replace(/\s+/g, ' ')]).toEqual([1, expect.stringContaining('apt install etcd-server') as string]);
    expect(existsSync(join(dir, 'none'))).toBe(false);
  });

  it.skipIf(missing.length > 0)('leaves directories alone that are something else', async () => {
    const made = (name: string, file: string, content: object): string => {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, file), JSON.stringify(content));
      return join(dir, name);
    };
    expect(await refused('--nodes', '2', '--data', made('single', 'gatepath.json', {}))).toContain(
      'is the data directory of a single node',
    );
    expect(await refused('--nodes', '2', '--data', made('foreign', 'holiday.jpg', {}))).toContain(
      'holds "holiday.jpg" and no cluster of Gatepath',
    );
    const layout = {
      product: 'gatepath up --nodes',
      formatVersion: 1,
      clusterId: 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111',
      etcd: [{ clientPort: 1, peerPort: 2 }],
      nodes: [1, 2, 3].map(i => ({ id: `node-${i}`, tcpPort: 2 + i })),
    };
    const cluster = made('cluster', 'cluster-layout.json', layout);
    expect(await refused('--data', cluster)).toContain('holds a cluster of 3 nodes start it with --nodes 3');
    expect(await refused('--nodes', '2', '--data', cluster)).toContain('holds a cluster of 3 nodes, not 2 give --nodes 3');
    expect(await refused('--nodes', '3', '--tcp', '--data', cluster)).toContain('talks over Unix sockets, not over TCP');
  });
});
