import { MAX_META_HINT_KEYS } from '../wire/limits.js';
import type { WatchHint } from './store.js';

/** What a watch is to be told in the loop's next turn: what comes until then merges. */
export class DueHint {
  #isBroken = false;
  /** Null: too many to be named. */
  #keys: Set<string> | null = new Set();

  constructor(tell: (hint: WatchHint) => void) {
    setImmediate(() => tell(this.#hint));
  }

  changed(key: string): void {
    this.#keys?.add(key);
    if (this.#keys !== null && this.#keys.size > MAX_META_HINT_KEYS) this.#keys = null;
  }

  broke(): void {
    this.#isBroken = true;
  }

  get #hint(): WatchHint {
    if (this.#isBroken) return { broken: true };
    return this.#keys === null ? { broken: false } : { broken: false, keys: [...this.#keys] };
  }
}
