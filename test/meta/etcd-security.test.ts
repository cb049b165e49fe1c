import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { EtcdStore } from '../../src/meta/etcd.js';
import type { EtcdOptions } from '../../src/meta/etcd-options.js';
import { Authority, type Certificate } from '../support/certificates.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { TcpGate } from '../support/tcp-gate.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep } from '../support/wait.js';

const missing = missingPrograms(...ETCD_PROGRAMS, 'openssl');
const stores: EtcdStore[] = [];

async function open(options: EtcdOptions): Promise<EtcdStore> {
  const store = await EtcdStore.open({ requestTimeoutMs: 2_000, ...options });
  stores.push(store);
  return store;
}

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

describe.skipIf(missing.length > 0)(`etcd with TLS and client certificates${missingNote(missing)}`, () => {
  let directory: string;
  let cluster: EtcdCluster;
  let ca: Buffer;
  let client: Certificate;

  beforeAll(async () => {
    directory = makeTempDir('tls');
    const authority = await Authority.create(directory);
    client = await authority.issue('client');
    ca = readFileSync(authority.ca);
    cluster = await EtcdCluster.start({ tls: { ca: authority.ca, ...(await authority.issue('server')) } });
  });
  afterAll(async () => {
    await cluster.stop();
    removeTempDir(directory);
  });

  const read = ({ cert, key }: Certificate): { cert: Buffer; key: Buffer } => ({ cert: readFileSync(cert), key: readFileSync(key) });

  it('serves who shows a certificate of its authority, watches too', async () => {
    const store = await open({ endpoints: cluster.urls, tls: { ca, ...read(client) } });
    const listener = vi.fn();
    store.watch('a', listener);
    expect((await store.transaction([{ key: 'a', version: 0 }], [{ put: 'a', value: 1 }])).ok).toBe(true);
    expect((await store.get('a'))?.value).toBe(1);
    await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 5_000);
  });

  it('serves nobody who shows none, or one of another authority', async () => {
    const strangers = await Authority.create(directory, 'strangers');
    const stranger = await strangers.issue('stranger');
    for (const tls of [{ ca }, { ca, ...read(stranger) }]) {
      await expect((await open({ endpoints: cluster.urls, tls })).get('a')).rejects.toBeInstanceOf(MetaUnavailable);
    }
  });

  it('is not talked to where its certificate is of another authority, or no TLS is spoken', async () => {
    const strangers = await Authority.create(directory, 'others');
    const tls = { ca: readFileSync(strangers.ca), ...read(client) };
    await expect((await open({ endpoints: cluster.urls, tls })).get('a')).rejects.toBeInstanceOf(MetaUnavailable);
    const plain = cluster.urls.map(url => url.replace('https', 'http'));
    await expect((await open({ endpoints: plain })).get('a')).rejects.toBeInstanceOf(MetaUnavailable);
  });
});

describe.skipIf(missing.length > 0)(`etcd with users${missingNote(missing)}`, () => {
  let cluster: EtcdCluster;
  const user = { name: 'gatepath', password: 'correct horse' };
  const root = ['--user', 'root:root-password'];

  beforeAll(async () => {
    cluster = await EtcdCluster.start({ args: ['--auth-token-ttl', '2'] });
    await cluster.ctl(['user', 'add', 'root:root-password']);
    await cluster.ctl(['user', 'grant-role', 'root', 'root']);
    await cluster.ctl(['user', 'add', `${user.name}:${user.password}`]);
    await cluster.ctl(['role', 'add', 'gatepath']);
    await cluster.ctl(['role', 'grant-permission', 'gatepath', '--prefix=true', 'readwrite', 'gatepath/']);
    await cluster.ctl(['user', 'grant-role', user.name, 'gatepath']);
    await cluster.ctl(['auth', 'enable']);
  });
  afterAll(() => cluster.stop());

  it('serves a user with rights on the namespace, also when its token has run out, and its watches', async () => {
    const gate = await TcpGate.open(Number(new URL(cluster.urls[0]!).port));
    const store = await open({ endpoints: [`http://127.0.0.1:${gate.port}`], user });
    expect((await store.transaction([{ key: 'a', version: 0 }], [{ put: 'a', value: 1 }])).ok).toBe(true);
    const listener = vi.fn();
    store.watch('a', listener);
    await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 5_000);
    await sleep(4_500);
    expect((await store.get('a'))?.value).toBe(1);
    const { version } = (await store.get('a'))!;
    expect((await store.transaction([{ key: 'a', version }], [{ put: 'a', value: 2 }])).ok).toBe(true);
    await vi.waitFor(() => expect(listener).toHaveBeenCalledWith({ broken: false, keys: ['a'] }), 5_000);
    await sleep(4_500);
    listener.mockClear();
    gate.cut();
    await vi.waitFor(() => expect(listener.mock.calls).toContainEqual([{ broken: true }]), 5_000);
    gate.close();
  });

  it('serves it, and its watches, when etcd was started again', async () => {
    const store = await open({ endpoints: cluster.urls, user });
    const listener = vi.fn();
    store.watch('w/', listener);
    await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 5_000);
    const [member] = cluster.members;
    await member!.process.kill();
    listener.mockClear();
    cluster.restart(member!);
    await vi.waitFor(() => expect(listener.mock.calls).toContainEqual([{ broken: true }]), 20_000);
    listener.mockClear();
    await store.transaction([], [{ put: 'w/1', value: 1 }]);
    await vi.waitFor(() => expect(listener).toHaveBeenCalledWith({ broken: false, keys: ['w/1'] }), 5_000);
  });

  it.each<[string, Partial<EtcdOptions>]>([
    ['a wrong password', { user: { ...user, password: 'wrong' } }],
    ['an unknown user', { user: { ...user, name: 'nobody' } }],
    ['no user', {}],
    ['a namespace without rights', { user, namespace: 'other/' }],
  ])('%s: refused at once, with what to check, and certainly not carried out', async (_, options) => {
    const store = await open({ endpoints: cluster.urls, ...options });
    const refused = { code: 'ERR_ETCD_REFUSED', kind: 'invalid' };
    const startMs = performance.now();
    await expect(store.get('b')).rejects.toMatchObject(refused);
    await expect(store.transaction([], [{ put: 'b', value: 1 }])).rejects.toMatchObject(refused);
    await expect(store.transaction([{ key: 'b', version: 5 }], [{ put: 'b', value: 1 }])).rejects.toMatchObject(refused);
    expect(performance.now() - startMs).toBeLessThan(1_500);
  });

  it('serves a user again whose rights were taken and given back', async () => {
    const store = await open({ endpoints: cluster.urls, user });
    await store.get('a');
    await cluster.ctl([...root, 'user', 'revoke-role', user.name, 'gatepath']);
    await expect(store.get('a')).rejects.toMatchObject({ code: 'ERR_ETCD_REFUSED' });
    await cluster.ctl([...root, 'user', 'grant-role', user.name, 'gatepath']);
    await vi.waitFor(() => store.get('a'), { timeout: 5_000, interval: 100 });
    expect((await store.transaction([], [{ put: 'c', value: 1 }])).ok).toBe(true);
  });
});
