import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { StargateHost } from '../../dist/main/stargate-host.js';
import { upgradeFromSingle } from '../../dist/main/cluster/upgrade.js';
import { silentLogger } from '../../src/base/log.js';
import type { EtcdOptions } from '../../src/meta/etcd-options.js';
import { EtcdStore } from '../../src/meta/etcd.js';
import { keys } from '../../src/meta/model.js';
import { groupOf, listNodes, winTerms } from '../../src/meta/nodes.js';
import { attach, listAttachments } from '../../src/meta/attachments.js';
import { createContainer, createVdisk, listContainers, listVdisks } from '../../src/meta/operations.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const missing = missingPrograms(...ETCD_PROGRAMS);
const dir = makeTempDir('upgrade');
const running: StargateHost[] = [];
let etcd: EtcdCluster;

async function open(data: string, at: EtcdOptions | null, nodeId = 'node-1'): Promise<StargateHost> {
  const host = await StargateHost.open({
    dataDirectory: join(dir, data),
    nodeId,
    shards: 2,
    cacheBytes: 64 << 20,
    oplogBytes: 1 << 30,
    stargateSocket: join(dir, data, 'stargate.sock'),
    etcd: at,
    log: silentLogger,
    onProgress: () => undefined,
    onFatal: message => {
      throw new Error(message);
    },
  });
  running.push(host);
  return host;
}

const close = async (): Promise<void> => {
  for (const host of running.splice(0)) await host.close();
};

describe.skipIf(missing.length > 0)(`a single node that becomes one of a cluster${missingNote(missing)}`, () => {
  beforeAll(async () => {
    etcd = await EtcdCluster.start();
  });
  afterEach(close);
  afterAll(async () => {
    await etcd.stop();
    removeTempDir(dir);
  });

  const at = (namespace: string): EtcdOptions => ({ endpoints: etcd.urls, namespace: `${namespace}/` });
  function upgrade(data: string, namespace: string, node = 'node-1') {
    const config = join(dir, `${data}.yaml`);
    writeFileSync(config, JSON.stringify({ data: join(dir, data), socket: join(dir, data, 's'), node, etcd: at(namespace) }));
    return upgradeFromSingle(config, () => undefined);
  }

  /** With a vdisk that is served and attached, and one that never was served. */
  async function single(data: string, vdisk: string): Promise<string> {
    const host = await open(data, null);
    await createContainer(host.store, 'fast');
    const { id } = await createVdisk(host.store, { name: vdisk, sizeBytes: 1 << 20, container: 'fast' });
    await winTerms(host.store, [id], host.metadata.member);
    await attach(host.store, vdisk, 'host');
    await createVdisk(host.store, { name: `${vdisk}-new`, sizeBytes: 1 << 20 });
    await close();
    return id;
  }

  it('takes its vdisks, their terms and attachments with it, and stays who it is; a second time there is nothing to do', async () => {
    const id = await single('one', 'disk');
    expect(await upgrade('one', 'one')).toMatchObject({ vdisks: 2, containers: 2, kept: join(dir, 'one', 'meta.single-node') });
    const host = await open('one', at('one'));
    expect((await listVdisks(host.store)).map(({ name }) => name).sort()).toEqual(['disk', 'disk-new']);
    expect((await listContainers(host.store)).map(({ name }) => name)).toEqual(['default', 'fast']);
    expect(await listAttachments(host.store)).toMatchObject([{ vdiskName: 'disk', host: 'host', generation: 1 }]);
    expect(await groupOf(host.store, id)).toMatchObject({ term: 1, generation: 1, members: [host.metadata.member] });
    expect(host.metadata.member.incarnation).toBe(1);
    const all = (await listVdisks(host.store)).map(one => one.id);
    const { won, refused } = await winTerms(host.store, all, host.metadata.member);
    expect([won.size, refused.size, won.get(id)?.term]).toEqual([2, 0, 2]);
    expect((await host.store.range('transfer/')).items).toEqual([]);
    await close();
    await expect(upgrade('one', 'one')).rejects.toMatchObject({ code: 'ERR_NOT_SINGLE' });
    await expect(open('one', null)).rejects.toMatchObject({ code: 'ERR_CLUSTER_DIRECTORY' });
  });

  it('is refused, and changes nothing, where the cluster has one of its names', async () => {
    await single('two', 'disk');
    const other = await open('other', at('taken'), 'node-9');
    await createVdisk(other.store, { name: 'disk', sizeBytes: 1 << 20 }, () => Promise.resolve([other.metadata.member]));
    const before = (await other.store.range('')).items.filter(({ key }) => !key.startsWith(keys.beats));
    await expect(upgrade('two', 'taken')).rejects.toMatchObject({
      code: 'ERR_EXISTS',
      message: 'the cluster has a vdisk named "disk" already',
    });
    expect((await other.store.range('')).items.filter(({ key }) => !key.startsWith(keys.beats))).toEqual(before);
    await expect(upgrade('two', 'taken', 'node-2')).rejects.toMatchObject({
      code: 'ERR_OTHER_NODE',
      action: 'set "node: node-1" in the configuration',
    });
    expect(existsSync(join(dir, 'two', 'meta.single-node'))).toBe(false);
    await open('two', null);
  });

  it('joins nodes that are there, and keeps their containers', async () => {
    await open('third', at('join'), 'node-9');
    await single('three', 'mine');
    await upgrade('three', 'join');
    const host = await open('three', at('join'));
    expect((await listNodes(host.store)).map(({ id }) => id)).toEqual(['node-1', 'node-9']);
  });

  it('that was broken off goes on where it is begun again, and is not a single node in between', async () => {
    const id = await single('half', 'disk');
    const { storeUuid } = await open('half', null).then(host => host.directory);
    await close();
    // As a run leaves it that was killed while it copied.
    const store = await EtcdStore.open(at('half'));
    const host = await open('half', null);
    const mark = { put: `transfer/${storeUuid}`, value: {} };
    await host.store.transaction([], [mark]);
    await store.transaction([], [mark, { put: keys.vdiskName('disk'), value: 'an older one' }]);
    await store.close();
    await close();
    await expect(open('half', null)).rejects.toMatchObject({ code: 'ERR_UPGRADE_BEGUN' });
    await upgrade('half', 'half');
    const after = await open('half', at('half'));
    expect((await after.store.get(keys.vdiskName('disk')))?.value).toBe(id);
  });
});
