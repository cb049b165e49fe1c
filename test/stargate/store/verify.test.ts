import { beforeEach, describe, expect, it } from 'vitest';
import { BlockState } from '../../../src/stargate/core/ports.js';
import { applyCommand, applyFormat } from '../../../src/stargate/store/apply.js';
import { chunkKey, counterKey, encodeCounter, encodeSegment, formatKey, layerKey, segmentKey } from '../../../src/stargate/store/format.js';
import { copyDrain } from '../../../src/stargate/store/messages.js';
import { readerOf, SimulatedStoreDisk, transactionOn } from '../../../src/stargate/store/simulated.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { drainOf } from './contract.js';

describe('verifyStore', () => {
  let disk: SimulatedStoreDisk;
  const hex = (key: Buffer) => key.toString('hex');
  const codes = () => verifyStore(readerOf(disk)).map(({ code, layer, segment, block }) => [code, layer, segment, block]);

  beforeEach(() => {
    disk = new SimulatedStoreDisk();
    const txn = transactionOn(disk);
    applyFormat(txn);
    applyCommand(txn, { kind: 'createLayer', id: 1, vdiskId: 'v' });
    const runs = [
      { block: 3, state: BlockState.data, crc: 7, seq: 4 },
      { block: 70, blocks: 100, state: BlockState.zero, seq: 5 },
    ];
    applyCommand(txn, { kind: 'drain', id: 2, drain: copyDrain(drainOf(1, 6, 0, 5, runs), null) });
  });

  it('finds nothing wrong with what the store writes', () => {
    expect(codes()).toEqual([]);
  });

  it('finds damage of every kind of record, and where', () => {
    for (const [key, expected] of [
      [layerKey(1), ['store-layer', 1, -1, -1]],
      [segmentKey(1, 6), ['store-segment', 1, 6, -1]],
      [chunkKey(1, 6, 1), ['store-chunk', 1, 6, 64]],
      [counterKey, ['store-counter', -1, -1, -1]],
      [formatKey, ['store-format', -1, -1, -1]],
    ] as const) {
      const record = disk.records.get(hex(key))!;
      const bad = Buffer.from(record);
      bad[bad.length - 1]! ^= 1;
      disk.records.set(hex(key), bad);
      expect(codes()).toContainEqual(expected);
      disk.records.set(hex(key), record);
    }
    expect(codes()).toEqual([]);
  });

  it('finds records that do not go together', () => {
    const chunk = disk.records.get(hex(chunkKey(1, 6, 0)))!;
    disk.records.delete(hex(chunkKey(1, 6, 0)));
    expect(codes()).toEqual([['store-count', 1, 6, -1]]);
    disk.records.set(hex(chunkKey(1, 6, 2)), chunk);
    expect(codes()).toContainEqual(['store-chunk', 1, 6, 128]);
    disk.records.delete(hex(chunkKey(1, 6, 2)));
    disk.records.set(hex(chunkKey(1, 6, 0)), chunk);

    disk.records.set(hex(segmentKey(1, 6)), encodeSegment(1, 6, { drainSeq: 4, dataBlocks: 1, baseState: 0, baseSeq: 0 }));
    expect(codes()).toEqual([['store-chunk', 1, 6, 64]]);
    disk.records.delete(hex(segmentKey(1, 6)));
    expect(codes()).toEqual([
      ['store-chunk', 1, 6, 0],
      ['store-chunk', 1, 6, 64],
    ]);
    disk.records.set(hex(counterKey), encodeCounter(1));
    expect(codes()[0]).toEqual(['store-layer', 1, -1, -1]);
    disk.records.set('04aa', Buffer.alloc(1));
    expect(codes()).toContainEqual(['store-key', -1, -1, -1]);
  });
});
