import { setTimeout as delay } from 'node:timers/promises';
import { MetaUnavailable } from './errors.js';
import type { MetadataStore, Versioned } from './store.js';

/**
 * Rule 7: each proposal carries a fresh nonce, and a node acts only on a record that it read back, or got as the result of its compare-and-swap,
 * and that has its own nonce.
 */
export interface Proposal {
  readonly key: string;
  /** Of the record that the proposal is made upon; 0: none. */
  readonly version: number;
  readonly value: { readonly nonce: string };
}

export type ProposalOutcome =
  | { readonly won: true; readonly version: number }
  /** Not the record now: it never was, or another one came after it. `current` is what is there. */
  | { readonly won: false; readonly current: Versioned | null };

export interface ProposeOptions {
  /** After so long the outcome stays unknown (MetaUnavailable). */
  readonly giveUpAfterMs?: number;
}

const GIVE_UP_AFTER_MS = 30_000;
const REISSUE_FIRST_MS = 20;
const REISSUE_LAST_MS = 500;

/**
 * Proposes one record. A time-out means unknown, not failed: the same proposal is issued again until the version has advanced, by it or by
 * another one; then the nonce that is read back says whose it was. It is applied once at most, however often it was sent, because versions of
 * a key never come back. (Absence does: a key that may be removed again at once must not be proposed upon version 0.)
 *
 * Rejects with MetaUnavailable when the outcome is still unknown: the proposal may be applied at any later time.
 */
export async function compareAndSwapByNonce(
  store: MetadataStore,
  proposal: Proposal,
  options: ProposeOptions = {},
): Promise<ProposalOutcome> {
  return (await proposeTogether(store, [proposal], options))[0]!;
}

/** Several records in one transaction: all are applied or none. The outcomes can differ where one was overwritten since. */
export async function proposeTogether(
  store: MetadataStore,
  proposals: readonly Proposal[],
  options: ProposeOptions = {},
): Promise<ProposalOutcome[]> {
  const endMs = performance.now() + (options.giveUpAfterMs ?? GIVE_UP_AFTER_MS);
  const compares = proposals.map(({ key, version }) => ({ key, version }));
  const operations = proposals.map(({ key, value }) => ({ put: key, value }));
  for (let waitMs = REISSUE_FIRST_MS; ; waitMs = Math.min(2 * waitMs, REISSUE_LAST_MS)) {
    try {
      const result = await store.transaction(compares, operations);
      if (result.ok) return proposals.map(() => ({ won: true, version: result.version }));
      return await Promise.all(proposals.map(proposal => readBack(store, proposal)));
    } catch (error) {
      if (!(error instanceof MetaUnavailable) || performance.now() + waitMs >= endMs) throw error;
    }
    await delay(waitMs);
  }
}

/** For a version that has advanced. Another proposal may have come after ours: then ours counts for nothing any more. */
async function readBack(store: MetadataStore, { key, value }: Proposal): Promise<ProposalOutcome> {
  const current = await store.get(key);
  const nonce = (current?.value as { readonly nonce?: unknown } | null | undefined)?.nonce;
  return current !== null && nonce === value.nonce ? { won: true, version: current.version } : { won: false, current };
}
