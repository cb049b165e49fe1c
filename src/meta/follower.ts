import { GatepathError } from '../base/errors.js';
import { MAX_META_HINT_KEYS } from '../wire/limits.js';
import type { MetadataStore, Versioned, Watch, WatchHint } from './store.js';

/** Null: it was not there, or is there no longer. */
export interface Change<T> {
  readonly key: string;
  readonly before: T | null;
  readonly after: T | null;
}

class Damage {
  constructor(readonly message: string) {}
}

/**
 * The records under a prefix, as they were read last, for somebody who follows them. A hint that names what has changed costs a read of that; one that does not, a break, and a read that
 * has failed cost a read of all. What counts is what was read: a hint is none before {@link read} has been called after it.
 */
export class Follower<T> {
  readonly #records = new Map<string, { readonly version: number; readonly value: T }>();
  readonly #damaged = new Map<string, string>();
  /** What is to be read again; null: all. */
  #stale: Set<string> | null = null;
  #isReading = false;
  readonly #watch: Watch;

  /**
   * `parse`: null for a record that is to be taken for none. Throws it ERR_METADATA, the record is damaged: it stays what it was when it was read last, if ever it was, and
   * {@link damaged} has it. What else it throws {@link read} throws. `onHint`: there is something to be read.
   */
  constructor(
    private readonly store: MetadataStore,
    private readonly prefix: string,
    private readonly parse: (item: Versioned) => T | null,
    onHint: () => void,
  ) {
    this.#watch = store.watch(prefix, hint => {
      this.#hear(hint);
      onHint();
    });
  }

  /** With the next {@link read} this key is read, hint or no hint. */
  notice(key: string): void {
    this.#stale?.add(key);
  }

  /** Key → what is wrong with it. */
  get damaged(): ReadonlyMap<string, string> {
    return this.#damaged;
  }

  get(key: string): T | null {
    return this.#records.get(key)?.value ?? null;
  }

  *values(): IterableIterator<T> {
    for (const { value } of this.#records.values()) yield value;
  }

  /** What has changed since the last time; at first all there is. Not to be called while it is under way. Throws as the store does: then nothing has been taken in. */
  async read(): Promise<readonly Change<T>[]> {
    if (this.#isReading) throw new Error('one read at a time');
    this.#isReading = true;
    const stale = this.#stale;
    this.#stale = new Set();
    try {
      const isAll = stale === null || stale.size > MAX_META_HINT_KEYS;
      const found = isAll ? await this.#all() : await this.#some(stale);
      const news = found.filter(
        ({ key, item }) => this.#damaged.has(key) || (item?.version ?? 0) !== (this.#records.get(key)?.version ?? 0),
      );
      return news.map(({ key, item }) => ({ key, item, after: item === null ? null : this.#parse(item) })).flatMap(one => this.#take(one));
    } catch (error) {
      this.#stale = null;
      throw error;
    } finally {
      this.#isReading = false;
    }
  }

  close(): void {
    this.#watch.close();
  }

  #hear({ broken, keys }: WatchHint): void {
    if (broken || keys === undefined) this.#stale = null;
    else for (const key of keys) this.#stale?.add(key);
  }

  async #all(): Promise<{ readonly key: string; readonly item: Versioned | null }[]> {
    const { items } = await this.store.range(this.prefix);
    const there = new Set(items.map(({ key }) => key));
    const gone = [...this.#records.keys(), ...this.#damaged.keys()].filter(key => !there.has(key));
    return [...gone.map(key => ({ key, item: null })), ...items.map(item => ({ key: item.key, item }))];
  }

  #some(keys: ReadonlySet<string>): Promise<{ readonly key: string; readonly item: Versioned | null }[]> {
    return Promise.all([...keys].map(async key => ({ key, item: await this.store.get(key) })));
  }

  #parse(item: Versioned): T | null | Damage {
    try {
      return this.parse(item);
    } catch (error) {
      if (!(error instanceof GatepathError) || error.code !== 'ERR_METADATA') throw error;
      return new Damage(error.message);
    }
  }

  #take({ key, item, after }: { readonly key: string; readonly item: Versioned | null; readonly after: T | null | Damage }): Change<T>[] {
    const before = this.get(key);
    if (after instanceof Damage) {
      this.#damaged.set(key, after.message);
      if (before !== null) this.#records.set(key, { version: item!.version, value: before });
      return [];
    }
    this.#damaged.delete(key);
    if (item === null || after === null) this.#records.delete(key);
    else this.#records.set(key, { version: item.version, value: after });
    return before === null && after === null ? [] : [{ key, before, after }];
  }
}
