import { Inode } from './inode.js';
import type { Random } from './random.js';

export type Named = Inode | Directory;
type Names = Map<string, Named>;
/** One change of a directory: names that go and names that come, together. */
type Change = (names: Names) => void;

/** A simulated directory: its names as the running process sees them, and those that are on the medium. */
export class Directory {
  names: Names = new Map();
  #stable: Names = new Map();
  /** What no sync covers, in order. */
  #changes: Change[] = [];

  set(name: string, named: Named): void {
    this.#change(names => void names.set(name, named));
  }

  remove(name: string): void {
    this.#change(names => void names.delete(name));
  }

  /** Both names at once, as a journal has it. */
  rename(from: string, to: string): void {
    const named = this.names.get(from)!;
    this.#change(names => {
      names.delete(from);
      names.set(to, named);
    });
  }

  sync(): void {
    for (const change of this.#changes) change(this.#stable);
    this.#changes = [];
  }

  /** Of what was not synced: nothing, all, what came first, or each change or not; then what is below. */
  powerCut(random: Random): void {
    const count = this.#changes.length;
    const policy = Math.floor(random() * 4);
    const first = Math.floor(random() * (count + 1));
    this.#changes.forEach((change, i) => {
      const kept = policy === 0 ? false : policy === 1 ? true : policy === 2 ? i < first : random() < 0.5;
      if (kept) change(this.#stable);
    });
    this.#changes = [];
    this.names = new Map(this.#stable);
    for (const named of this.names.values()) named.powerCut(random);
  }

  /** Files here and below. */
  *files(): IterableIterator<Inode> {
    for (const named of this.names.values()) {
      if (named instanceof Inode) yield named;
      else yield* named.files();
    }
  }

  #change(change: Change): void {
    change(this.names);
    this.#changes.push(change);
  }
}
