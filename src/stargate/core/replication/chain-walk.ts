import type { Entry, LogBase } from './entry.js';

/** An entry by what the one behind it says of it: nobody has another one with this hash. */
export interface EntryName {
  readonly seq: number;
  readonly hash: number;
}

/** Goes back through a log, from its end to its base, each entry named by the one behind it: whoever brings an entry, and in whatever order they lie, it is this log's. */
export class ChainWalk {
  readonly #newestFirst: Entry[] = [];
  #next: EntryName;

  constructor(
    readonly base: LogBase,
    end: EntryName,
  ) {
    this.#next = end;
  }

  /** The entry that comes next; null: there is none, the base is reached. */
  get wanted(): EntryName | null {
    return this.#next.seq > this.base.seq ? this.#next : null;
  }

  /** The entries do not lead to the base: it is another log's, or the end lies in front of it. */
  get isAstray(): boolean {
    const { seq, hash } = this.#next;
    return seq < this.base.seq || (seq === this.base.seq && hash !== this.base.hash);
  }

  /** False: it is not the one that comes next. */
  take(entry: Entry): boolean {
    const { wanted } = this;
    if (wanted === null || entry.seq !== wanted.seq || entry.hash !== wanted.hash) return false;
    this.#newestFirst.push(entry);
    this.#next = { seq: entry.seq - 1, hash: entry.prevHash };
    return true;
  }

  /** As far as it goes with these. */
  takeAll(entries: ReadonlyMap<number, Entry>): void {
    for (;;) {
      const entry = entries.get(this.#next.seq);
      if (entry === undefined || !this.take(entry)) return;
    }
  }

  /** Oldest first. */
  entries(): Entry[] {
    return this.#newestFirst.toReversed();
  }
}
