import * as core from '../../src/drill/checker.js';
import { UNITS, type BlockEvent, type History } from './history.js';

export type Violation = core.Violation;

/** The violation in one block's history: a 4 KiB register of units of 512 bytes. */
export function checkBlock(block: number, events: readonly BlockEvent[]): Violation | null {
  return core.checkBlock(block, events, UNITS);
}

/** The first violation of each block, in the order of blocks. */
export function check(history: History): Violation[] {
  const violations: Violation[] = [];
  for (const [block, events] of [...history.blocks].sort(([a], [b]) => a - b)) {
    const violation = checkBlock(block, events);
    if (violation !== null) violations.push(violation);
  }
  return violations;
}

export interface Finding {
  readonly message: string;
  /** Operations on the block in question, where it is about one. */
  readonly ops?: ReadonlySet<number>;
}

/** What clients saw and may not have seen. */
export function findingsIn(vdisks: readonly { readonly index: number; readonly history: History }[]): Finding[] {
  return vdisks.flatMap(({ index, history }) =>
    check(history).map(({ block, message }) => ({
      message: `vdisk ${index} block ${block}: ${message}`,
      ops: new Set(history.blocks.get(block)!.map(({ op }) => op)),
    })),
  );
}
