import { decodeMetaValue } from '../wire/meta.js';
import { checkKey, checkPrefix, checkTransaction, keyOf } from './check.js';
import { damagedValue } from './damage.js';
import { MetaUnavailable } from './errors.js';
import { EtcdEndpoint, loadEtcd, unavailable, type IRangeRequest, type IRangeResponse, type ITxnRequest } from './etcd-endpoint.js';
import { checkEtcdOptions, type EtcdOptions } from './etcd-options.js';
import { race, type RacePlan } from './etcd-race.js';
import { EtcdWatches } from './etcd-watch.js';
import type { Compare, MetadataStore, Operation, RangeResult, TransactionResult, Versioned, Watch, WatchListener } from './store.js';

/** Behind all characters that a key may have. */
const AFTER_KEYS = '\x7f';
const REQUEST_TIMEOUT_MS = 5_000;
/** A read takes 1 or 2 ms where etcd is well. */
const HEDGE_READ_AFTER_MS = 100;
/** Later: two attempts of one transaction may leave its outcome unknown. */
const HEDGE_WRITE_AFTER_MS = 300;
/** A member that has answered within this time is still there, most likely. */
const FRESH_MS = 1_000;

/**
 * The metadata store of a cluster. The version of a key is etcd's mod_revision: the revision of the whole store at its last write, so that it never
 * comes back. All reads are linearizable (etcd's default).
 *
 * A transaction is sent once, to a member that has just answered a read; a broken connection, a time-out or an election in the middle of it
 * leaves its outcome unknown (MetaUnavailable). Only one that can be applied once at most, however often it arrives (it changes a key that
 * it compares with a version, not with absence), is sent again, beside or after an attempt that is late or lost.
 */
export class EtcdStore implements MetadataStore {
  /** The first one is asked first: the one that answered last. */
  #endpoints: EtcdEndpoint[];
  readonly #watches: EtcdWatches;
  readonly #namespace: string;
  readonly #requestTimeoutMs: number;
  readonly #stops = new Set<(error: Error) => void>();
  #heardAtMs = -Infinity;
  #closed = false;

  private constructor(endpoints: readonly EtcdEndpoint[], options: EtcdOptions) {
    this.#endpoints = [...endpoints];
    this.#namespace = options.namespace ?? 'gatepath/';
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    this.#watches = new EtcdWatches(
      endpoints,
      prefix => this.#rangeOf(prefix),
      key => this.#keyOf(key),
    );
  }

  /** Does not wait for etcd. Rejects with GatepathError where an option is wrong or the package etcd3 is missing. */
  static async open(options: EtcdOptions): Promise<EtcdStore> {
    const urls = checkEtcdOptions(options);
    const module = await loadEtcd();
    const { tls = null, user = null } = options;
    const endpoints = urls.map(url => new EtcdEndpoint(module, url, { tls, user }));
    return new EtcdStore(endpoints, options);
  }

  async get(key: string): Promise<Versioned | null> {
    checkKey(key);
    const { kvs } = await this.#read({ key: this.#bytes(key) });
    return kvs.length === 0 ? null : this.#versioned(kvs[0]!);
  }

  async range(prefix: string): Promise<RangeResult> {
    checkPrefix(prefix);
    const { kvs } = await this.#read({ ...this.#rangeOf(prefix), sort_order: 'Ascend', sort_target: 'Key' });
    return { items: kvs.map(item => this.#versioned(item)) };
  }

  async keys(prefix: string): Promise<readonly string[]> {
    checkPrefix(prefix);
    const request = { ...this.#rangeOf(prefix), sort_order: 'Ascend', sort_target: 'Key', keys_only: true } as const;
    return (await this.#read(request)).kvs.map(({ key }) => this.#keyOf(key));
  }

  async transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    const request = this.#request(compares, operations);
    const once = !canBeRepeated(compares, operations);
    // Finds a member that is there and has a leader, before anything is sent whose outcome could be unknown.
    if (once || performance.now() - this.#heardAtMs > FRESH_MS) await this.#read({ key: this.#bytes('0'), count_only: true });
    const answer = await this.#ask({
      members: once ? this.#endpoints.slice(0, 1) : this.#endpoints,
      ask: (endpoint, timeoutMs) => endpoint.txn(request, timeoutMs),
      // A compare that fails may fail because of an attempt before this one, which was applied.
      judge: ({ succeeded }) => (succeeded ? 'settles' : 'doubtful'),
      harmless: false,
      giveUp: cause => unavailable('the outcome of a transaction in etcd is unknown', cause),
      timeoutMs: this.#requestTimeoutMs,
      hedgeAfterMs: HEDGE_WRITE_AFTER_MS,
      ...(once ? { attempts: 1 } : {}),
    });
    return answer.succeeded ? { ok: true, version: toVersion(answer.header.revision) } : { ok: false };
  }

  watch(prefix: string, listener: WatchListener): Watch {
    checkPrefix(prefix);
    return this.#watches.add(prefix, listener);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#watches.close();
    for (const stop of this.#stops) stop(new MetaUnavailable('the store was closed'));
    for (const endpoint of this.#endpoints) endpoint.close();
    return Promise.resolve();
  }

  // ---------------------------------------------------------------- asking

  #read(request: IRangeRequest): Promise<IRangeResponse> {
    return this.#ask({
      members: this.#endpoints,
      ask: (endpoint, timeoutMs) => endpoint.range(request, timeoutMs),
      judge: () => 'settles',
      harmless: true,
      giveUp: cause => unavailable(`etcd does not answer (${this.#endpoints.map(one => one.url).join(', ')})`, cause),
      timeoutMs: this.#requestTimeoutMs,
      hedgeAfterMs: HEDGE_READ_AFTER_MS,
    });
  }

  async #ask<Answer>(plan: Omit<RacePlan<EtcdEndpoint, Answer>, 'refusal'>): Promise<Answer> {
    if (this.#closed) throw new MetaUnavailable('the store was closed');
    const refusal = (endpoint: EtcdEndpoint, error: unknown): Error | null => {
      this.#endpoints = [...this.#endpoints.filter(one => one !== endpoint), endpoint];
      return this.#closed ? new MetaUnavailable('the store was closed') : endpoint.refusal(error);
    };
    let stop: (error: Error) => void = () => undefined;
    const stopped = new Promise<never>((_, reject) => (stop = reject));
    this.#stops.add(stop);
    try {
      const { member, answer } = await Promise.race([race({ ...plan, refusal }), stopped]);
      this.#heardAtMs = performance.now();
      this.#endpoints = [member, ...this.#endpoints.filter(one => one !== member)];
      return answer;
    } finally {
      this.#stops.delete(stop);
    }
  }

  // ---------------------------------------------------------------- keys and values

  #request(compares: readonly Compare[], operations: readonly Operation[]): ITxnRequest {
    const values = checkTransaction(compares, operations);
    return {
      compare: compares.map(({ key, version }) => ({ result: 'Equal', target: 'Mod', key: this.#bytes(key), mod_revision: version })),
      success: operations.map((operation, i) =>
        'put' in operation
          ? { request_put: { key: this.#bytes(operation.put), value: Buffer.from(values[i]!) } }
          : { request_delete_range: { key: this.#bytes(operation.remove) } },
      ),
    };
  }

  #bytes(key: string): Buffer {
    return Buffer.from(this.#namespace + key, 'latin1');
  }

  #keyOf(bytes: Buffer): string {
    return bytes.toString('latin1').slice(this.#namespace.length);
  }

  #rangeOf(prefix: string): { key: Buffer; range_end: Buffer } {
    return { key: this.#bytes(prefix), range_end: this.#bytes(prefix + AFTER_KEYS) };
  }

  #versioned({ key, value, mod_revision }: IRangeResponse['kvs'][number]): Versioned {
    const version = toVersion(mod_revision);
    try {
      return { key: this.#keyOf(key), value: decodeMetaValue(value), version };
    } catch (cause) {
      return { key: this.#keyOf(key), value: damagedValue(`it is not what Gatepath wrote: ${(cause as Error).message}`), version };
    }
  }
}

/** However often it arrives, it is applied once at most: then a key that it compares has another version, which never comes back. Absence does. */
function canBeRepeated(compares: readonly Compare[], operations: readonly Operation[]): boolean {
  const changed = new Set(operations.map(keyOf));
  return compares.some(({ key, version }) => version > 0 && changed.has(key));
}

function toVersion(revision: string): number {
  const version = Number(revision);
  if (!Number.isSafeInteger(version) || version <= 0)
    throw new RangeError(`revision ${revision} of etcd is not a number this program can keep`);
  return version;
}
