import type { Cluster, Facts } from './cluster.js';
import type { Watch } from './watch.js';

/** What a scenario promises (the table of pauses). Missing it is reported; it is no failure of the drill unless it is strict. */
export type Bound =
  /** The longest time without an answer, from the fault on. */
  | { readonly kind: 'gap'; readonly ms: number }
  /** Where nothing is left that could serve meanwhile: from the return of the first path to the first answer. */
  | { readonly kind: 'resume'; readonly ms: number }
  /** So much more than the longest in the time before the fault. */
  | { readonly kind: 'over-quiet'; readonly ms: number }
  /** Nothing is promised but that nothing is lost. */
  | { readonly kind: 'none' };

/** What a scenario finds, and does something to. */
export interface FaultContext {
  readonly cluster: Cluster;
  readonly facts: Facts;
  readonly watch: Watch;
  /** How long a fault lasts that has no length of its own. */
  readonly holdMs: number;
  /** How many requests have been answered so far. */
  answered(): number;
  /** The fault begins now; the first call counts. */
  fault(what: string): void;
  /** It is over. */
  healed(what: string): void;
  /** Answers are measured from here on, not from the fault. */
  measureFromHere(what: string): void;
  /** Undone whatever happens, in the reverse order. */
  undo(how: () => Promise<void> | void): void;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Why it cannot be done here; null: it can. */
  unsuitable(facts: Facts): string | null;
  bound(facts: Facts): Bound;
  /** Of a system of the drill's own: each node is in a network namespace. */
  readonly needsNetworks?: boolean;
  /** The load before the fault lasts as long as the one after it: they are compared. */
  readonly comparesWithBefore?: boolean;
  readonly isExpectedError?: (errorCode: number) => boolean;
  /** What has to be as it is not by itself, before the load begins. */
  prepare?(cluster: Cluster, watch: Watch): Promise<void>;
  run(context: FaultContext): Promise<void>;
}
