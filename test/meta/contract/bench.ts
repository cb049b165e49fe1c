import type { MetadataStore } from '../../../src/meta/store.js';

/** One implementation, ready for use. */
export interface Subject {
  /** Another client of the same data; where there can be none, the same one again. */
  open(): Promise<MetadataStore>;
  close(): Promise<void>;
}

/** What the contract's tests share: two clients of one store, and a part of it for each test. */
export class Bench {
  store!: MetadataStore;
  other!: MetadataStore;
  #lastArea = 0;

  /** A prefix that no other test uses. */
  area(): string {
    return `t${String(++this.#lastArea).padStart(4, '0')}/`;
  }

  /** Gives the version. */
  async put(key: string, value: unknown = key): Promise<number> {
    const result = await this.store.transaction([], [{ put: key, value }]);
    if (!result.ok) throw new Error('a transaction without compares failed');
    return result.version;
  }

  async versionOf(key: string): Promise<number> {
    return (await this.store.get(key))?.version ?? 0;
  }

  async keysOf(prefix: string): Promise<string[]> {
    return (await this.store.range(prefix)).items.map(item => item.key);
  }
}
