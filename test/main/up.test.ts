import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Region, VerifiedLoad, verifyRegions } from '../crash/load/load.js';
import { gatepath, GatepathUp, readClusterFile } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { Random } from '../support/random.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

/** From Ctrl-C to the end of the process (the issue asks for 2 s), with room for a busy test machine. */
const STOP_MS = 3_000;

describe('gatepath up', () => {
  const dir = makeTempDir('up');
  afterAll(() => removeTempDir(dir));

  it('writes cluster.json when it serves, and removes it with its sockets at a clean stop', async () => {
    const data = join(dir, 'file');
    const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '64M' });
    await system.start();
    const { pid } = system.process;
    const self = { pid, command: expect.arrayContaining(['up', data]) as string[], network: null };
    expect(readClusterFile(data)).toEqual({
      version: 1,
      nodes: [{ id: 'node-1', dataDir: data, address: `unix:${data}/control.sock`, ...self }],
      etcd: [],
      datapath: { node: 'node-1', nbdSocket: system.socket, ...self },
      console: null,
    });
    // Who may connect owns the data.
    for (const name of ['control.sock', 'stargate.sock.meta']) expect(statSync(join(data, name)).mode & 0o777, name).toBe(0o600);
    expect(system.process.stdout).toContain(`nbd+unix:///demo?socket=${system.socket}`);
    expect(system.process.stdout).toContain('-blockdev driver=nbd');
    await system.stop();
    expect(existsSync(join(data, 'cluster.json'))).toBe(false);
    expect(readdirSync(data).filter(name => name.endsWith('.sock'))).toEqual([]);
  });

  it('Ctrl-C ends it cleanly under load, the log is clean, and everything acknowledged is there', async () => {
    const data = join(dir, 'load');
    const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '256M', extraArgs: ['--log-level', 'info'] });
    await system.start();
    const regions = [new Region(0, 4096, 20_000, 64, 7)];
    const connect = () => NbdClient.connect({ socket: system.socket }, 'demo');
    const load = new VerifiedLoad({ connect, regions, random: new Random(7), connections: 4, queueDepth: 16 });
    await load.start();
    await waitFor('writes under way', 40_000, () => load.counts.acknowledgedWrites > 1_000);
    const before = performance.now();
    const status = await system.process.stop(STOP_MS, 'SIGINT');
    expect(status).toEqual({ code: 0, signal: null });
    console.log(`stopped within ${Math.round(performance.now() - before)} ms, after ${load.counts.acknowledgedWrites} writes`);
    await load.ended();
    expect(load.faults).toEqual([]);

    await system.start();
    expect(system.process.output).toContain('the log was closed cleanly');
    expect(system.process.output).not.toContain('the log was replayed');
    const client = await connect();
    expect(await verifyRegions(client, regions, true)).toEqual([]);
    await client.disconnect();
    await system.stop();
  });

  it('vdisks come and go under their names; containers hold them', async () => {
    const data = join(dir, 'verbs');
    const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '64M' });
    await system.start();
    const ask = (...args: readonly string[]) => gatepath(...args, '--data', data);
    const json = async (...args: readonly string[]) => JSON.parse(await ask(...args, '--json')) as Record<string, unknown>;
    await ask('container', 'create', 'gold');
    await ask('vdisk', 'create', 'web1', '--size', '100000', '--container', 'gold');
    expect(await json('vdisk', 'show', 'web1')).toMatchObject({
      sizeBytes: 102_400,
      container: 'gold',
      health: 'healthy',
      controller: 'node-1',
      members: ['node-1'],
      epoch: 1,
      term: 1,
      attachment: null,
    });
    const attached = await json('attach', 'web1');
    expect(attached).toMatchObject({ vdisk: 'web1', exported: true, nbdSocket: system.socket, generation: 1 });
    expect((await ask('attach', 'web1', '--format', 'uri')).trim()).toBe(`nbd+unix:///web1?socket=${system.socket}`);
    const client = await NbdClient.connect({ socket: system.socket }, 'web1');
    await client.write(4096, Buffer.alloc(4096, 1));
    await ask('detach', 'web1');
    await expect(client.read(0, 4096)).rejects.toThrow();
    await expect(NbdClient.connect({ socket: system.socket }, 'web1')).rejects.toThrow();
    expect(await json('attach', 'web1')).toMatchObject({ generation: 2, exported: true });
    const again = await NbdClient.connect({ socket: system.socket }, 'web1');
    expect(Buffer.from(await again.read(4096, 4096))).toEqual(Buffer.alloc(4096, 1));
    await again.disconnect();
    await ask('detach', 'web1');
    await ask('vdisk', 'delete', 'web1');
    expect(await ask('vdisk', 'list')).not.toContain('web1');
    expect(await json('container', 'list')).toMatchObject([
      { name: 'default', vdisks: 1 },
      { name: 'gold', vdisks: 0 },
    ]);
    expect(await json('status')).toMatchObject({ health: 'healthy', vdisks: { count: 1, attached: 1 } });
    expect(await ask('status')).toContain('nbd-receive');
    await system.stop();
  });

  it('keeps vdisks, attachments and data over a kill', async () => {
    const data = join(dir, 'kept');
    const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '64M' });
    await system.start();
    await gatepath('vdisk', 'create', 'other', '1G', '--data', data);
    await gatepath('attach', 'other', '--data', data);
    const client = await NbdClient.connect({ socket: system.socket }, 'other');
    await client.write(0, Buffer.alloc(4096, 2));
    await system.kill();
    await system.start();
    const again = await NbdClient.connect({ socket: system.socket }, 'other');
    expect(Buffer.from(await again.read(0, 4096))).toEqual(Buffer.alloc(4096, 2));
    await again.disconnect();
    await system.stop();
  });
});
