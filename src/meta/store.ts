/**
 * The metadata store: linearizable reads and compare-and-swap, nothing else is a safety argument (watches are hints).
 * Implementations: LMDB (one node), the wire protocol (a datapath without etcd asks its Stargate), etcd (a cluster).
 * One contract suite runs over all (test/meta/contract). What is not within the limits of check.ts is rejected before anything is sent.
 *
 * Keys are printable ASCII and start with a letter or digit. Values are null, booleans, numbers, strings, bytes, arrays and plain objects.
 */
export interface MetadataStore {
  get(key: string): Promise<Versioned | null>;
  /** All keys with the prefix, in key order, as of one moment. The empty prefix is that of all keys. */
  range(prefix: string): Promise<RangeResult>;
  /** The keys of that range alone: for a look at which there are, where reading them all would cost more. */
  keys(prefix: string): Promise<readonly string[]>;
  /**
   * All compares hold: the operations are applied at once and durable when the promise resolves. One fails: nothing changes.
   * At most one operation for each key.
   * Rejects with MetaUnavailable when the outcome is *unknown* (rule 7): read back before acting.
   */
  transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult>;
  /**
   * Calls `listener` after changes under the prefix; several may merge, some may be missed after a break (then `broken` is set: list again).
   * A store that begins to watch only later sets `broken` then: so who lists after this call and after each hint misses nothing.
   */
  watch(prefix: string, listener: WatchListener): Watch;
  /** What is under way is rejected. */
  close(): Promise<void>;
}

export interface Versioned {
  readonly key: string;
  readonly value: unknown;
  /** Rises with each write of the key, also over a removal in between; 0 is never a version. */
  readonly version: number;
}
export interface RangeResult {
  readonly items: readonly Versioned[];
}
/** `version` 0: the key must not exist. */
export interface Compare {
  readonly key: string;
  readonly version: number;
}
export type Operation = { readonly put: string; readonly value: unknown } | { readonly remove: string };
export type TransactionResult = { readonly ok: true; readonly version: number } | { readonly ok: false };
export interface WatchHint {
  readonly broken: boolean;
  /** What has changed, each key once. Missing: it is not known which, or they are too many: list again. */
  readonly keys?: readonly string[] | undefined;
}
export type WatchListener = (hint: WatchHint) => void;
export interface Watch {
  close(): void;
}
