import { RECONNECT_FIRST_MS, RECONNECT_LAST_MS } from './limits.js';

/** Pure: which way a session takes to its controller, and when it tries again. */

export type PathTarget =
  /** A Stargate in this process; its shard is known when the path is opened. */
  { readonly kind: 'in-process' } | { readonly kind: 'unix'; readonly socketPath: string };

/** The targets in order of preference; each failure goes on to the next one. With one node there is one. */
export function choosePath(targets: readonly PathTarget[], failures: number): PathTarget {
  if (targets.length === 0) throw new Error('a datapath needs a Stargate to connect to: none was configured');
  return targets[failures % targets.length]!;
}

/** The first round over all targets goes with the shortest delay; each further one doubles it. */
export function retryDelayMs(targetCount: number, failures: number): number {
  const round = Math.floor(failures / Math.max(1, targetCount));
  return Math.min(RECONNECT_LAST_MS, RECONNECT_FIRST_MS * 2 ** Math.min(round, 10));
}
