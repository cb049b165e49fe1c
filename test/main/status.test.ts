import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_LIMITS, serverRegionBytes } from 'nbd-server-ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusView, type DatapathView, type StatusView } from '../../src/control/schemas.js';
import { gatepath, GatepathUp, runGatepath } from '../support/gatepath.js';
import { GatepathSplit } from '../support/gatepath-split.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const WAIT_MS = 20_000;

async function statusOf(data: string): Promise<StatusView> {
  return statusView.parse(JSON.parse(await gatepath('status', '--json', '--data', data)));
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;
}

/** Over the shards. */
function requestsAt({ shards }: Pick<DatapathView, 'shards'>, hop: string): number {
  return shards.reduce((sum, { hops }) => sum + hops[hop]!.requests, 0);
}

describe('gatepath status, of a Stargate and a datapath apart', () => {
  const dir = makeTempDir('status');
  const nodeData = join(dir, 'data');
  const system = new GatepathSplit({ dir, vdisk: 'demo', size: '64M' });
  const datapath = async (): Promise<DatapathView> => (await statusOf(dir)).datapath!;
  beforeAll(() => system.start());
  afterAll(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  it('each tells of itself: exports, sessions, paths and hops; or data, log and hops', async () => {
    const client = await NbdClient.connect({ socket: system.socket }, 'demo');
    const before = await datapath();
    for (let i = 0; i < 10; i++) await client.write(i * 4096, Buffer.alloc(4096, i));
    const status = await statusOf(dir);
    expect(status).toMatchObject({ health: 'healthy', problems: [], node: null, vdisks: null, space: null, hosts: [], shards: [] });
    const after = status.datapath!;
    expect(after).toMatchObject({
      nbdSocket: system.socket,
      exports: [{ name: 'demo', sizeBytes: 64 << 20, generation: 1, state: 'exported' }],
    });
    expect(after.sessions.map(({ name, shard }) => [name, shard])).toEqual([
      ['demo', 0],
      ['demo', 1],
    ]);
    const inUse = after.sessions.filter(({ connections }) => connections > 0);
    expect(inUse).toMatchObject([{ state: 'open', path: 'unix', connections: 1, unanswered: 0, problem: '' }]);
    expect(after.shards.map(({ shard }) => shard)).toEqual([0, 1]);
    for (const hop of ['nbd-receive', 'session', 'path']) expect(requestsAt(after, hop) - requestsAt(before, hop), hop).toBe(10);
    const text = await gatepath('status', '--data', dir);
    expect(text).toContain(`NBD at ${system.socket}`);
    expect(text).toContain('export    demo: 64 MiB, generation 1, exported');
    expect(text).toMatch(/^demo +\d +open +\S+ +unix +1 +0 +0 +0 +\d+$/m);
    expect(text).toMatch(/^path +0 +\d+/m);
    expect(text).not.toContain('oplog');

    const ofNode = await statusOf(nodeData);
    expect(ofNode).toMatchObject({ health: 'healthy', node: { id: 'node-1', dataDir: nodeData }, vdisks: { count: 1, attached: 1 } });
    expect(ofNode.datapath).toBeNull();
    expect(requestsAt(ofNode, 'oplog')).toBeGreaterThanOrEqual(10);
    const textOfNode = await gatepath('status', '--data', nodeData);
    expect(textOfNode).toMatch(/^oplog +0 +\d+/m);
    expect(textOfNode).not.toContain('CONNECTIONS');
    await client.disconnect();
  });

  it('a datapath without its Stargate says what waits, and why; and that it goes on', async () => {
    const client = await NbdClient.connect({ socket: system.socket }, 'demo');
    await client.write(0, Buffer.alloc(4096, 1));
    await system.killPart('stargate');
    const write = client.write(4096, Buffer.alloc(4096, 2));
    const cutOff = await waitFor('a status that is not healthy', WAIT_MS, async () => {
      const status = await statusOf(dir);
      return status.health === 'degraded' && status.datapath!.sessions.some(({ unanswered }) => unanswered === 1) ? status : undefined;
    });
    const session = cutOff.datapath!.sessions.find(({ unanswered }) => unanswered > 0)!;
    expect(cutOff.problems).toContain(`vdisk "demo" has no path from shard ${session.shard}: ${session.problem}`);
    expect(session.problem).toContain('no connection to the Stargate');
    expect(session).toMatchObject({ path: null, connections: 1, lost: 1 });
    expect(['disconnected', 'opening']).toContain(session.state);
    expect(await gatepath('status', '--data', dir)).toContain(`          ${cutOff.problems[0]}`);

    await system.startPart('stargate');
    await write;
    const status = await statusOf(dir);
    expect(status).toMatchObject({ health: 'healthy', problems: [] });
    expect(status.datapath!.sessions.find(({ shard }) => shard === session.shard)).toMatchObject({ state: 'open', path: 'unix', lost: 1 });
    await client.disconnect();
  });

  it('the socket is for who owns the process, and manages nothing', async () => {
    expect(statSync(join(dir, 'control.sock')).mode & 0o777).toBe(0o600);
    for (const args of [
      ['vdisk', 'list'],
      ['detach', 'demo'],
    ]) {
      const { code, stderr } = await runGatepath(...args, '--data', dir);
      expect(stderr).toContain('this is a datapath: it tells its status, and manages nothing');
      expect(stderr).toContain('--data with the data directory of the node');
      expect(code).toBe(1);
    }
  });

  it('what clients write while all paths are away waits in their sockets, and not in the memory of the datapath', async () => {
    const MIB = 1 << 20;
    const [connections, writesOfEach, places] = [12, 10, 40];
    const contents = Array.from({ length: places }, (_, i) => Buffer.alloc(MIB, i + 1));
    const clients = await Promise.all(Array.from({ length: connections }, () => NbdClient.connect({ socket: system.socket }, 'demo')));
    // Each has a path before it is taken away.
    for (const client of clients) await client.read(0, 4_096);
    const { pid } = await datapath();
    const before = residentBytes(pid);
    await system.killPart('stargate');
    const writes = clients.flatMap((client, at) =>
      Array.from({ length: writesOfEach }, (_, i) => {
        // What goes to one place is the same each time: requests of different connections have no order.
        const place = (at * writesOfEach + i) % places;
        return client.write(place * MIB, contents[place]!);
      }),
    );
    const held = async (): Promise<number> => (await datapath()).sessions.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
    let last = -1;
    const heldBytes = await waitFor('no more is taken in', WAIT_MS, async () => {
      const now = await held();
      const isSteady = now > 0 && now === last;
      last = now;
      return isSteady && now;
    });
    // Of 120 MiB: the large buffers of each shard, its shared staging buffers, and what each connection has of its own.
    const limits = DEFAULT_LIMITS;
    const mostBytes = 2 * serverRegionBytes({ ...limits, maxConnections: connections });
    expect(heldBytes).toBeGreaterThan(limits.largeBuffers * MIB);
    expect(heldBytes).toBeLessThan(mostBytes);
    expect(mostBytes).toBeLessThan(0.75 * connections * writesOfEach * MIB);
    expect(residentBytes(pid) - before).toBeLessThan(mostBytes + 16 * MIB);
    await system.startPart('stargate');
    await Promise.all(writes);
    expect(await held()).toBe(0);
    for (const [place, content] of contents.entries()) expect((await clients[0]!.read(place * MIB, MIB)).equals(content)).toBe(true);
    for (const client of clients) await client.disconnect();
  });

  it('goes with the process', async () => {
    await gatepath('detach', 'demo', '--data', nodeData);
    expect((await datapath()).exports).toEqual([]);
    await system.stop();
    expect(existsSync(join(dir, 'control.sock'))).toBe(false);
    const { code, stderr } = await runGatepath('status', '--data', dir);
    expect(stderr).toContain('no Gatepath answers at');
    expect(code).toBe(1);
  });
});

describe('gatepath status, of "up"', () => {
  const dir = makeTempDir('status-up');
  const system = new GatepathUp({ dataDir: dir, vdisk: 'demo', size: '64M' });
  beforeAll(() => system.start());
  afterAll(async () => {
    await system.stop();
    removeTempDir(dir);
  });

  it('tells of both', async () => {
    const client = await NbdClient.connect({ socket: system.socket }, 'demo');
    await client.write(0, Buffer.alloc(4096, 1));
    const status = await statusOf(dir);
    expect(status).toMatchObject({ health: 'healthy', node: { id: 'node-1' }, vdisks: { count: 1 } });
    expect(status.datapath!.exports).toMatchObject([{ name: 'demo', state: 'exported' }]);
    expect(status.datapath!.sessions.find(({ connections }) => connections > 0)).toMatchObject({ state: 'open', path: 'same-shard' });
    const text = await gatepath('status', '--data', dir);
    expect(text).toMatch(/^demo +\d +open +node-1 +same-shard +1/m);
    // One row for each hop and shard, not two.
    expect(text.match(/^path /gm)).toHaveLength(2);
    await client.disconnect();
  });
});
