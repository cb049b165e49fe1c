import { describe, expect, it } from 'vitest';
import { applyCommand } from '../../../src/stargate/store/apply.js';
import { layerKey } from '../../../src/stargate/store/format.js';
import { LayerCatalogue } from '../../../src/stargate/store/layer-catalogue.js';
import { readerOf, SimulatedStoreDisk, transactionOn } from '../../../src/stargate/store/simulated.js';

function made() {
  const disk = new SimulatedStoreDisk();
  const reader = readerOf(disk);
  const counts = { records: 0 };
  const catalogue = new LayerCatalogue({
    get: key => (counts.records++, reader.get(key)),
    *range(start, end) {
      for (const one of reader.range(start, end)) {
        counts.records++;
        yield one;
      }
    },
    release: () => reader.release(),
  });
  const apply = (command: Parameters<typeof applyCommand>[1]) => applyCommand(transactionOn(disk), command);
  return {
    catalogue,
    counts,
    create: (vdiskId: string) => apply({ kind: 'createLayer', id: 1, vdiskId }),
    remove: (layer: number) => apply({ kind: 'removeLayer', id: 1, layer }),
    forget: (layer: number) => apply({ kind: 'forgetLayer', id: 1, layer }),
    damage: (layer: number) => void (disk.records.get(layerKey(layer).toString('hex'))![9]! ^= 1),
  };
}

describe('the layers of vdisks', () => {
  it('are found with one look at each record, however many vdisks ask', () => {
    const { catalogue, counts, create } = made();
    for (let i = 1; i <= 300; i++) create(`v${i}`);
    for (let i = 1; i <= 300; i++) expect(catalogue.layersOf(`v${i}`)).toEqual([i]);
    expect(counts.records).toBe(600);
  });

  it('are those of now: made since, being deleted, forgotten, whoever did it', () => {
    const { catalogue, create, remove, forget } = made();
    create('a');
    expect(catalogue.layersOf('a')).toEqual([1]);
    create('b');
    create('a');
    expect(['a', 'b', 'c'].map(vdiskId => catalogue.layersOf(vdiskId))).toEqual([[1, 3], [2], []]);
    remove(2);
    remove(1);
    expect(['a', 'b'].map(vdiskId => catalogue.layersOf(vdiskId))).toEqual([[3], []]);
    expect(catalogue.deleting()).toEqual([1, 2]);
    forget(1);
    expect(catalogue.deleting()).toEqual([2]);
    expect(catalogue.layersOf('a')).toEqual([3]);
  });

  it('are found beside a damaged record, which is named', () => {
    const { catalogue, create, damage } = made();
    for (const vdiskId of ['a', 'b', 'c']) create(vdiskId);
    expect(catalogue.damaged()).toEqual([]);
    damage(2);
    create('d');
    damage(4);
    expect(['a', 'b', 'c', 'd'].map(vdiskId => catalogue.layersOf(vdiskId))).toEqual([[1], [], [3], []]);
    expect(catalogue.damaged()).toEqual([4, 2]);
    expect(catalogue.deleting()).toEqual([]);
  });
});
