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
