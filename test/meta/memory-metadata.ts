import { MetaUnavailable } from '../../src/meta/errors.js';
import type {
  Compare,
  MetadataStore,
  Operation,
  RangeResult,
  TransactionResult,
  Versioned,
  Watch,
  WatchListener,
} from '../../src/meta/store.js';

/** A metadata store in memory: the far end of the wire store's tests. Can be made unavailable. */
export class MemoryMetadata implements MetadataStore {
  readonly items = new Map<string, Versioned>();
  readonly watches = new Set<{ prefix: string; listener: WatchListener }>();
  available = true;
  transactions = 0;
  /** Called before each answer. */
  gate: () => Promise<void> = () => Promise.resolve();
  #version = 0;

  async get(key: string): Promise<Versioned | null> {
    await this.#check();
    return this.items.get(key) ?? null;
  }

  async range(prefix: string): Promise<RangeResult> {
    await this.#check();
    const keys = [...this.items.keys()].filter(key => key.startsWith(prefix)).sort();
    return { items: keys.map(key => this.items.get(key)!) };
  }

  async keys(prefix: string): Promise<readonly string[]> {
    return (await this.range(prefix)).items.map(({ key }) => key);
  }

  async transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    this.transactions++;
    if (compares.some(({ key, version }) => (this.items.get(key)?.version ?? 0) !== version)) return { ok: false };
    const version = ++this.#version;
    for (const operation of operations) {
      if ('put' in operation) this.items.set(operation.put, { key: operation.put, value: operation.value, version });
      else this.items.delete(operation.remove);
    }
    await this.#check();
    for (const operation of operations) this.#hint('put' in operation ? operation.put : operation.remove);
    return { ok: true, version };
  }

  watch(prefix: string, listener: WatchListener): Watch {
    const watch = { prefix, listener };
    this.watches.add(watch);
    return { close: () => void this.watches.delete(watch) };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async put(key: string, value: unknown): Promise<void> {
    await this.transaction([], [{ put: key, value }]);
  }

  #hint(key: string): void {
    for (const { prefix, listener } of this.watches) if (key.startsWith(prefix)) listener({ broken: false, keys: [key] });
  }

  async #check(): Promise<void> {
    await this.gate();
    if (!this.available) throw new MetaUnavailable('switched off');
  }
}
