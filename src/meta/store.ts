/**
 * The metadata store: linearizable reads and compare-and-swap, nothing else is a safety argument (watches are hints).
 * Implementations: LMDB (one node), the wire protocol (a datapath without etcd asks its Stargate), etcd (a cluster).
 * One contract suite runs over all. Values are structured data, encoded with msgpack.
 */
export interface MetadataStore {
  get(key: string): Promise<Versioned | null>;
  /** All keys with the prefix, in key order. */
  range(prefix: string): Promise<RangeResult>;
  /**
   * All compares hold: the operations are applied at once and durable when the promise resolves. One fails: nothing changes.
   * Rejects with MetaUnavailable when the outcome is *unknown* (rule 7): read back before acting.
   */
  transaction(compares: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult>;
  /** Calls `listener` after changes under the prefix; several may merge, some may be missed after a break (then `broken` is set: list again). */
  watch(prefix: string, listener: WatchListener): Watch;
  close(): Promise<void>;
}

export interface Versioned {
  readonly key: string;
  readonly value: unknown;
  /** Changes with each write of the key; 0 is never a version. */
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
export type WatchListener = (hint: { readonly broken: boolean }) => void;
export interface Watch {
  close(): void;
}
