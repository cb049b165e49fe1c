import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { damageOfValue } from '../../src/meta/damage.js';
import { EtcdStore } from '../../src/meta/etcd.js';
import { compareAndSwapByNonce } from '../../src/meta/propose.js';
import type { MetadataStore, WatchHint } from '../../src/meta/store.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { TcpGate } from '../support/tcp-gate.js';
import { sleep } from '../support/wait.js';

const missing = missingPrograms(...ETCD_PROGRAMS);

/** One etcd behind two gates: for the store two members of a cluster. */
describe.skipIf(missing.length > 0)(`etcd store, over bad connections${missingNote(missing)}`, () => {
  let cluster: EtcdCluster;
  let gates: TcpGate[];
  /** Not through a gate: what is really there. */
  let truth: EtcdStore;
  let store: EtcdStore;
  let lastNamespace = 0;
  let namespace: string;

  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());

  beforeEach(async () => {
    namespace = `gate${++lastNamespace}/`;
    const port = Number(new URL(cluster.urls[0]!).port);
    gates = [await TcpGate.open(port), await TcpGate.open(port)];
    truth = await EtcdStore.open({ endpoints: cluster.urls, namespace });
    store = await open(gates);
  });
  afterEach(async () => {
    await store.close();
    await truth.close();
    for (const gate of gates) gate.close();
  });

  const open = (through: readonly TcpGate[], requestTimeoutMs = 2_000): Promise<EtcdStore> =>
    EtcdStore.open({ endpoints: through.map(gate => `http://127.0.0.1:${gate.port}`), namespace, requestTimeoutMs });

  it('knows nothing of what is outside its namespace', async () => {
    await cluster.ctl(['put', `${namespace.slice(0, -1)}`, 'x']);
    await cluster.ctl(['put', `${namespace.slice(0, -1)}0`, 'x']);
    await cluster.ctl(['put', 'zzz', 'x']);
    await store.transaction([], [{ put: 'a', value: 1 }]);
    expect((await store.range('')).items.map(item => item.key)).toEqual(['a']);
    expect(await cluster.ctl(['get', `${namespace}a`, '--keys-only'])).toContain(`${namespace}a`);
  });

  it('says so where a record is not its own', async () => {
    await cluster.ctl(['put', `${namespace}a`, '\u00c1 no msgpack']);
    const says = expect.stringContaining('it is not what Gatepath wrote') as string;
    expect(damageOfValue((await store.get('a'))!.value)).toEqual(says);
    expect((await store.range('')).items.map(({ value }) => damageOfValue(value))).toContainEqual(says);
  });

  it('is unavailable when no member answers, within its time, and comes back by itself', async () => {
    for (const gate of gates) gate.refuse();
    const startMs = performance.now();
    await expect(store.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
    await expect(store.transaction([], [{ put: 'a', value: 1 }])).rejects.toBeInstanceOf(MetaUnavailable);
    expect(performance.now() - startMs).toBeLessThan(8_000);
    for (const gate of gates) gate.refuse(false);
    // Nothing had been sent.
    expect(await store.get('a')).toBe(null);
    expect((await store.transaction([], [{ put: 'a', value: 1 }])).ok).toBe(true);
  });

  it('works through the member that is left, and nothing is unknown', async () => {
    await store.get('a');
    for (const gate of gates) {
      gate.refuse();
      for (let i = 0; i < 10; i++) {
        const key = `${gate.port}/${i}`;
        expect((await store.transaction([{ key, version: 0 }], [{ put: key, value: i }])).ok).toBe(true);
        expect(await store.transaction([{ key, version: 0 }], [{ put: key, value: 'x' }])).toEqual({ ok: false });
      }
      gate.refuse(false);
      await sleep(50);
    }
  });

  it('asks the next member when one is late', async () => {
    await truth.transaction([], [{ put: 'a', value: 1 }]);
    await store.get('a');
    for (const gate of gates) {
      gate.hold();
      const startMs = performance.now();
      for (let i = 0; i < 5; i++) expect((await store.get('a'))?.value).toBe(1);
      expect(performance.now() - startMs).toBeLessThan(1_500);
      gate.cut();
      await sleep(50);
    }
  });

  describe('a transaction whose answer is lost', () => {
    const mine = { nonce: 'this-is-my-nonce' };
    let alone: EtcdStore;
    beforeEach(async () => {
      alone = await open(gates.slice(0, 1), 1_000);
      await alone.get('a');
    });
    afterEach(() => alone.close());

    const applied = (): Promise<void> =>
      vi.waitFor(async () => expect((await truth.get('a'))?.value).toEqual(mine), { timeout: 4_000, interval: 5 });
    const put = async (value: unknown): Promise<number> => {
      const result = await truth.transaction([], [{ put: 'a', value }]);
      return result.ok ? result.version : 0;
    };
    const swap = (through: MetadataStore, version: number): Promise<unknown> =>
      through.transaction([{ key: 'a', version }], [{ put: 'a', value: mine }]).catch((error: unknown) => error);

    it('is unknown, not failed, and is not sent again where that could apply it twice', async () => {
      gates[0]!.holdAfter(mine.nonce);
      const outcome = swap(alone, 0);
      await applied();
      await truth.transaction([], [{ remove: 'a' }]);
      gates[0]!.cut();
      expect(await outcome).toBeInstanceOf(MetaUnavailable);
      await sleep(500);
      expect(await truth.get('a')).toBe(null);
    });

    it('is unknown after its time when nothing breaks', async () => {
      gates[0]!.holdAfter(mine.nonce);
      const outcome = swap(alone, 0);
      await applied();
      expect(await outcome).toBeInstanceOf(MetaUnavailable);
    });

    it('is sent again where that is safe, and then never called failed because of itself', async () => {
      const version = await put(0);
      gates[0]!.holdAfter(mine.nonce);
      const startMs = performance.now();
      const outcome = swap(alone, version);
      await applied();
      gates[0]!.cut();
      // Over a new connection etcd says that the version is another one: because of the first time.
      expect(await outcome).toBeInstanceOf(MetaUnavailable);
      expect(performance.now() - startMs).toBeLessThan(900);
    });

    it('is applied when the first answer comes late, and another member was asked meanwhile', async () => {
      const version = await put(0);
      await store.get('a');
      for (const gate of gates) gate.hold();
      const outcome = swap(store, version);
      await applied();
      await sleep(600);
      for (const gate of gates) gate.release();
      expect(await outcome).toEqual({ ok: true, version: (await truth.get('a'))!.version });
    });

    it('is unknown when only the second answer comes', async () => {
      const version = await put(0);
      await store.get('a');
      const first = gates.findIndex(gate => gate.connections > 0);
      gates[first]!.hold();
      expect(await swap(store, version)).toBeInstanceOf(MetaUnavailable);
      expect((await truth.get('a'))?.value).toEqual(mine);
    });

    it('is decided by its nonce', async () => {
      const version = await put(0);
      gates[0]!.holdAfter(mine.nonce);
      const outcome = compareAndSwapByNonce(alone, { key: 'a', version, value: mine });
      await applied();
      // Long enough for an unknown outcome, and to be issued again.
      await sleep(1_500);
      gates[0]!.cut();
      const now = (await truth.get('a'))!;
      expect(await outcome).toEqual({ won: true, version: now.version });
      // Somebody else's proposal upon the same version.
      const theirs = { nonce: randomUUID() };
      expect(await compareAndSwapByNonce(alone, { key: 'a', version, value: theirs })).toEqual({ won: false, current: now });
    });
  });

  describe('watches', () => {
    const told = async (listener: ReturnType<typeof vi.fn>, hint: WatchHint): Promise<void> => {
      await vi.waitFor(() => expect(listener.mock.calls).toContainEqual([hint]), 8_000);
      await sleep(100);
      listener.mockClear();
    };

    it('tell of their beginning, and of each break, over compactions, and work again after it', async () => {
      const listener = vi.fn();
      const watch = store.watch('a/', listener);
      await told(listener, { broken: true });
      await truth.transaction([], [{ put: 'a/1', value: 1 }]);
      await told(listener, { broken: false, keys: ['a/1'] });
      for (const gate of gates) gate.refuse();
      for (let i = 0; i < 20; i++) await truth.transaction([], [{ put: 'a/1', value: i }]);
      const { version } = (await truth.get('a/1'))!;
      await cluster.ctl(['compact', String(version)]);
      expect(listener).not.toHaveBeenCalled();
      for (const gate of gates) gate.refuse(false);
      await told(listener, { broken: true });
      await cluster.ctl(['compact', String(((await truth.transaction([], [{ put: 'b', value: 1 }])) as { version: number }).version)]);
      await truth.transaction([], [{ remove: 'a/1' }]);
      await told(listener, { broken: false, keys: ['a/1'] });
      watch.close();
    });

    it('leave a member that is silent', { timeout: 40_000 }, async () => {
      const listener = vi.fn();
      store.watch('a/', listener);
      await told(listener, { broken: true });
      // The stream leads through one of the two; which one is its choice.
      const through = gates.find(gate => gate.connections > 0)!;
      through.hold();
      const startMs = performance.now();
      await told(listener, { broken: true });
      // Sooner than HTTP/2's own pings.
      expect(performance.now() - startMs).toBeLessThan(6_500);
      await truth.transaction([], [{ put: 'a/1', value: 1 }]);
      await told(listener, { broken: false, keys: ['a/1'] });
    });

    it('keep no connection when there are none, and begin again', async () => {
      const listener = vi.fn();
      store.watch('a/', listener).close();
      const watch = store.watch('a/', listener);
      await told(listener, { broken: true });
      watch.close();
      await sleep(300);
      const again = store.watch('a/', listener);
      await told(listener, { broken: true });
      await truth.transaction([], [{ put: 'a/1', value: 1 }]);
      await told(listener, { broken: false, keys: ['a/1'] });
      again.close();
    });
  });
});

describe('etcd options', () => {
  const tls = { ca: Buffer.from('') };
  it.each<[string, Parameters<typeof EtcdStore.open>[0]]>([
    ['no endpoint', { endpoints: [] }],
    ['no URL', { endpoints: ['10.0.0.1:2379'] }],
    ['another protocol', { endpoints: ['ftp://a:1'] }],
    ['no port', { endpoints: ['http://a'] }],
    ['a path', { endpoints: ['http://a:1/b'] }],
    ['a user in the URL', { endpoints: ['http://u:p@a:1'] }],
    ['http and https', { endpoints: ['http://a:1', 'https://b:1'], tls }],
    ['certificates without https', { endpoints: ['http://a:1'], tls }],
    ['https without an authority', { endpoints: ['https://a:1'] }],
    ['a certificate without a key', { endpoints: ['https://a:1'], tls: { ...tls, cert: Buffer.from('') } }],
    ['a user without a name', { endpoints: ['http://a:1'], user: { name: '', password: 'p' } }],
    ['a namespace without a slash', { endpoints: ['http://a:1'], namespace: 'x' }],
    ['a namespace beyond ASCII', { endpoints: ['http://a:1'], namespace: 'ü/' }],
  ])('%s: refused', async (_, options) => {
    await expect(EtcdStore.open(options)).rejects.toMatchObject({ code: 'ERR_ETCD_OPTIONS', kind: 'invalid' });
  });

  it('IPv6, a slash at the end, and the same endpoint twice are fine', async () => {
    await (await EtcdStore.open({ endpoints: ['http://[::1]:2379/', 'http://[::1]:2379', 'http://etcd-1.example:2379'] })).close();
  });
});
