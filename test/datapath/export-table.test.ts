import { expect, it } from 'vitest';
import { ExportTable } from '../../src/datapath/export-table.js';

const one = (vdiskId: string, generation: number, name = '') => ({ description: { vdiskId, generation }, name });

it('has exports by vdisk and generation, the oldest of a vdisk first', () => {
  const table = new ExportTable<ReturnType<typeof one>>();
  const [a1, a2, b1] = [one('a', 1), one('a', 2), one('b', 1)];
  for (const each of [a1, b1, a2]) table.add(each);
  expect(table.of('a')).toEqual([a1, a2]);
  expect(table.of('c')).toEqual([]);
  expect(table.get({ vdiskId: 'a', generation: 2 })).toBe(a2);
  expect(table.get({ vdiskId: 'b', generation: 2 })).toBe(undefined);
  // Added again: in place of the one before.
  const again = one('a', 1, 'again');
  table.add(again);
  expect(table.of('a')).toEqual([a2, again]);
  expect([table.size, [...table.values()].length]).toEqual([3, 3]);
  // Those that end while one goes through them.
  for (const { description } of table.values()) table.delete(description);
  table.delete({ vdiskId: 'a', generation: 1 });
  expect([table.size, table.of('a'), [...table.values()]]).toEqual([0, [], []]);
});
