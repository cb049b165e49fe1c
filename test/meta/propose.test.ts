import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetaUnavailable } from '../../src/meta/errors.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { compareAndSwapByNonce, proposeTogether, type Proposal } from '../../src/meta/propose.js';
import type { Compare, MetadataStore, Operation, TransactionResult } from '../../src/meta/store.js';
import { Random, seedFromEnvironment } from '../support/random.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep } from '../support/wait.js';

type Fate = 'known' | 'applied, unknown' | 'lost, unknown' | 'applied later, unknown';

/** A store whose transactions meet the fates that a network has for them. */
class Unsure implements MetadataStore {
  fates: Fate[] = [];
  transactions = 0;
  readonly late: Promise<unknown>[] = [];
  lateMs = (): number => 30;
  constructor(
    private readonly inner: MetadataStore,
    private readonly choose: () => Fate = () => 'known',
  ) {}

  async transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    this.transactions++;
    const fate = this.fates.shift() ?? this.choose();
    if (fate === 'applied later, unknown') this.late.push(sleep(this.lateMs()).then(() => this.inner.transaction(compares, operations)));
    const result = fate === 'known' || fate === 'applied, unknown' ? await this.inner.transaction(compares, operations) : null;
    await sleep(0);
    if (fate === 'known') return result!;
    throw new MetaUnavailable('outcome unknown');
  }

  get: MetadataStore['get'] = key => this.inner.get(key);
  range: MetadataStore['range'] = prefix => this.inner.range(prefix);
  keys: MetadataStore['keys'] = prefix => this.inner.keys(prefix);
  watch: MetadataStore['watch'] = (prefix, listener) => this.inner.watch(prefix, listener);
  close = (): Promise<void> => Promise.resolve();
}

let directory: string;
let store: LmdbStore;
let unsure: Unsure;

beforeEach(() => {
  directory = makeTempDir('prop');
  store = LmdbStore.open(directory);
  unsure = new Unsure(store);
});
afterEach(async () => {
  await Promise.all(unsure.late);
  await store.close();
  removeTempDir(directory);
});

const proposal = (version: number, key = 'a'): Proposal => ({ key, version, value: { nonce: randomUUID() } });

describe('a proposal', () => {
  it('is won, or lost to what is there', async () => {
    const first = proposal(0);
    const won = await compareAndSwapByNonce(store, first);
    const current = (await store.get('a'))!;
    expect(won).toEqual({ won: true, version: current.version });
    expect(await compareAndSwapByNonce(store, proposal(0))).toEqual({ won: false, current });
    const removed = await store.transaction([], [{ remove: 'a' }]);
    expect(removed.ok).toBe(true);
    expect(await compareAndSwapByNonce(store, proposal(current.version))).toEqual({ won: false, current: null });
  });

  it.each<[string, Fate[], number]>([
    ['that was applied', ['applied, unknown'], 2],
    ['that was not', ['lost, unknown'], 2],
    ['unknown again and again', ['lost, unknown', 'applied, unknown', 'lost, unknown', 'lost, unknown'], 5],
    ['that overtakes an earlier attempt', ['applied later, unknown'], 2],
  ])('of unknown outcome, %s, is issued again until it is known, and won once', async (_, fates, transactions) => {
    const { version } = (await store.transaction([], [{ put: 'a', value: { nonce: 'old' } }])) as { version: number };
    unsure.fates = [...fates];
    const mine = proposal(version);
    const outcome = await compareAndSwapByNonce(unsure, mine);
    const current = (await store.get('a'))!;
    expect(current.value).toEqual(mine.value);
    expect(outcome).toEqual({ won: true, version: current.version });
    expect(unsure.transactions).toBe(transactions);
    await Promise.all(unsure.late);
    // The late one does nothing any more.
    expect((await store.get('a'))?.version).toBe(current.version);
  });

  it('that was applied and overwritten before its outcome was known counts for nothing', async () => {
    unsure.fates = ['applied, unknown', 'lost, unknown'];
    const outcome = compareAndSwapByNonce(unsure, proposal(0));
    await sleep(10);
    await store.transaction([], [{ put: 'a', value: { nonce: 'another' } }]);
    expect(await outcome).toEqual({ won: false, current: await store.get('a') });
  });

  it('stays unknown when the time is over, and other errors are passed on', async () => {
    unsure = new Unsure(store, () => 'lost, unknown');
    const startMs = performance.now();
    await expect(compareAndSwapByNonce(unsure, proposal(0), { giveUpAfterMs: 200 })).rejects.toBeInstanceOf(MetaUnavailable);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(unsure.transactions).toBeGreaterThan(1);
    await expect(compareAndSwapByNonce(store, { ...proposal(0), key: '' })).rejects.toMatchObject({ code: 'ERR_META_KEY' });
  });

  it('with others is applied with them or not at all; each outcome is its own', async () => {
    unsure.fates = ['applied, unknown', 'lost, unknown'];
    const both = [proposal(0, 'a'), proposal(0, 'b')];
    const outcome = proposeTogether(unsure, both);
    await sleep(10);
    await store.transaction([], [{ put: 'b', value: { nonce: 'another' } }]);
    const [a, b] = [(await store.get('a'))!, (await store.get('b'))!];
    expect(await outcome).toEqual([
      { won: true, version: a.version },
      { won: false, current: b },
    ]);
    const half = [proposal(0, 'c'), proposal(0, 'a')];
    expect((await proposeTogether(store, half)).map(one => one.won)).toEqual([false, false]);
    expect(await store.get('c')).toBe(null);
  });
});

it('proposals that race over an unsure store: every one won is in the record once, every one lost is not', async () => {
  const seed = seedFromEnvironment();
  console.log(`GATEPATH_SEED=${seed}`);
  const random = new Random(seed);
  const fates: Fate[] = ['known', 'known', 'applied, unknown', 'lost, unknown', 'applied later, unknown'];
  unsure = new Unsure(store, () => fates[random.below(fates.length)]!);
  unsure.lateMs = () => random.below(60);
  const won: string[] = [];
  const lost: string[] = [];
  const overtaken: string[] = [];
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (let round = 0; round < 25; round++) {
        const found = await store.get('chain');
        const before = (found?.value as { nonces: string[] } | undefined)?.nonces ?? [];
        const nonce = randomUUID();
        const value = { nonce, nonces: [...before, nonce] };
        const outcome = await compareAndSwapByNonce(unsure, { key: 'chain', version: found?.version ?? 0, value });
        if (outcome.won) won.push(nonce);
        else (((outcome.current?.value as { nonces: string[] }).nonces.includes(nonce) ? overtaken : lost) satisfies string[]).push(nonce);
      }
    }),
  );
  await Promise.all(unsure.late);
  const { nonces } = (await store.get('chain'))!.value as { nonces: string[] };
  console.log(`${won.length} won, ${lost.length} lost, ${overtaken.length} overtaken, ${unsure.transactions} transactions`);
  expect(new Set(nonces).size).toBe(nonces.length);
  expect([...nonces].sort()).toEqual([...won, ...overtaken].sort());
  expect(nonces.filter(nonce => lost.includes(nonce))).toEqual([]);
  expect(won.length).toBeGreaterThan(20);
});
