import { beforeEach, expect, it } from 'vitest';
import { SharedTermFloor } from '../../src/datapath/floor.js';
import { TermFloors } from '../../src/datapath/floors.js';
import { keys } from '../../src/meta/model.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';

let store: MemoryMetadata;
const inUse = new Set<string>();
const id = (i: number): string => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
const record = (i: number, deleting: boolean) => ({
  ...{ id: id(i), name: `v${i}`, container: 'c', sizeBytes: 4096, historyId: 1, createdAt: new Date(0).toISOString(), deleting },
});
const put = (i: number, deleting = false) => store.transaction([], [{ put: keys.vdisk(id(i)), value: record(i, deleting) }]);

beforeEach(() => {
  store = new MemoryMetadata();
  inUse.clear();
});

it('keeps the term of a vdisk that is detached, and nothing of those that have been deleted', async () => {
  const floors = new TermFloors(store, vdiskId => inUse.has(vdiskId), { [id(0)]: 7, [id(1)]: 8, [id(2)]: 9 });
  await put(0);
  await put(1, true);
  for (let i = 3; i < 200; i++) {
    await put(i);
    new SharedTermFloor(floors.of(id(i))).raise(i);
    await floors.looked;
    await store.transaction([], [{ remove: keys.vdisk(id(i)) }]);
  }
  expect(floors.terms[id(0)]).toBe(7);
  expect(floors.of(id(0))).toBe(floors.of(id(0)));
  expect(floors.terms).not.toHaveProperty(id(1));
  expect(Object.keys(floors.terms).length).toBeLessThan(5);
});

it('keeps that of a vdisk with an export, and all while the metadata does not answer', async () => {
  const floors = new TermFloors(store, vdiskId => inUse.has(vdiskId), { [id(0)]: 7, [id(1)]: 8 });
  inUse.add(id(0));
  store.available = false;
  floors.of(id(2));
  await floors.looked;
  expect(floors.terms).toEqual({ [id(0)]: 7, [id(1)]: 8, [id(2)]: 0 });
  store.available = true;
  for (const i of [3, 4]) {
    floors.of(id(i));
    await floors.looked;
  }
  expect(floors.terms).toMatchObject({ [id(0)]: 7 });
  expect(floors.terms).not.toHaveProperty(id(1));
});
