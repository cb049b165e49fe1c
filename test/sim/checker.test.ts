import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { check, checkBlock } from './checker.js';
import { DAMAGED, History, UNITS, type BlockEvent } from './history.js';

const ALL = (1 << UNITS) - 1;
const HALF = 0b1111;
const whole = (value: number): number[] => new Array<number>(UNITS).fill(value);

/** A history of block 7: `w1` `W1` a write and its end, `s1` given up, `h2` of the first half, `z3` of zeroes, `r4=1` a read and what it will have seen, `R4` its end. */
function history(script: string): History {
  const made = new History();
  const reads = new Map<number, number[]>();
  for (const word of script.split(' ')) {
    const [, verb, number, seen] = /^([a-zA-Z])(\d+)(?:=(.*))?$/.exec(word)!;
    const op = Number(number);
    if (verb === 'w') made.write(op, [{ block: 7, mask: ALL }], false);
    else if (verb === 'h') made.write(op, [{ block: 7, mask: HALF }], false);
    else if (verb === 'z') made.write(op, [{ block: 7, mask: ALL }], true);
    else if (verb === 'W') made.wrote(op);
    else if (verb === 's') made.settled(op);
    else if (verb === 'R') made.hasRead(op, [reads.get(op)!]);
    else {
      made.read(op, [{ block: 7, mask: ALL }]);
      const [first, second] = seen!.split('/').map(Number);
      reads.set(op, second === undefined ? whole(first!) : [...whole(first!).slice(4), ...whole(second).slice(4)]);
    }
  }
  return made;
}

describe('the checker allows', () => {
  it.each([
    ['zeroes before the first write', 'r1=0 R1 w2 W2'],
    ['what was written last', 'w1 W1 w2 W2 r3=2 R3'],
    ['the old or the new while a write is open', 'w1 W1 w2 r3=1 R3 r4=2 R4 W2 r5=2 R5'],
    ['the old, read by one that began before the write ended', 'w1 W1 r3=1 w2 W2 R3'],
    ['either order of two writes that were open at once', 'w1 w2 W1 W2 r3=1 R3'],
    ['a write without an end, seen late', 'w1 w2 W2 r3=2 R3 r4=1 R4 r5=1 R5'],
    ['a write without an end, never seen', 'w1 w2 W2 r3=2 R3'],
    ['a write that was given up, before that', 'w1 W1 w2 r3=1 R3 s2 r4=2 R4'],
    ['a write that was given up, not at all', 'w1 W1 w2 s2 r4=1 R4'],
    ['a half of a block over the whole', 'w1 W1 h2 W2 r3=2/1 R3'],
    ['a half under a whole that was open at the same time', 'h2 w1 W1 W2 r3=1 R3'],
    ['zeroes again', 'w1 W1 z2 W2 r3=0 R3'],
    ['anything for a read without an end', 'w1 W1 r3=99'],
  ])('%s', (_what, script) => {
    expect(check(history(script))).toEqual([]);
  });
});

describe('the checker finds', () => {
  it.each([
    ['a lost write', 'w1 W1 w2 W2 r3=1 R3'],
    ['a write that came to nothing', 'w1 W1 r2=0 R2'],
    ['a value that was seen and is gone again', 'w1 W1 w2 r3=2 R3 r4=1 R4'],
    ['a write that takes effect twice', 'w1 r2=1 R2 w3 W3 r4=3 R4 r5=1 R5 W1'],
    ['a write that takes effect after it was given up', 'w1 W1 w2 s2 r3=1 R3 r4=2 R4'],
    ['a block of two writes, neither of them partial', 'w1 W1 w2 W2 r3=2/1 R3'],
    ['a value that nobody wrote', 'w1 W1 r2=5 R2'],
    ['a value before its write began', 'r2=1 R2 w1 W1'],
    ['a half that is not there', 'w1 W1 h2 W2 r3=1 R3'],
  ])('%s', (_what, script) => {
    expect(check(history(script))).toMatchObject([{ block: 7 }]);
  });

  it('a unit that is of nobody', () => {
    const made = new History();
    made.read(1, [{ block: 7, mask: 0b10 }]);
    made.hasRead(1, [[0, DAMAGED, 0, 0, 0, 0, 0, 0]]);
    expect(check(made)).toMatchObject([{ block: 7, op: 1, message: expect.stringMatching(/nobody/) as string }]);
  });
});

/** The same by trying every order: small histories only. */
function bruteForce(events: readonly BlockEvent[]): boolean {
  const ops = events.flatMap((event, begin) => {
    if (event.kind !== 'write' && event.kind !== 'read') return [];
    const end = events.findIndex(other => other.op === event.op && other.kind !== event.kind);
    const mayBeLeftOut = event.kind === 'write' && (end < 0 || events[end]!.kind === 'settled');
    return event.kind === 'read' && end < 0 ? [] : [{ event, begin, end: end < 0 ? Infinity : end, mayBeLeftOut }];
  });
  const search = (left: typeof ops, state: readonly number[]): boolean => {
    if (left.every(op => op.mayBeLeftOut)) return true;
    // Whoever comes next must have begun before any other one left has ended.
    const firstEnd = Math.min(...left.filter(op => !op.mayBeLeftOut).map(op => op.end));
    return left.some(op => {
      if (op.begin > firstEnd) return false;
      const rest = left.filter(other => other !== op && !(other.mayBeLeftOut && other.end < op.begin));
      const { event } = op;
      if (event.kind === 'read') return state.every((value, unit) => value === event.values[unit]) && search(rest, state);
      const next = state.map((old, unit) => (event.kind === 'write' && (event.mask & (1 << unit)) !== 0 ? event.value : old));
      return search(rest, next);
    });
  };
  return search(ops, whole(0));
}

describe('the checker', () => {
  it('agrees with a search through all orders', () => {
    const step = fc.record({ verb: fc.constantFrom('w', 'h', 'r', 'end', 'end', 'settle'), pick: fc.nat(1000) });
    let bad = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), steps => {
        const made = new History();
        const open: { op: number; isRead: boolean }[] = [];
        let op = 0;
        for (const { verb, pick } of steps) {
          if (verb === 'end' || verb === 'settle') {
            const [one] = open.splice(pick % Math.max(1, open.length), 1);
            if (one === undefined) continue;
            // Reads see one or two of the values there are.
            const values = [...whole(pick % (op + 1)).slice(4), ...whole((pick >> 4) % 3 === 0 ? pick % 7 : pick % (op + 1)).slice(4)];
            if (one.isRead) made.hasRead(one.op, [values]);
            else if (verb === 'end') made.wrote(one.op);
            else made.settled(one.op);
          } else if (open.length < 5) {
            open.push({ op: ++op, isRead: verb === 'r' });
            if (verb === 'r') made.read(op, [{ block: 7, mask: ALL }]);
            else made.write(op, [{ block: 7, mask: verb === 'w' ? ALL : HALF }], false);
          }
        }
        const events = made.blocks.get(7) ?? [];
        const sound = bruteForce(events);
        if (!sound) bad++;
        return (checkBlock(7, events) === null) === sound;
      }),
      { numRuns: 2_000, seed: 20260101 },
    );
    expect(bad).toBeGreaterThan(200);
  });
});
