import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { StargateHost, type StargateHostOptions } from '../../dist/main/stargate-host.js';
import { silentLogger } from '../../src/base/log.js';
import { etcdConfig, etcdOptions } from '../../src/main/config/etcd.js';
import { loadConfig } from '../../src/main/config/load.js';
import { openMetadataStore } from '../../src/main/metadata-store.js';
import { keys } from '../../src/meta/model.js';
import { listNodes } from '../../src/meta/nodes.js';
import { createVdisk, listContainers } from '../../src/meta/operations.js';
import { openDataDirectory } from '../../src/stargate/data-directory.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const missing = missingPrograms(...ETCD_PROGRAMS);
const dir = makeTempDir('etcd-node');
const OTHER_CLUSTER = 'c0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a333';
const running: StargateHost[] = [];
let etcd: EtcdCluster;

afterAll(() => removeTempDir(dir));

async function open(node: string, data: string, more: Partial<StargateHostOptions> = {}): Promise<StargateHost> {
  const host = await StargateHost.open({
    dataDirectory: join(dir, data),
    nodeId: node,
    shards: 2,
    cacheBytes: 64 << 20,
    oplogBytes: 1 << 30,
    stargateSocket: join(dir, data, 'stargate.sock'),
    log: silentLogger,
    onProgress: () => undefined,
    onFatal: message => {
      throw new Error(message);
    },
    ...more,
  });
  running.push(host);
  return host;
}

const close = async (): Promise<void> => {
  for (const host of running.splice(0)) await host.close();
};
const clusterIn = (data: string): string | undefined =>
  (JSON.parse(readFileSync(join(dir, data, 'gatepath.json'), 'utf8')) as { clusterId?: string }).clusterId;

describe.skipIf(missing.length > 0)(`nodes with their metadata in etcd${missingNote(missing)}`, () => {
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterEach(close);
  afterAll(() => etcd.stop());
  const at = (namespace: string): Partial<StargateHostOptions> => ({ etcd: { endpoints: etcd.urls, namespace: `${namespace}/` } });

  it('share it: they know each other, and place vdisks on each other', async () => {
    const a = await open('a', 'share-a', { ...at('share'), replicationFactor: 2 });
    const b = await open('b', 'share-b', { ...at('share'), replicationFactor: 1, faultDomain: 'rack' });
    const nodes = await listNodes(b.store);
    expect(nodes.map(({ id, shards, faultDomain, control, addresses }) => ({ id, shards, faultDomain, control, addresses }))).toEqual(
      (['a', 'b'] as const).map(id => ({
        id,
        shards: 2,
        faultDomain: id === 'b' ? 'rack' : null,
        control: `unix:${join(dir, `share-${id}`, 'control.sock')}`,
        addresses: { unix: join(dir, `share-${id}`, 'stargate.sock'), tcp: null },
      })),
    );
    expect(await listContainers(b.store)).toMatchObject([{ name: 'default', replicationFactor: 2 }]);
    const { id } = await createVdisk(b.store, { name: 'v', sizeBytes: 4096 }, container => b.place(container));
    const group = (await a.store.get(keys.group(id)))?.value;
    expect(group).toMatchObject({ term: 0, controller: 'b', members: [{ node: 'b' }, { node: 'a', storeUuid: a.directory.storeUuid }] });
    expect(clusterIn('share-a')).toMatch(/^[0-9a-f-]{36}$/);
    expect(clusterIn('share-b')).toBe(clusterIn('share-a'));
  });

  it('are refused with the directory of another cluster, which stays as it is', async () => {
    await open('a', 'one-a', at('one'));
    await open('b', 'two-b', at('two'));
    await close();
    const id = clusterIn('two-b');
    await expect(open('b', 'two-b', at('one'))).rejects.toMatchObject({
      code: 'ERR_OTHER_CLUSTER',
      message: expect.stringContaining(`${id}, and etcd at`) as string,
    });
    await expect(open('b', 'two-b', at('three'))).rejects.toMatchObject({
      code: 'ERR_OTHER_CLUSTER',
      message: expect.stringContaining('has no cluster in it') as string,
    });
    await expect(open('b', 'two-b', { ...at('two'), clusterId: OTHER_CLUSTER })).rejects.toMatchObject({ code: 'ERR_OTHER_CLUSTER' });
    await expect(open('c', 'new-c', { ...at('two'), clusterId: OTHER_CLUSTER })).rejects.toMatchObject({ code: 'ERR_OTHER_CLUSTER' });
    expect([clusterIn('two-b'), clusterIn('new-c')]).toEqual([id, undefined]);
    // A cluster that is expected, and not there yet, is made.
    await open('a', 'four-a', { ...at('four'), clusterId: OTHER_CLUSTER });
    expect(clusterIn('four-a')).toBe(OTHER_CLUSTER);
    await open('b', 'two-b', at('two'));
  });

  it('are refused with the directory of a single node, and a single node with one of a cluster', async () => {
    await open('a', 'single');
    await close();
    await expect(open('a', 'single', at('single'))).rejects.toMatchObject({
      code: 'ERR_SINGLE_NODE',
      action: expect.stringContaining('upgrade-from-single') as string,
    });
    expect(clusterIn('single')).toBeUndefined();
    await open('b', 'single-b', at('single'));
    await close();
    await expect(open('b', 'single-b')).rejects.toMatchObject({ code: 'ERR_CLUSTER_DIRECTORY' });
    await open('a', 'single');
  });

  it('do not take the id of one that runs, nor of another one that has been in use; a new directory gets it once its owner has gone', async () => {
    await open('a', 'taken-a', at('taken'));
    await expect(open('a', 'taken-x', at('taken'))).rejects.toMatchObject({
      code: 'ERR_NODE_TAKEN',
      message: expect.stringContaining('is running') as string,
    });
    await open('b', 'taken-b', at('taken'));
    await close();
    await expect(open('a', 'taken-b', at('taken'))).rejects.toMatchObject({ code: 'ERR_NODE_TAKEN' });
    const { metadata } = await open('a', 'taken-x', at('taken'));
    expect(metadata.member.incarnation).toBe(2);
  });

  it('say what they have tried where etcd is not reached, and what to do', async () => {
    const directory = openDataDirectory(join(dir, 'alone'), 2);
    const lines: string[] = [];
    const unreached = openMetadataStore({
      directory,
      etcd: { endpoints: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], requestTimeoutMs: 300 },
      clusterId: null,
      onProgress: line => lines.push(line),
      timeoutMs: 1_000,
    });
    await expect(unreached).rejects.toMatchObject({
      code: 'ERR_ETCD_UNREACHABLE',
      kind: 'retryable',
      message: expect.stringMatching(
        /etcd does not answer \(http:\/\/127\.0\.0\.1:[12], http:\/\/127\.0\.0\.1:[12]\): .*: tried for 1 s/,
      ) as string,
      action: expect.stringContaining('no data is lost') as string,
    });
    expect(lines).toEqual(['waiting for etcd at http://127.0.0.1:1, http://127.0.0.1:2']);
    directory.lock.release();
  });
});

describe('the section "etcd" of a configuration', () => {
  const load = (text: string) => {
    const file = join(dir, 'etcd.yaml');
    writeFileSync(file, text);
    return loadConfig(file, etcdConfig);
  };

  it.each([
    ['endpoints: []', 'line 1: endpoints: it needs at least one URL'],
    ['endpoints: [a]\nuser: u', 'line 2: user: it needs "passwordFile" beside it'],
    ['endpoints: [a]\nca: c\nkey: k', 'line 3: key: it needs "cert" beside it'],
    ['endpoints: [a]\ncert: c\nkey: k', 'line 2: cert: it needs "ca" beside it'],
    ['endpoints: [a]\nfoo: 1', 'line 2: foo: is no key of this configuration'],
  ])('%s is refused', (text, message) => {
    expect(() => load(text)).toThrow(message);
  });

  it('names files, which are read', () => {
    writeFileSync(join(dir, 'password'), 'secret\n');
    writeFileSync(join(dir, 'ca'), 'CA');
    const options = etcdOptions(load(`endpoints: ['https://h:1']\nca: ${dir}/ca\nuser: u\npasswordFile: ${dir}/password\nnamespace: x/`));
    expect(options).toEqual({
      endpoints: ['https://h:1'],
      tls: { ca: Buffer.from('CA') },
      user: { name: 'u', password: 'secret' },
      namespace: 'x/',
    });
    expect(() => etcdOptions(load(`endpoints: ['https://h:1']\nca: ${dir}/none`))).toThrow(`etcd.ca: the file ${dir}/none cannot be read`);
  });
});
