import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { EtcdStore } from '../../src/meta/etcd.js';
import { compareAndSwapByNonce, type Proposal } from '../../src/meta/propose.js';
import type { MetadataStore } from '../../src/meta/store.js';
import { ETCD_PROGRAMS, EtcdCluster } from '../support/etcd.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { Random, seedFromEnvironment } from '../support/random.js';
import { TcpGate } from '../support/tcp-gate.js';
import { sleep, waitFor } from '../support/wait.js';

const missing = missingPrograms(...ETCD_PROGRAMS);

/** A record that knows its whole past: each write adds its nonce. */
interface Chain {
  readonly nonce: string;
  readonly nonces: readonly string[];
}
const KEY = 'chain';
const WRITERS = 4;
/** After each fault. */
const WINS = 60;

/** What one storm of compare-and-swaps has seen. */
class Storm {
  readonly won = new Set<string>();
  /** Known not to have been applied: no attempt was ever unknown. */
  readonly lost = new Set<string>();
  /** Lost at the end, or given up, after an unknown attempt: may have been applied, and overtaken. */
  readonly unsure = new Set<string>();
  unknownAttempts = 0;
  #stopped = false;
  #longest = 0;

  /** By nonce, or as it comes: then an unknown outcome stays unknown. */
  async write(store: MetadataStore, byNonce: boolean): Promise<void> {
    while (!this.#stopped) {
      const found = await store.get(KEY).catch(ignoreUnavailable);
      if (found === undefined) continue;
      const nonce = randomUUID();
      const value: Chain = { nonce, nonces: [...((found?.value as Chain | undefined)?.nonces ?? []), nonce] };
      const proposal = { key: KEY, version: found?.version ?? 0, value };
      const unknownBefore = this.unknownAttempts;
      const won = await (byNonce ? this.#propose(store, proposal) : this.#swap(store, proposal)).catch(ignoreUnavailable);
      // Unknown attempts of other writers count too: then it is called unsure without need.
      if (won === true) this.won.add(nonce);
      else (won === false && this.unknownAttempts === unknownBefore ? this.lost : this.unsure).add(nonce);
    }
  }

  async #propose(store: MetadataStore, proposal: Proposal): Promise<boolean> {
    return (await compareAndSwapByNonce(this.#counting(store), proposal)).won;
  }

  async #swap(store: MetadataStore, { key, version, value }: Proposal): Promise<boolean> {
    return (await this.#counting(store).transaction([{ key, version }], [{ put: key, value }])).ok;
  }

  /** The chain grows, and nothing that was in it ever goes. */
  async read(store: MetadataStore): Promise<void> {
    let before: readonly string[] = [];
    while (!this.#stopped) {
      const found = await store.get(KEY).catch(ignoreUnavailable);
      if (found !== undefined) {
        const nonces = (found?.value as Chain | undefined)?.nonces ?? [];
        expect(nonces.slice(0, before.length)).toEqual(before);
        before = nonces;
      }
      await sleep(20);
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Until writes are won again. */
  async progress(): Promise<void> {
    const startMs = performance.now();
    const wonBefore = this.won.size;
    await waitFor('writes go on', 30_000, () => this.won.size >= wonBefore + WINS);
    this.#longest = Math.max(this.#longest, performance.now() - startMs);
  }

  check(final: Chain): void {
    const { nonces } = final;
    console.log(
      `chain of ${nonces.length}: ${this.won.size} won, ${this.lost.size} lost, ${this.unsure.size} unsure, ${this.unknownAttempts} unknown attempts; longest way to the next ${WINS}  ${Math.round(this.#longest)} ms`,
    );
    expect(new Set(nonces).size).toBe(nonces.length);
    expect(nonces.at(-1)).toBe(final.nonce);
    expect([...this.won].filter(nonce => !nonces.includes(nonce))).toEqual([]);
    expect(nonces.filter(nonce => this.lost.has(nonce))).toEqual([]);
    expect(nonces.filter(nonce => !this.won.has(nonce) && !this.unsure.has(nonce))).toEqual([]);
  }

  #counting(store: MetadataStore): MetadataStore {
    return {
      get: key => store.get(key),
      range: prefix => store.range(prefix),
      keys: prefix => store.keys(prefix),
      watch: (prefix, listener) => store.watch(prefix, listener),
      close: () => store.close(),
      transaction: async (compares, operations) => {
        try {
          return await store.transaction(compares, operations);
        } catch (error) {
          if (error instanceof MetaUnavailable) this.unknownAttempts++;
          throw error;
        }
      },
    };
  }
}

function ignoreUnavailable(error: unknown): undefined {
  if (!(error instanceof MetaUnavailable)) throw error;
}

describe.skipIf(missing.length > 0)(`etcd cluster of three${missingNote(missing)}`, () => {
  let cluster: EtcdCluster;
  const stores: EtcdStore[] = [];
  let namespace: string;
  let lastNamespace = 0;

  beforeAll(async () => {
    cluster = await EtcdCluster.start({ members: 3 });
  });
  afterAll(() => cluster.stop());
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
  });

  const open = async (endpoints = cluster.urls): Promise<EtcdStore> => {
    const store = await EtcdStore.open({ endpoints, namespace, requestTimeoutMs: 3_000 });
    stores.push(store);
    return store;
  };

  async function storm(faults: (running: Storm, random: Random) => Promise<void>, endpoints = cluster.urls): Promise<void> {
    namespace = `storm${++lastNamespace}/`;
    const running = new Storm();
    const seed = seedFromEnvironment();
    console.log(`GATEPATH_SEED=${seed}`);
    const clients = await Promise.all(Array.from({ length: WRITERS + 1 }, () => open(endpoints)));
    const work = Promise.all([...clients.slice(1).map((client, i) => running.write(client, i % 2 === 0)), running.read(clients[0]!)]);
    try {
      await Promise.race([work, running.progress().then(() => faults(running, new Random(seed)))]);
      await running.progress();
    } finally {
      running.stop();
    }
    await work;
    running.check((await clients[0]!.get(KEY))!.value as Chain);
  }

  it('loses and doubles no update while leaders are killed', () =>
    storm(async (running, random) => {
      for (let round = 0; round < 3; round++) {
        const leader = await cluster.leader();
        await sleep(random.below(200));
        await leader.process.kill();
        await running.progress();
        cluster.restart(leader);
        await cluster.ready();
        await running.progress();
      }
    }));

  it('loses and doubles no update while leaders hang and come back', () =>
    storm(async (running, random) => {
      for (let round = 0; round < 3; round++) {
        const leader = await cluster.leader();
        await sleep(random.below(200));
        leader.process.signal('SIGSTOP');
        await running.progress();
        leader.process.signal('SIGCONT');
        await running.progress();
      }
    }));

  it('loses and doubles no update while answers are lost with their connections', async () => {
    const gates = await Promise.all(cluster.urls.map(url => TcpGate.open(Number(new URL(url).port))));
    const urls = gates.map(gate => `http://127.0.0.1:${gate.port}`);
    try {
      await storm(async (running, random) => {
        for (let round = 0; round < 150; round++) {
          const gate = gates[random.below(gates.length)]!;
          gate.hold();
          await sleep(random.below(40));
          if (random.below(4) === 0) gate.release();
          else gate.cut();
        }
        await running.progress();
        expect(running.unsure.size).toBeGreaterThan(0);
      }, urls);
    } finally {
      for (const gate of gates) gate.close();
    }
  });

  it('loses and doubles no update while all members are killed, and none is there for a while', () =>
    storm(async running => {
      for (const member of cluster.members) await member.process.kill();
      await sleep(2_000);
      for (const member of cluster.members) cluster.restart(member);
      await cluster.ready();
      await running.progress();
    }));

  it('serves reads and writes without an error while a member that does not lead is killed', async () => {
    namespace = `follower${++lastNamespace}/`;
    const store = await open();
    await store.transaction([], [{ put: 'a', value: 0 }]);
    const leader = await cluster.leader();
    const follower = cluster.members.find(member => member !== leader)!;
    let longestMs = 0;
    const end = performance.now() + 4_000;
    let killed: Promise<void> | undefined;
    for (let i = 0; performance.now() < end; i++) {
      if (i === 20) killed = follower.process.kill();
      const startMs = performance.now();
      expect(await store.get('a')).not.toBe(null);
      longestMs = Math.max(longestMs, performance.now() - startMs);
      await sleep(10);
    }
    await killed;
    console.log(`longest read ${Math.round(longestMs)} ms`);
    expect(longestMs).toBeLessThan(2_000);
    for (let i = 0; i < 20; i++) {
      expect((await store.transaction([{ key: `b/${i}`, version: 0 }], [{ put: `b/${i}`, value: i }])).ok).toBe(true);
    }
    cluster.restart(follower);
    await cluster.ready();
  });

  it('watches go on over the end of any member: broken, then hints again', async () => {
    namespace = `watch${++lastNamespace}/`;
    const [store, writer] = [await open(), await open()];
    const listener = vi.fn();
    store.watch('a/', listener);
    for (const member of cluster.members) {
      await vi.waitFor(() => expect(listener).toHaveBeenCalled(), 15_000);
      await member.process.kill();
      listener.mockClear();
      let i = 0;
      await vi.waitFor(
        async () => {
          await writer.transaction([], [{ put: 'a/1', value: i++ }]).catch(ignoreUnavailable);
          expect(listener).toHaveBeenCalled();
        },
        { timeout: 20_000, interval: 100 },
      );
      cluster.restart(member);
      await cluster.ready();
    }
  });
});
