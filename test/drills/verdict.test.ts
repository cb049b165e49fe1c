import { describe, expect, it } from 'vitest';
import { DAMAGED } from '../../src/drill/checker.js';
import { BLOCK_BYTES } from '../../src/drill/limits.js';
import { Kind, Operations, Outcome } from '../../src/drill/operations.js';
import { describeDamage, fillBlock, readBlock } from '../../src/drill/payload.js';
import { Random } from '../../src/drill/random.js';
import { checkHistory, type FaultKind, type Verdict } from '../../src/drill/verdict.js';

const BLOCK = 3;
const FIRST = 100;

/**
 * A history of one block, `before` in it: `wA` a write begins, `WA` is acknowledged, `uA` loses its connection, `sA` is given up for good, `r1` a read begins,
 * `R1=A` it ends and has seen what A wrote (`before`, `zero`, `torn` or a number too).
 */
function verdictOf(script: string, before = 0): Verdict {
  const operations = new Operations(FIRST);
  const named = new Map<string, number>();
  for (const word of script.split(' ')) {
    const [, verb, name, seen] = /^([a-zA-Z])(\w+)(?:=(\w+))?$/.exec(word)!;
    const nowMs = operations.count;
    if (verb === 'w' || verb === 'r') {
      named.set(name!, operations.begin(verb === 'w' ? Kind.write : Kind.read, BLOCK, 0, nowMs));
      continue;
    }
    const index = named.get(name!)!;
    if (seen !== undefined) {
      const known: Record<string, number> = { before, zero: 0, torn: DAMAGED };
      const writer = named.get(seen);
      operations.values[index] = known[seen] ?? (writer === undefined ? Number(seen) : FIRST + writer);
    }
    const outcome = verb === 'u' ? Outcome.unknown : verb === 's' ? Outcome.settled : Outcome.done;
    operations.end(index, outcome, nowMs);
  }
  const content = new Float64Array(8);
  content[BLOCK] = before;
  return checkHistory(operations, content);
}

describe('a drill allows', () => {
  it.each([
    ['what was there before', 'r1 R1=before wA WA r2 R2=A', 42],
    ['either order of overlapping writes', 'wA wB WA WB r1 R1=A r2 R2=A', 0],
    ['an unanswered write that shows up late', 'wA uA wB WB r1 R1=B r2 R2=A r3 R3=A', 0],
    ['an unanswered write that never shows up', 'wA WA wB uB r1 R1=A', 0],
    ['a write that was given up and had taken effect', 'wA WA wB sB r1 R1=B r2 R2=B', 0],
  ])('%s', (_what, script, before) => {
    expect(verdictOf(script, before).counts).toEqual({ lost: 0, doubled: 0, stale: 0, torn: 0 });
  });
});

describe('a drill finds', () => {
  it.each<[string, FaultKind, string, number]>([
    ['an acknowledged write that is gone', 'lost', 'wA WA wB WB r1 R1=A r2 R2=A', 0],
    ['the first write that is gone', 'lost', 'wA WA r1 R1=zero', 0],
    ['a write that is gone for what was there when the round began', 'lost', 'wA WA r1 R1=before r2 R2=before', 42],
    ['a value of an earlier round, long overwritten', 'lost', 'r1 R1=17', 42],
    ['an old write once more over what had replaced it', 'doubled', 'wA r1 R1=A wB WB r2 R2=B r3 R3=A WA', 0],
    ['a replay that takes effect again after a newer write', 'doubled', 'wA r1 R1=A wB WB WA r2 R2=A', 0],
    ['a read of what had been overwritten, and a later one that is right', 'stale', 'wA WA wB WB r1 R1=A r2 R2=B', 0],
    ['a read of what the round found, after it was overwritten', 'stale', 'wA WA r1 R1=before r2 R2=A', 42],
    ['a write that shows up after it was given up for good', 'doubled', 'wA WA wB sB r1 R1=A r2 R2=B', 0],
    ['a torn block', 'torn', 'wA WA r1 R1=torn', 0],
    ['a number that nobody has written here', 'torn', 'wA WA r1 R1=4711', 0],
  ])('%s', (_what, fault, script, before) => {
    const verdict = verdictOf(script, before);
    expect(verdict.counts).toEqual({ lost: 0, doubled: 0, stale: 0, torn: 0, [fault]: 1 });
    expect(verdict.findings).toMatchObject([{ fault, block: BLOCK }]);
    expect(verdict.findings[0]!.operations.length).toBeGreaterThan(0);
  });

  it('one lost write among three hundred thousand operations', () => {
    const random = new Random(1);
    const operations = new Operations(1);
    const blocks = Array.from({ length: 64 }, () => 0);
    const open: number[] = [];
    const end = (index: number): void => {
      const block = operations.blocks[index]!;
      // Each takes effect at its end.
      if (operations.kinds[index] === Kind.write) blocks[block] = operations.first + index;
      else operations.values[index] = blocks[block]!;
      operations.end(index, Outcome.done, 0);
    };
    for (let i = 0; i < 300_000; i++) {
      open.push(operations.begin(random.next() < 0.4 ? Kind.read : Kind.write, random.below(64), 0, 0));
      if (open.length === 32) end(open.splice(random.below(32), 1)[0]!);
    }
    for (const index of open) end(index);
    expect(checkHistory(operations, new Float64Array(64)).counts).toMatchObject({ lost: 0, doubled: 0, stale: 0 });
    const lost = operations.begin(Kind.write, 5, 0, 0);
    operations.end(lost, Outcome.done, 0);
    const read = operations.begin(Kind.read, 5, 0, 0);
    operations.values[read] = blocks[5]!;
    operations.end(read, Outcome.done, 0);
    expect(checkHistory(operations, new Float64Array(64))).toMatchObject({ counts: { lost: 1 }, findings: [{ block: 5, op: 1 + read }] });
  });
});

describe('a payload', () => {
  const made = (op: number, block: number): Buffer => {
    const data = Buffer.alloc(BLOCK_BYTES);
    fillBlock(data, op, block);
    return data;
  };

  it('says who wrote it', () => {
    expect(readBlock(made(4_000_000_000, 7), 0, 7)).toBe(4_000_000_000);
    expect(readBlock(Buffer.alloc(BLOCK_BYTES), 0, 7)).toBe(0);
  });

  it('shows each place in which it is torn', () => {
    for (const at of [8, 512, 2_048, BLOCK_BYTES - 8]) {
      const torn = Buffer.concat([made(5, 7).subarray(0, at), made(6, 7).subarray(at)]);
      expect(readBlock(torn, 0, 7)).toBe(DAMAGED);
      expect(describeDamage(torn, 0, 7)).toContain(`#6 of block 7 from byte ${at}`);
    }
  });

  it('shows that it belongs elsewhere', () => {
    expect(readBlock(made(5, 8), 0, 7)).toBe(DAMAGED);
    const cleared = made(5, 7).fill(0, 100, 101);
    expect(readBlock(cleared, 0, 7)).toBe(DAMAGED);
  });
});
