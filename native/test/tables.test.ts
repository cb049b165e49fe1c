import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settleTransfer } from '../src/engine-base.js';
import { errno } from '../src/errno.js';
import { Op, OpTable } from '../src/op-table.js';
import { SlotState, SlotTable } from '../src/slot-table.js';
import { TimerQueue } from '../src/timer-queue.js';
import { codeOf } from './contract/stage.js';

describe('the table of operations', () => {
  it('gives each operation a place of its own, and takes it back', () => {
    const table = new OpTable(8);
    const taken = Array.from({ length: 8 }, (_, i) => table.take(Op.read, i, i + 1, i + 2));
    expect(new Set(taken).size).toBe(8);
    expect(table.outstanding).toBe(8);
    for (const [i, op] of taken.entries())
      expect([table.kind[op], table.slot[op], table.client[op], table.tag[op]]).toEqual([Op.read, i, i + 1, i + 2]);
    expect(codeOf(() => table.take(Op.read, 0, 0, 0))).toBe('ERR_LIMIT');
    table.give(taken[3]!);
    expect(table.outstanding).toBe(7);
    expect(table.take(Op.sync, 0, 0, 0)).toBe(taken[3]);
  });

  it('begins each operation anew', () => {
    const table = new OpTable(1);
    const op = table.take(Op.read, 0, 0, 0);
    table.doneBytes[op] = 77;
    table.give(op);
    expect(table.doneBytes[table.take(Op.write, 0, 0, 0)]).toBe(0);
  });

  it('keeps room for closes', () => {
    const table = new OpTable(10, 4);
    for (let i = 0; i < 6; i++) table.take(Op.write, 0, 0, 0);
    expect(codeOf(() => table.take(Op.write, 0, 0, 0))).toBe('ERR_LIMIT');
    for (let i = 0; i < 4; i++) table.take(Op.close, 0, 0, 0);
    expect(codeOf(() => table.take(Op.close, 0, 0, 0))).toBe('ERR_LIMIT');
  });
});

describe('what a transfer becomes', () => {
  const GO_ON = NaN;
  it.each([
    ['all of it', Op.read, 4096, [4096], 4096],
    ['a part, then the rest', Op.read, 4096, [1024, 3072], 4096],
    ['a part, then nothing: the end of the file', Op.read, 4096, [1024, 0], 1024],
    ['not whole sectors: the end of the file', Op.read, 4096, [1000], 1000],
    ['nothing: the end of the file', Op.read, 4096, [0], 0],
    ['an error', Op.read, 4096, [-errno.EIO], -errno.EIO],
    ['an error after a part', Op.read, 4096, [512, -errno.EIO], -errno.EIO],
    ['a write in parts', Op.write, 4096, [1, 4000, 95], 4096],
    ['a write that gets stuck', Op.write, 4096, [1000, 0], -errno.EIO],
    ['a write without space for the rest', Op.write, 4096, [1024, -errno.ENOSPC], -errno.ENOSPC],
  ])('%s', (_name, kind, lengthBytes, results, expected) => {
    const table = new OpTable(1);
    const op = table.take(kind, 0, 0, 0);
    table.lengthBytes[op] = lengthBytes;
    const settled = results.map(result => settleTransfer(table, op, result));
    expect(settled.slice(0, -1)).toEqual(results.slice(0, -1).map(() => GO_ON));
    expect(settled.at(-1)).toBe(expected);
  });
});

describe('the table of slots', () => {
  it('knows what is open, as what, and what is closing', () => {
    const table = new SlotTable(4);
    const slots = [table.add(10, 'file'), table.add(11, 'socket'), table.add(12, 'listener')];
    expect(slots.map(slot => table.state[slot])).toEqual([SlotState.file, SlotState.socket, SlotState.listener]);
    expect(table.openSlots()).toEqual(slots);
    table.check(slots[0]!, SlotState.file);
    expect(codeOf(() => table.check(slots[0]!, SlotState.socket))).toBe('ERR_SLOT');
    table.closing[slots[0]!] = 5;
    expect(codeOf(() => table.check(slots[0]!, SlotState.file))).toBe('ERR_SLOT');
    expect(codeOf(() => table.checkOpen(slots[0]!))).toBe('ERR_SLOT');
    for (const slot of [3, 4, -1, 0.5, NaN]) expect(codeOf(() => table.checkOpen(slot))).toBe('ERR_SLOT');
    expect(table.isFull).toBe(false);
    expect(table.add(13, 'file')).toBe(3);
    expect(table.isFull).toBe(true);
    expect(codeOf(() => table.add(14, 'file'))).toBe('ERR_LIMIT');
    expect(codeOf(() => table.add(14, 'file'))).toBe('ERR_LIMIT');
  });

  it('gives no number out twice, however often one is taken back', () => {
    const table = new SlotTable(3);
    const slots = [0, 1, 2].map(fd => table.add(fd, 'file'));
    table.remove(slots[1]!);
    table.remove(slots[1]!);
    expect(table.add(9, 'socket')).toBe(slots[1]);
    expect([table.fd[slots[1]!], table.closing[slots[1]!], table.outstanding[slots[1]!]]).toEqual([9, -1, 0]);
    expect(codeOf(() => table.add(10, 'file'))).toBe('ERR_LIMIT');
  });
});

describe('the queue of timers', () => {
  it('gives what a sorted list gives', () => {
    const action = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), value: fc.integer({ min: 0, max: 50 }) }),
      fc.record({ kind: fc.constant('cancel' as const), value: fc.nat(200) }),
      fc.record({ kind: fc.constant('take' as const), value: fc.integer({ min: 0, max: 60 }) }),
    );
    const property = fc.property(fc.array(action, { maxLength: 400 }), actions => {
      const queue = new TimerQueue();
      let model: { id: number; due: number }[] = [];
      for (const { kind, value } of actions) {
        if (kind === 'add') model.push({ id: queue.add(value, 0, 0), due: value });
        else if (kind === 'cancel') {
          queue.cancel(value);
          model = model.filter(one => one.id !== value);
        } else {
          model.sort((a, b) => a.due - b.due || a.id - b.id);
          expect(queue.nextNs()).toBe(model[0]?.due ?? Infinity);
          const expected = model[0] !== undefined && model[0].due <= value ? model.shift()! : null;
          expect(queue.takeDue(value)?.id ?? null).toBe(expected?.id ?? null);
        }
      }
    });
    fc.assert(property, { numRuns: 500 });
  });

  it('does not grow with timers that are armed and cancelled', () => {
    const queue = new TimerQueue();
    queue.add(5, 0, 7);
    for (let i = 0; i < 100_000; i++) {
      queue.cancel(queue.add(1e12, 0, 0));
      if (queue.length > 100) throw new Error(`${queue.length} entries for one timer`);
    }
    expect(queue.takeDue(5)).toMatchObject({ tag: 7 });
    expect(queue.takeDue(1e13)).toBe(null);
  });

  it('leaves those that are armed later to the next turn', () => {
    const queue = new TimerQueue();
    queue.add(1, 0, 1);
    const { nextId } = queue;
    queue.add(0, 0, 2);
    queue.add(1, 0, 3);
    expect(queue.takeDue(1, queue.nextId)).toMatchObject({ tag: 2 });
    expect(queue.takeDue(1, nextId)).toMatchObject({ tag: 1 });
    expect(queue.takeDue(1, nextId)).toBe(null);
    expect(queue.takeDue(1)).toMatchObject({ tag: 3 });
  });
});
