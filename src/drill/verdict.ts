import { checkBlock, DAMAGED, type BlockEvent } from './checker.js';
import { MAX_DESCRIBED, MAX_TOLD_OPERATIONS } from './limits.js';
import { Kind, Outcome, type Operations } from './operations.js';

/**
 * lost: an acknowledged write is not there. doubled: an old write has taken effect once more. stale: a read gave what had been overwritten, a later one
 * did not. torn: a block that no single write put there.
 */
export type FaultKind = 'lost' | 'doubled' | 'stale' | 'torn';

export interface ToldOperation {
  readonly op: number;
  readonly kind: 'read' | 'write';
  /** Written or seen. */
  readonly value: number;
  readonly connection: number;
  readonly startMs: number;
  /** null: never. */
  readonly endMs: number | null;
  readonly outcome: keyof typeof Outcome;
}

export interface Finding {
  readonly fault: FaultKind;
  readonly block: number;
  /** The operation that saw it. */
  readonly op: number;
  readonly message: string;
  readonly operations: readonly ToldOperation[];
}

export interface Verdict {
  readonly checkedOperations: number;
  /** Blocks in which something is wrong, by what. */
  readonly counts: Readonly<Record<FaultKind, number>>;
  readonly findings: readonly Finding[];
}

/** Each block by itself: linearizable from `before` on (what it held when the round began), with a last read at the end? */
export function checkHistory(operations: Operations, before: Float64Array): Verdict {
  const counts = { lost: 0, doubled: 0, stale: 0, torn: 0 };
  const findings: Finding[] = [];
  for (const [block, indexes] of byBlock(operations)) {
    const violation = checkBlock(block, eventsOf(operations, indexes, before[block]!), 1);
    if (violation === null) continue;
    const seen = violation.op - operations.first;
    const fault = classify(operations, indexes, seen, before[block]!);
    counts[fault]++;
    if (findings.length >= MAX_DESCRIBED) continue;
    const damage = operations.damages.get(seen);
    const message = damage === undefined ? violation.message : `#${violation.op}: ${damage}`;
    findings.push({ fault, block, op: violation.op, message, operations: toldFor(operations, indexes, seen) });
  }
  return { checkedOperations: operations.count, counts, findings };
}

/** Indexes of the operations of each block, in the order in which they began. */
function byBlock({ count, blocks }: Operations): Map<number, number[]> {
  const lists = new Map<number, number[]>();
  for (let i = 0; i < count; i++) {
    const list = lists.get(blocks[i]!);
    if (list === undefined) lists.set(blocks[i]!, [i]);
    else list.push(i);
  }
  return lists;
}

function eventsOf(operations: Operations, indexes: readonly number[], before: number): BlockEvent[] {
  const { kinds, outcomes, values, startTicks, endTicks, first } = operations;
  const events: BlockEvent[] = [];
  for (const i of indexes) {
    const op = first + i;
    const outcome = outcomes[i] as Outcome;
    const isWrite = kinds[i] === Kind.write;
    // What a read without an answer would have seen is of no interest.
    if (!isWrite && outcome !== Outcome.done) continue;
    if (isWrite) events.push({ kind: 'write', op, mask: 1, value: op, at: startTicks[i]! });
    else events.push({ kind: 'read', op, mask: 1, values: [values[i]!], at: startTicks[i]! });
    if (outcome === Outcome.done) events.push({ kind: isWrite ? 'wrote' : 'hasRead', op, at: endTicks[i]! });
    else if (outcome !== Outcome.open && outcome !== Outcome.unknown) events.push({ kind: 'settled', op, at: endTicks[i]! });
  }
  events.sort((a, b) => a.at - b.at);
  if (before === 0) return events;
  // An operation of its own wrote it, before all others.
  const wrote = { op: before, at: 0 };
  return [{ kind: 'write', mask: 1, value: before, ...wrote }, { kind: 'wrote', ...wrote }, ...events];
}

/** In words of the user: what has happened where `seen` is not explained. */
function classify(operations: Operations, indexes: readonly number[], seen: number, before: number): FaultKind {
  const { kinds, values, outcomes, startTicks, endTicks, first } = operations;
  if (kinds[seen] === Kind.write) return 'lost';
  const value = values[seen]!;
  const writes = indexes.filter(i => kinds[i] === Kind.write);
  const writer = writes.find(i => first + i === value);
  // Of this round, but never written here; or no block of one operation at all.
  if (value === DAMAGED || (value >= first && writer === undefined)) return 'torn';
  const start = startTicks[seen]!;
  const isNewerByThen = (i: number): boolean => outcomes[i] === Outcome.done && endTicks[i]! < start && first + i !== value;
  const later = indexes.find(i => kinds[i] === Kind.read && outcomes[i] === Outcome.done && startTicks[i]! > endTicks[seen]!);
  if (later !== undefined && values[later] !== value) {
    const newer = values[later]!;
    if (newer === before || writes.some(i => first + i === newer && isNewerByThen(i))) return 'stale';
  }
  const writtenTick = writer === undefined ? 0 : isSettled(outcomes[writer]!) ? endTicks[writer]! : Infinity;
  return writes.some(i => isNewerByThen(i) && startTicks[i]! > writtenTick) || (writer === undefined && value !== before)
    ? 'lost'
    : 'doubled';
}

const isSettled = (outcome: number): boolean => outcome !== Outcome.open && outcome !== Outcome.unknown;

/** The last operations of the block up to shortly after what was seen. */
function toldFor(operations: Operations, indexes: readonly number[], seen: number): ToldOperation[] {
  const at = indexes.indexOf(seen);
  const value = operations.values[seen]!;
  const near = indexes.slice(Math.max(0, at - MAX_TOLD_OPERATIONS + 8), at + 8);
  const writer = indexes.find(i => operations.kinds[i] === Kind.write && operations.first + i === value);
  if (writer !== undefined && !near.includes(writer)) near.unshift(writer);
  return near.map(i => tell(operations, i));
}

const OUTCOME_NAMES = Object.keys(Outcome) as (keyof typeof Outcome)[];

function tell(operations: Operations, i: number): ToldOperation {
  const outcome = operations.outcomes[i]!;
  return {
    op: operations.first + i,
    kind: operations.kinds[i] === Kind.write ? 'write' : 'read',
    value: operations.values[i]!,
    connection: operations.connections[i]!,
    startMs: round(operations.startMs[i]!),
    endMs: outcome === Outcome.open ? null : round(operations.endMs[i]!),
    outcome: OUTCOME_NAMES[outcome]!,
  };
}

const round = (ms: number): number => Math.round(ms * 1_000) / 1_000;
