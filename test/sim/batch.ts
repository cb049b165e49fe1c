import { ClusterRun, type ClusterRunOptions } from './nodes/run.js';
import { isBad, Totals, type AnyResult } from './report.js';
import { Run } from './run.js';

export interface Batch {
  readonly from: number;
  readonly seeds: number;
  readonly isCluster: boolean;
  readonly isLong: boolean;
  /** With `durability: flush`. */
  readonly isFlush: boolean;
  /** Vdisks of a cluster are resized in each of them. */
  readonly isResizing: boolean;
}

export interface BatchResult {
  readonly seeds: number;
  readonly sums: readonly (readonly [string, number])[];
  readonly failed: readonly number[];
}

/** Instead of what the seed says. */
export function shapeOf({ isFlush, isResizing }: Pick<Batch, 'isFlush' | 'isResizing'>): Pick<ClusterRunOptions, 'shape'> {
  if (!isFlush && !isResizing) return {};
  return { shape: { ...(isFlush && { durability: 'flush' as const }), ...(isResizing && { resizes: true }) } };
}

/** Seeds, one after the other, in a thread of their own: what a thread that is left over would do wrong shows as another hash of the same seed. */
export default function runBatch({ from, seeds, isCluster, isLong, ...kinds }: Batch): BatchResult {
  const totals = new Totals<Readonly<Record<string, number>>>();
  const failed: number[] = [];
  for (let seed = from; seed < from + seeds; seed++) {
    const shape = shapeOf(kinds);
    const result: AnyResult = (isCluster ? new ClusterRun({ seed, isLong, ...shape }) : new Run({ seed, ...shape })).run();
    totals.add(result as AnyResult & { counters: Readonly<Record<string, number>> });
    if (isBad(result)) failed.push(seed);
  }
  return { seeds, sums: totals.sums, failed };
}
