import { describe, expect, it } from 'vitest';
import { MAX_REREADS } from '../../../src/stargate/core/limits.js';
import type { ReadOwner } from '../../../src/stargate/core/ports.js';
import { DRAIN_LIMITS } from '../../../src/stargate/runtime/limits.js';
import { SegmentDrain, type DrainOutcome } from '../../../src/stargate/runtime/segment-drain.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { blocks, CoreRig } from '../core/core-rig.js';

const BLOCK = 4096;
const EIO = 5;

/** How one read of the log ends: as it should, with a wrong byte, with an error, short of its length. */
type ReadEnd = 'good' | 'rotten' | 'error' | 'short';

/** Drains two blocks, the first of which only the log has; reads of that end as said, the last one over and over. */
function drain(...ends: ReadEnd[]) {
  const rig = new CoreRig();
  const client = rig.open();
  client.write(0, blocks(1, 2));
  rig.finish();
  rig.cache.dropOwner(1);
  const { log } = rig;
  const lsn = log.entries.at(-1)!.lsn;
  const readPayload = log.readPayload.bind(log);
  let reads = 0;
  log.readPayload = (at, lengthBytes, arenaOffset, owner, tag) => {
    if (at !== lsn) return readPayload(at, lengthBytes, arenaOffset, owner, tag);
    const end = ends[Math.min(reads++, ends.length - 1)]!;
    const changed: ReadOwner = {
      onRead: (_tag, result) => {
        if (end === 'rotten') rig.arena.bytes[arenaOffset + 9]! ^= 1;
        owner.onRead(tag, end === 'error' ? -EIO : end === 'short' ? result - 512 : result);
      },
    };
    readPayload(at, lengthBytes, arenaOffset, changed, 0);
  };
  let outcome: DrainOutcome | null = null;
  const { controller } = rig;
  const toSeq = controller.lastSeq;
  new SegmentDrain(controller, 0, toSeq, DRAIN_LIMITS.hurried, {}, ended => (outcome = ended)).start();
  rig.settle();
  log.readPayload = readPayload;
  const free = rig.buffers.free();
  return { rig, client, outcome, free, isDrained: rig.store.store.drainSeq(rig.layer, 0) === toSeq, index: controller.index };
}

const times = (count: number, end: ReadEnd) => new Array<ReadEnd>(count).fill(end);

function reads(of: ReturnType<typeof drain>, offsetBytes: number): Uint8Array | IoStatus | null {
  of.rig.cache.dropOwner(1);
  const answer = of.client.read(offsetBytes, BLOCK);
  of.rig.settle();
  return answer.status === IoStatus.ok ? answer.content : answer.status;
}

describe('a block that only the log has', () => {
  it.each([
    ['an error', ['error', 'good']],
    ['as many errors as are forgiven', [...times(MAX_REREADS, 'error'), 'good']],
    ['a wrong checksum', ['rotten', 'good']],
    ['a short read', ['short', 'good']],
    // Errors are no evidence of damage.
    ['errors and a wrong checksum', [...times(MAX_REREADS, 'error'), 'rotten', 'good']],
  ] as [string, ReadEnd[]][])('that is read well after %s is drained, and nobody hears of it', (_name, ends) => {
    const drained = drain(...ends);
    expect([drained.outcome, drained.isDrained, drained.index.isEmpty]).toEqual(['done', true, true]);
    expect([drained.rig.corrupt, drained.rig.unreadable]).toEqual([[], []]);
    expectBytes(reads(drained, 0), blocks(1));
  });

  it.each([
    ['errors', ['error']],
    ['short reads', ['short']],
    ['a wrong checksum and then errors', [...times(MAX_REREADS, 'rotten'), 'error']],
  ] as [string, ReadEnd[]][])('that cannot be read for %s stays in the log, and is not said to be damaged', (_name, ends) => {
    const drained = drain(...ends);
    expect([drained.outcome, drained.isDrained]).toEqual(['unreadable', false]);
    expect([drained.rig.corrupt, drained.rig.unreadable]).toEqual([[], [0]]);
    expectBytes(reads(drained, 0), blocks(1));
    expectBytes(reads(drained, BLOCK), blocks(2));
  });

  it('that is damaged, however often it is read, is lost alone', () => {
    const drained = drain('rotten');
    expect([drained.outcome, drained.isDrained]).toEqual(['done', true]);
    expect([drained.rig.corrupt, drained.rig.unreadable]).toEqual([[0], []]);
    expect(reads(drained, 0)).toBe(IoStatus.corrupt);
    expectBytes(reads(drained, BLOCK), blocks(2));
  });

  it('gives its memory back in each case', () => {
    for (const end of ['good', 'rotten', 'error', 'short'] as const) expect(drain(end).free).toEqual([8, 2, 3]);
  });
});

describe('a part of which all is overtaken by what is newer', () => {
  it('leaves in the block store that there was something: a RESIZE that a start finds next zeroes it then', () => {
    const rig = new CoreRig();
    const client = rig.open();
    client.write(0, blocks(1));
    rig.finish();
    const { controller, store, layer } = rig;
    const toSeq = controller.lastSeq;
    client.write(0, blocks(2));
    rig.finish();
    const outcomes: DrainOutcome[] = [];
    const drainTo = (seq: number): void => {
      new SegmentDrain(controller, 0, seq, DRAIN_LIMITS.calm, {}, ended => outcomes.push(ended)).start();
      rig.settle();
    };
    drainTo(toSeq);
    expect(store.store.segments(layer)).toEqual([{ segment: 0, drainSeq: toSeq, dataBlocks: 0 }]);
    drainTo(controller.lastSeq);
    expect(store.store.segments(layer)).toEqual([{ segment: 0, drainSeq: controller.lastSeq, dataBlocks: 1 }]);
    expect(outcomes).toEqual(['done', 'done']);
  });
});
