import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { statusView } from '../../src/control/schemas.js';
import { createAuthority, issue, type Role } from '../../src/main/cluster/authority.js';
import { clientOptions } from '../../src/transport/tls/credentials.js';
import { decodeControl, encodeControl } from '../../src/wire/control.js';
import { createHeader, decodeHeader, FrameType } from '../../src/wire/frame.js';
import { errorMessage } from '../../src/wire/hello.js';
import { HEADER_BYTES } from '../../src/wire/limits.js';
import { Authority } from '../support/certificates.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { gatepath, gatepathArgv, runGatepath } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const WAIT_MS = 60_000;
const MIB = 1 << 20;

interface Files {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A directory with processes, and the certificates of a cluster for them. */
class Site {
  readonly dir = makeTempDir('tls');
  readonly authority = join(this.dir, 'authority');
  readonly #children: TestProcess[] = [];

  constructor() {
    mkdirSync(this.dir, { recursive: true });
    createAuthority(this.authority);
  }

  certify(role: Role, name: string): Files {
    return { ca: join(this.authority, 'ca.crt'), ...issue(this.authority, { role, name, hosts: [] }) };
  }

  start(part: string, name: string, config: object): TestProcess {
    const child = TestProcess.start(gatepathArgv(part, '--config', this.configure(name, config)));
    this.#children.push(child);
    return child;
  }

  configure(name: string, config: object): string {
    const file = join(this.dir, `${name}.yaml`);
    writeFileSync(file, stringify(config));
    return file;
  }

  /** A datapath that has nothing but addresses. */
  async disk(config: object, name = 'demo'): Promise<{ client: NbdClient; datapath: TestProcess }> {
    const socket = join(this.dir, 'nbd.sock');
    const datapath = this.start('datapath', 'datapath', { socket, stargate: join(this.dir, 'nobody.sock'), ...config });
    let client: NbdClient | undefined;
    await datapath.waitUntil('the disk', WAIT_MS, async () => {
      client = await NbdClient.connect({ socket }, name).catch(() => undefined);
      return client !== undefined;
    });
    return { client: client!, datapath };
  }

  async stop(): Promise<void> {
    for (const child of this.#children.splice(0).reverse()) expect(await child.stop(WAIT_MS, 'SIGTERM')).toMatchObject({ code: 0 });
  }

  async kill(): Promise<void> {
    for (const child of this.#children.splice(0)) await child.kill();
  }
}

async function freeAddress(): Promise<{ host: string; port: number; address: string }> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return { host: '127.0.0.1', port, address: `127.0.0.1:${port}` };
}

const serves = (node: TestProcess, data: string): Promise<boolean> =>
  node.waitUntil('the control API', WAIT_MS, async () => (await runGatepath('status', '--data', data)).code === 0);

async function fill(client: NbdClient, first: number): Promise<void> {
  for (let i = 0; i < 8; i++) await client.write(i * MIB, pattern(first + i));
  for (let i = 0; i < 8; i++) expect((await client.read(i * MIB, MIB)).equals(pattern(first + i))).toBe(true);
}

function pattern(seed: number): Buffer {
  const words = new Uint32Array(MIB / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e37_79b1) ^ seed;
  return Buffer.from(words.buffer);
}

const hello = (role: string): Uint8Array => encodeControl(FrameType.hello, { versionMin: 1, versionMax: 1, role, software: 'hostile' });

/** What the other side says is wrong; waits until it has closed. */
async function refusal(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  socket.on('error', () => undefined).on('data', (data: Buffer) => parts.push(data));
  await waitFor('the end of the connection', WAIT_MS, () => socket.destroyed);
  const bytes = new Uint8Array(Buffer.concat(parts));
  const header = createHeader();
  let found = 'closed';
  for (let at = 0; at + HEADER_BYTES <= bytes.length; at += HEADER_BYTES + header.payloadBytes) {
    if (decodeHeader(new DataView(bytes.buffer), at, header) !== null) break;
    const payload = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.payloadBytes);
    if (header.type === FrameType.error) found = decodeControl(errorMessage, payload).message;
  }
  return found;
}

const read = ({ ca, cert, key }: Files): Files => ({
  ca: readFileSync(ca, 'utf8'),
  cert: readFileSync(cert, 'utf8'),
  key: readFileSync(key, 'utf8'),
});

const noOpenssl = missingPrograms('openssl');

describe.skipIf(noOpenssl.length > 0)(`a Stargate and a datapath over TLS${missingNote(noOpenssl)}`, () => {
  const site = new Site();
  const data = join(site.dir, 'data');
  afterEach(() => site.kill());
  afterAll(() => removeTempDir(site.dir));

  it('share a disk; whoever has no certificate for it is refused, and disturbs nobody', async () => {
    const { host, port, address } = await freeAddress();
    const node = site.certify('node', 'node-1');
    const member = site.certify('datapath', 'host-1');
    const stargate = site.start('stargate', 'stargate', { data, socket: join(site.dir, 'stargate.sock'), listen: address, tls: node });
    await serves(stargate, data);
    await gatepath('vdisk', 'create', 'demo', '64M', '--data', data);
    await gatepath('attach', 'demo', '--data', data);
    const { client } = await site.disk({ stargates: [address], tls: member });
    await fill(client, 1);
    const connected = async (): Promise<unknown> => {
      const { datapath } = statusView.parse(JSON.parse(await gatepath('status', '--json', '--data', site.dir)));
      return datapath!.sessions.filter(({ connections }) => connections > 0);
    };
    expect(await connected()).toMatchObject([{ state: 'open', path: 'tcp', problem: '' }]);

    const foreign = await Authority.create(site.dir, 'foreign');
    const own = new Map<string, Files>([
      ['manager', site.certify('client', 'manager')],
      ['stranger', { ca: node.ca, ...(await foreign.issue('stranger', { role: 'node' })) }],
    ]);
    const tls = (files: Files, role: string): Socket => {
      const socket = connect({ host, port, ...clientOptions(read(files)) }).on('error', () => undefined);
      socket.write(hello(role));
      return socket;
    };
    expect(await refusal(tls(own.get('manager')!, 'datapath'))).toBe('closed');
    expect(await refusal(tls(own.get('stranger')!, 'datapath'))).toBe('closed');
    expect(await refusal(connect({ host, port, ca: read(node).ca, checkServerIdentity: () => undefined }))).toBe('closed');
    const clear = connectTcp({ host, port });
    clear.write(hello('datapath'));
    expect(await refusal(clear)).toBe('closed');
    expect(await refusal(tls(member, 'stargate'))).toContain('certificate of the datapath "host-1" is not one of a node');
    for (const why of [
      'with the role (OU)',
      'not of the authority of this cluster',
      'shows no certificate',
      'does not speak TLS',
      'not one of a node',
    ]) {
      await stargate.waitUntil(`the log says: ${why}`, WAIT_MS, () => stargate.output.includes(why));
    }
    await fill(client, 100);
    // All of it over the one connection.
    expect(await connected()).toMatchObject([{ state: 'open', path: 'tcp', problem: '', opened: 1, lost: 0 }]);
    await client.disconnect();
    await site.stop();
  });

  it('with TLS and a Stargate without it do not come together, and the log says so', async () => {
    const { address } = await freeAddress();
    const stargate = site.start('stargate', 'clear', {
      data: join(site.dir, 'clear'),
      socket: join(site.dir, 'clear.sock'),
      listen: address,
    });
    await serves(stargate, join(site.dir, 'clear'));
    await gatepath('vdisk', 'create', 'demo', '64M', '--data', join(site.dir, 'clear'));
    const datapath = site.start('datapath', 'secure', {
      socket: join(site.dir, 'secure.sock'),
      stargate: join(site.dir, 'nobody.sock'),
      stargates: [address],
      tls: site.certify('datapath', 'host-2'),
    });
    await stargate.waitUntil('it says so', WAIT_MS, () => stargate.output.includes('a connection to the Stargate socket was refused'));
    await datapath.waitUntil('so does the other one', WAIT_MS, () => datapath.output.includes('does not speak TLS'));
    expect((await runGatepath('status', '--data', join(site.dir, 'clear'))).code).toBe(0);
    await site.stop();
  });

  it.each<[string, (files: Files) => object, string]>([
    [
      'the certificate of another node',
      tls => ({ node: 'node-7', tls }),
      'is the certificate of the node "node-3", and this is the node "node-7"',
    ],
    ['no key', ({ ca, cert }) => ({ tls: { ca, cert } }), 'tls.key'],
    [
      'a key that is not that of the certificate',
      tls => ({ node: 'node-3', tls: { ...tls, key: site.certify('node', 'node-4').key } }),
      'cannot be used',
    ],
    [
      'a file that is not there',
      tls => ({ node: 'node-3', tls: { ...tls, ca: '/nowhere/ca.crt' } }),
      'the file /nowhere/ca.crt cannot be read',
    ],
    ['both tls and insecure', tls => ({ tls, insecure: true }), 'leave one of the two out'],
    ['an address that others reach, without either', () => ({}), 'give the node its certificate in "tls"'],
  ])('a Stargate with %s is refused, with what to do', async (_, fields, message) => {
    const files = { ca: join(site.authority, 'ca.crt'), cert: join(site.authority, 'node-3.crt'), key: join(site.authority, 'node-3.key') };
    const file = site.configure('bad', {
      data: join(site.dir, 'bad'),
      socket: join(site.dir, 'b.sock'),
      listen: '10.99.99.99:9440',
      ...fields(files),
    });
    const { code, stderr } = await runGatepath('stargate', '--config', file);
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
  });

  beforeAll(() => void site.certify('node', 'node-3'));
});

const missing = missingPrograms(...ETCD_PROGRAMS, 'openssl');

describe.skipIf(missing.length > 0)(`two Stargates over TLS${missingNote(missing)}`, () => {
  const site = new Site();
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterAll(async () => {
    await site.kill();
    await etcd.stop();
    removeTempDir(site.dir);
  });

  it('replicate; who speaks for another node is refused; one that is killed is missed at once', async () => {
    const data = (id: string): string => join(site.dir, id);
    const addresses = [await freeAddress(), await freeAddress()];
    const nodes = addresses.map(({ address }, i) => {
      const id = `node-${i + 1}`;
      const node = site.start('stargate', id, {
        data: data(id),
        node: id,
        socket: join(site.dir, `${id}.sock`),
        cache: '64M',
        oplog: '512M',
        listen: address,
        tls: site.certify('node', id),
        etcd: { endpoints: etcd.urls },
      });
      return node;
    });
    await serves(nodes[0]!, data('node-1'));
    await serves(nodes[1]!, data('node-2'));
    await gatepath('container', 'create', 'twice', '--rf', '2', '--data', data('node-1'));
    await gatepath('vdisk', 'create', 'demo', '64M', '--container', 'twice', '--data', data('node-1'));
    await gatepath('attach', 'demo', '--data', data('node-1'));
    const { client } = await site.disk({ stargates: addresses.map(({ address }) => address), tls: site.certify('datapath', 'host-1') });
    await fill(client, 1);

    const impostor = site.certify('node', 'node-9');
    const { host, port } = addresses[0]!;
    const socket = connect({ host, port, ...clientOptions(read(impostor), 'node-1') }).on('error', () => undefined);
    socket.write(hello('stargate'));
    const uuid = '4f0c8a4e-6d1f-4c59-9a53-0e1a1c1d2b3a';
    const identity = { node: 'node-2', storeUuid: uuid, incarnation: 1 };
    socket.write(encodeControl(FrameType.peerOpen, { from: identity, fromShard: 0, to: identity, toShard: 0, shards: 2, streams: 2 }));
    expect(await refusal(socket)).toContain('the certificate of the node "node-9" does not speak for "node-2"');
    await fill(client, 50);

    const down = 'the connection to another Stargate is down';
    // On a loaded machine a node may have been silent for a while before.
    const saidBefore = nodes[0]!.output.length;
    const said = (): string => nodes[0]!.output.slice(saidBefore);
    await nodes[1]!.kill();
    await nodes[0]!.waitUntil('the other one is missed', WAIT_MS, () => said().includes(down));
    // Told by its end, not by its silence.
    const line = said()
      .split('\n')
      .find(text => text.includes(down));
    expect(line).not.toContain('ERR_PEER_SILENT');
    await fill(client, 100);
    await client.disconnect();
  });
});
