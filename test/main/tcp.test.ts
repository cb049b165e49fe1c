import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { statusView } from '../../src/control/schemas.js';
import { gatepath, gatepathArgv, runGatepath } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { TestProcess } from '../support/process.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const WAIT_MS = 60_000;

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

describe('a Stargate and a datapath that know of each other by TCP only', () => {
  const dir = makeTempDir('tcp');
  const data = join(dir, 'data');
  const socket = join(dir, 'nbd.sock');
  const children: TestProcess[] = [];
  afterAll(async () => {
    for (const child of children) await child.kill();
    removeTempDir(dir);
  });
  const start = (part: string, config: object): TestProcess => {
    const file = join(dir, `${part}.yaml`);
    writeFileSync(file, stringify(config));
    const child = TestProcess.start(gatepathArgv(part, '--config', file));
    children.push(child);
    return child;
  };

  it('share a disk: metadata and I/O go over one port', async () => {
    mkdirSync(dir, { recursive: true });
    const address = `127.0.0.1:${await freePort()}`;
    const stargate = start('stargate', { data, socket: join(dir, 'stargate.sock'), listen: address });
    await stargate.waitUntil('the control API', WAIT_MS, async () => (await runGatepath('status', '--data', data)).code === 0);
    await gatepath('vdisk', 'create', 'demo', '64M', '--data', data);
    await gatepath('attach', 'demo', '--data', data);
    const nowhere = join(dir, 'nobody.sock');
    const datapath = start('datapath', { socket, stargate: nowhere, stargates: [address] });
    let client: NbdClient | undefined;
    await datapath.waitUntil('a read through NBD', WAIT_MS, async () => {
      client = await NbdClient.connect({ socket }, 'demo').catch(() => undefined);
      return client !== undefined;
    });
    for (let i = 0; i < 8; i++) await client!.write(i << 18, Buffer.alloc(1 << 18, i + 1));
    for (let i = 0; i < 8; i++) expect((await client!.read(i << 18, 1 << 18)).equals(Buffer.alloc(1 << 18, i + 1))).toBe(true);
    const { datapath: view } = statusView.parse(JSON.parse(await gatepath('status', '--json', '--data', dir)));
    expect(view!.sessions.filter(({ connections }) => connections > 0)).toMatchObject([{ state: 'open', path: 'tcp', problem: '' }]);
    await client!.disconnect();
    for (const child of children.splice(0).reverse()) expect(await child.stop(WAIT_MS, 'SIGTERM')).toMatchObject({ code: 0 });
  });

  it.each<[string, object, string]>([
    ['an address that others reach', { listen: '0.0.0.0:9440', advertise: '10.0.0.1:9440' }, 'insecure: true'],
    ['an address that nobody can connect to', { listen: '0.0.0.0:9440', insecure: true }, 'advertise'],
    ['a name', { listen: 'localhost:9440' }, 'numeric address'],
    ['no port', { listen: '127.0.0.1' }, 'ADDRESS:PORT'],
    ['something to tell without anything to say', { advertise: '10.0.0.1:9440' }, 'needs "listen"'],
  ])('%s is refused, with what to do', async (_, fields, message) => {
    const file = join(dir, 'bad.yaml');
    writeFileSync(file, stringify({ data, socket: join(dir, 'stargate.sock'), ...fields }));
    const { code, stderr } = await runGatepath('stargate', '--config', file);
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/line \d+|bad\.yaml:\d+/);
  });
});
