import { describe, expect, it } from 'vitest';
import { BlockState, type BlockStates, type StoreOwner } from '../../../src/stargate/core/ports.js';
import { BlockStore } from '../../../src/stargate/store/block-store.js';
import { chunkKey, layerKey, segmentKey } from '../../../src/stargate/store/format.js';
import { readerOf, SimulatedStoreDisk } from '../../../src/stargate/store/simulated.js';
import { applyCommand, applyFormat } from '../../../src/stargate/store/apply.js';
import { transactionOn } from '../../../src/stargate/store/simulated.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { copyDrain, type StoreCommand, type StoreResult } from '../../../src/stargate/store/messages.js';
import { drainOf } from './contract.js';

const out: BlockStates = { state: new Uint8Array(200), crc: new Uint32Array(200), seq: new Float64Array(200) };

const silent: StoreOwner = {
  onCommitted: () => undefined,
  onLayerCreated: () => undefined,
  onStoreFull: () => undefined,
  onStoreFailed: () => undefined,
};

/** A store with a layer and two chunks of segment 3, and a view of it. */
function made() {
  const disk = new SimulatedStoreDisk();
  applyFormat(transactionOn(disk));
  const apply = (command: Parameters<typeof applyCommand>[1]) => applyCommand(transactionOn(disk), command);
  apply({ kind: 'createLayer', id: 1, vdiskId: 'v' });
  const runs = [
    { block: 0, state: BlockState.data, crc: 5, seq: 1 },
    { block: 70, state: BlockState.data, crc: 6, seq: 2 },
  ];
  apply({ kind: 'drain', id: 2, drain: copyDrain(drainOf(1, 3, 0, 2, runs), null) });
  const calls: string[] = [];
  const reader = readerOf(disk);
  const spied: typeof reader = {
    get: key => (calls.push('get'), reader.get(key)),
    range: (start, end) => reader.range(start, end),
    release: () => (calls.push('release'), reader.release()),
  };
  const sent: StoreCommand[] = [];
  let answer: (result: StoreResult) => void = () => undefined;
  const store = new BlockStore(spied, { send: command => sent.push(command), onResult: listener => (answer = listener) });
  const flip = (key: Buffer): void => {
    const record = disk.records.get(key.toString('hex'))!;
    record[9]! ^= 1;
  };
  const states = { state: new Uint8Array(64), crc: new Uint32Array(64), seq: new Float64Array(64) };
  for (const [block, crc, seq] of [
    [0, 5, 1],
    [9, 7, 2],
  ] as const)
    [states.state[block], states.crc[block], states.seq[block]] = [BlockState.data, crc, seq];
  const refill = { layer: 1, segment: 3, block: 0, drainSeq: 2, states };
  return { disk, store, calls, flip, refill, sent, answer };
}

describe('a damaged record', () => {
  it('of a chunk: the lookup says so, the others are found, and nothing is remembered', () => {
    const { store, flip, calls } = made();
    flip(chunkKey(1, 3, 0));
    expect(store.lookup(1, 3, 0, 1, out)).toBe(false);
    expect(store.lookup(1, 3, 60, 20, out)).toBe(false);
    expect([out.state[3], out.state[4], out.state[10], out.crc[10]]).toEqual([BlockState.lost, BlockState.absent, BlockState.data, 6]);
    // A snapshot that was kept would be an old one for the next lookup.
    expect(calls.at(-1)).toBe('release');
    expect(store.lookup(1, 3, 70, 1, out)).toBe(true);
    expect(out.crc[0]).toBe(6);
    flip(chunkKey(1, 3, 0));
    expect(store.lookup(1, 3, 0, 1, out)).toBe(true);
    expect(out.crc[0]).toBe(5);
  });

  it('of a chunk that is drained over: what is written is known again, the rest goes on failing, the transaction is not lost', () => {
    const { disk, store, flip } = made();
    flip(chunkKey(1, 3, 0));
    const drain = copyDrain(drainOf(1, 3, 2, 9, [{ block: 1, state: BlockState.data, crc: 8, seq: 9 }]), null);
    expect(applyCommand(transactionOn(disk), { kind: 'drain', id: 3, drain })).toMatchObject({ segment: { drainSeq: 9 } });
    expect(store.lookup(1, 3, 0, 3, out)).toBe(false);
    expect(Array.from(out.state.subarray(0, 3))).toEqual([BlockState.lost, BlockState.data, BlockState.lost]);
    expect(out.crc[1]).toBe(8);
    expect(verifyStore(readerOf(disk)).map(({ code, block }) => [code, block])).toEqual([['store-lost', 0]]);
  });

  it('of a chunk: how much data the segment has is counted anew, whatever it had counted of the record', () => {
    const { disk, flip } = made();
    flip(chunkKey(1, 3, 0));
    const drain = copyDrain(drainOf(1, 3, 2, 9, [{ block: 0, blocks: 64, state: BlockState.zero, seq: 9 }]), null);
    expect(applyCommand(transactionOn(disk), { kind: 'drain', id: 3, drain })).toMatchObject({ segment: { dataBlocks: 1 } });
    expect(verifyStore(readerOf(disk))).toEqual([]);
  });

  it('of a chunk is refilled as of where the segment is drained to, and only in what is lost', () => {
    const { disk, flip, refill } = made();
    const apply = (drainSeq: number) => applyCommand(transactionOn(disk), { kind: 'refill', id: 4, refill: { ...refill, drainSeq } });
    const before = disk.records.get(chunkKey(1, 3, 0).toString('hex'));
    // Nothing is lost: nothing is changed, whatever is said.
    expect(apply(2)).toMatchObject({ segment: { dataBlocks: 2 } });
    expect(disk.records.get(chunkKey(1, 3, 0).toString('hex'))).toBe(before);
    flip(chunkKey(1, 3, 0));
    expect(apply(1)).toMatchObject({ segment: null });
    expect(apply(2)).toMatchObject({ segment: { dataBlocks: 3 } });
    expect(verifyStore(readerOf(disk))).toEqual([]);
    flip(segmentKey(1, 3));
    expect(apply(2)).toMatchObject({ segment: null });
  });

  it('of a segment, damaged after it was read: chunks without a record are not guessed', () => {
    const { store, flip } = made();
    expect(store.drainSeq(1, 3)).toBe(2);
    flip(segmentKey(1, 3));
    expect(store.lookup(1, 3, 1_000, 1, out)).toBe(false);
    expect(store.lookup(1, 3, 1_000, 1, out)).toBe(false);
    flip(segmentKey(1, 3));
    expect(store.lookup(1, 3, 1_000, 1, out)).toBe(true);
    expect(out.state[0]).toBe(BlockState.absent);
  });

  it('of a segment that is drained: it is written anew from what the shard knows, behind the same door, and somebody hears of it', () => {
    const { disk, store, flip, sent, answer } = made();
    const drain = (fromSeq: number, toSeq: number): unknown => {
      const runs = [{ block: 70, state: BlockState.data, crc: 8, seq: toSeq }];
      let isDone: unknown = 'no answer';
      store.commitDrain(drainOf(1, 3, fromSeq, toSeq, runs), { ...silent, onCommitted: (_tag, ok) => (isDone = ok) }, 0);
      answer(applyCommand(transactionOn(disk), sent.pop()!)!);
      return isDone;
    };
    const heard: [number, number][] = [];
    store.onMended((layer, segment) => heard.push([layer, segment]));
    expect(store.drainSeq(1, 3)).toBe(2);
    flip(segmentKey(1, 3));
    expect(drain(1, 9)).toBe(false);
    expect(heard).toEqual([]);
    expect(drain(2, 9)).toBe(true);
    expect(heard).toEqual([[1, 3]]);
    expect(verifyStore(readerOf(disk))).toEqual([]);
    expect(store.segments(1)).toEqual([{ segment: 3, drainSeq: 9, dataBlocks: 2 }]);
    expect(drain(9, 12)).toBe(true);
    expect(heard).toHaveLength(1);
    flip(layerKey(1));
    expect(drain(12, 15)).toBe(true);
    // What is not known cannot be said again.
    flip(segmentKey(1, 3));
    const unknown = copyDrain(drainOf(1, 3, 15, 20, []), null);
    expect(applyCommand(transactionOn(disk), { kind: 'drain', id: 9, drain: unknown })).toMatchObject({ segment: null, isMended: false });
  });

  it('of a layer: it is not marked for deletion; one that was is forgotten', () => {
    const { disk, flip } = made();
    const apply = (kind: 'removeLayer' | 'forgetLayer') => applyCommand(transactionOn(disk), { kind, id: 7, layer: 1 });
    flip(layerKey(1));
    expect(apply('removeLayer')).toMatchObject({ ok: false });
    flip(layerKey(1));
    expect(apply('removeLayer')).toMatchObject({ ok: true });
    flip(layerKey(1));
    expect(apply('forgetLayer')).toMatchObject({ ok: true });
    expect(verifyStore(readerOf(disk))).toEqual([]);
  });

  it('of a segment, at the first look: the layer is not taken up, and the snapshot is let go', () => {
    const { store, flip, calls } = made();
    flip(segmentKey(1, 3));
    expect(() => store.drainSeq(1, 3)).toThrow(expect.objectContaining({ code: 'ERR_STORE_RECORD' }));
    expect(calls.at(-1)).toBe('release');
  });
});
