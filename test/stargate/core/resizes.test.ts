import { describe, expect, it } from 'vitest';
import type { ResizeResult } from '../../../src/stargate/core/resizes.js';
import { BlockIndex, Where } from '../../../src/stargate/core/block-index.js';
import { AppliedLog, type LogBody } from '../../../src/stargate/core/applied.js';
import { BLOCKS_PER_SEGMENT, EntryKind, SEGMENT_BYTES } from '../../../src/stargate/core/ports.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { CoreClient } from './core-client.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;
const SIZE = 4 * SEGMENT_BYTES;
const { ok, invalid, noSpace } = IoStatus;

function started(): { rig: CoreRig; client: CoreClient } {
  const rig = new CoreRig();
  return { rig, client: rig.open() };
}

function resize(rig: CoreRig, toBytes: number, fromBytes = rig.controller.state.sizeBytes): ResizeResult[] {
  const results: ResizeResult[] = [];
  rig.controller.resizes.start({ fromBytes, toBytes }, result => results.push(result));
  return results;
}

const kinds = (results: readonly ResizeResult[]): string[] => results.map(({ kind }) => kind);
const kindOf = (rig: CoreRig, client: CoreClient, offset: number): number | undefined => {
  const answer = client.read(offset, BLOCK);
  rig.finish();
  return answer.content?.[0];
};

describe('growing', () => {
  it('is one entry, and is seen when that is committed', () => {
    const { rig, client } = started();
    const results = resize(rig, SIZE + BLOCK);
    expect([results, rig.controller.state.sizeBytes]).toEqual([[], SIZE]);
    expect(client.read(SIZE, BLOCK).status).toBe(invalid);
    expect(client.write(SIZE, blocks(1)).status).toBe(noSpace);
    rig.finish();
    expect(kinds(results)).toEqual(['resized']);
    const entry = rig.log.entries.at(-1)!;
    expect([entry.kind, entry.offsetBytes, entry.lengthBytes, entry.payload.length]).toEqual([EntryKind.resize, SIZE + BLOCK, 0, 0]);
    const write = client.write(SIZE, blocks(1));
    rig.finish();
    expect([write.status, kindOf(rig, client, SIZE)]).toEqual([ok, 1]);
  });

  it('tells its host of the size that holds, and a session that is opened', () => {
    const { rig } = started();
    let toldBytes = 0;
    rig.controller.host.onSized = ({ state }) => void (toldBytes = state.sizeBytes);
    resize(rig, 2 * SIZE);
    expect(toldBytes).toBe(0);
    rig.finish();
    expect(toldBytes).toBe(2 * SIZE);
  });
});

describe('shrinking', () => {
  it('zeroes what it cuts off, in the log, in the extents and in the cache', () => {
    const { rig, client } = started();
    rig.drained(3, 5, blocks(9), 2);
    rig.settle();
    client.write(2 * SEGMENT_BYTES, blocks(1, 2));
    rig.finish();
    expect(kindOf(rig, client, 3 * SEGMENT_BYTES + 5 * BLOCK)).toBe(9);
    expect(kindOf(rig, client, 2 * SEGMENT_BYTES + BLOCK)).toBe(2);
    resize(rig, 2 * SEGMENT_BYTES + BLOCK);
    rig.finish();
    expect(client.read(2 * SEGMENT_BYTES + BLOCK, BLOCK).status).toBe(invalid);
    resize(rig, SIZE);
    rig.finish();
    expect(kindOf(rig, client, 2 * SEGMENT_BYTES)).toBe(1);
    expect(kindOf(rig, client, 2 * SEGMENT_BYTES + BLOCK)).toBe(0);
    expect(kindOf(rig, client, 3 * SEGMENT_BYTES + 5 * BLOCK)).toBe(0);
  });

  it('touches no segment that nobody has written to, of however many', () => {
    const rig = new CoreRig({ sizeBytes: 2 ** 53 - 2 ** 30 });
    const client = rig.open();
    client.write(2 ** 45, blocks(1));
    rig.finish();
    resize(rig, 2 ** 40);
    rig.finish();
    expect(rig.controller.index.segments()).toEqual([2 ** 45 / SEGMENT_BYTES]);
  });

  it('refuses changes behind the new end from its place in the log on, those that wait there too', () => {
    const { rig, client } = started();
    const buffers = rig.takeAllBuffers();
    // It waits for memory to be merged in, and others wait behind it.
    const waiting = client.write(SIZE - 100, new Uint8Array(50).fill(3));
    const behind = client.write(SIZE - BLOCK, blocks(4));
    const inside = client.write(0, blocks(5));
    const results = resize(rig, SIZE / 2);
    expect([waiting.status, behind.status]).toEqual([noSpace, noSpace]);
    expect(client.zero(SIZE / 2, BLOCK).status).toBe(noSpace);
    expect(client.trim(SIZE / 2, BLOCK).status).toBe(invalid);
    expect(client.write(SIZE / 2 - BLOCK, blocks(6, 7)).status).toBe(noSpace);
    for (const offset of buffers) rig.buffers.give(offset);
    rig.finish();
    expect([kinds(results), inside.status]).toEqual([['resized'], ok]);
    resize(rig, SIZE);
    rig.finish();
    expect(kindOf(rig, client, SIZE - BLOCK)).toBe(0);
    expect(kindOf(rig, client, SIZE / 2 - BLOCK)).toBe(0);
  });

  it('does not answer a change that is given up before its parts in the log have taken effect', () => {
    const { rig, client } = started();
    const at = SIZE / 2 - 2 * BLOCK;
    rig.log.room = 1;
    const split = client.request(IoOp.zero, at, 3 * BLOCK + 10);
    expect(split.status).toBeNull();
    rig.log.room = Infinity;
    resize(rig, SIZE / 2);
    expect(split.status).toBeNull();
    rig.finish();
    expect([split.status, split.answers]).toEqual([noSpace, 1]);
  });

  it('answers a change that was applied before, and comes again, with what it was: once applied', () => {
    const { rig, client } = started();
    const write = client.write(SIZE - BLOCK, blocks(1), 7);
    rig.finish();
    expect(write.status).toBe(ok);
    resize(rig, SIZE / 2);
    rig.finish();
    const again = rig.open();
    expect(again.write(SIZE - BLOCK, blocks(1), 7).status).toBe(ok);
    resize(rig, SIZE);
    rig.finish();
    expect(again.write(SIZE - BLOCK, blocks(1), 7).status).toBe(ok);
    rig.finish();
    expect(kindOf(rig, again, SIZE - BLOCK)).toBe(0);
  });

  it('lets a change take effect that is in the log before it, and cuts it off', () => {
    const { rig, client } = started();
    const write = client.write(SIZE - BLOCK, blocks(1), 7);
    resize(rig, SIZE / 2);
    const again = rig.ask();
    rig.settle();
    const adopted = again.client!.write(SIZE - BLOCK, blocks(1), 7);
    expect([write.answers, adopted.answers]).toEqual([0, 0]);
    rig.finish();
    expect([adopted.status, adopted.answers]).toEqual([ok, 1]);
    resize(rig, SIZE);
    rig.finish();
    expect(kindOf(rig, again.client!, SIZE - BLOCK)).toBe(0);
  });
});

describe('one change of the size', () => {
  it('at a time, from the size that whoever asks knows, and of what it is already nothing is made', () => {
    const { rig } = started();
    const first = resize(rig, SIZE / 2);
    const second = resize(rig, SIZE / 4);
    expect(kinds(second)).toEqual(['busy']);
    rig.finish();
    expect(kinds(first)).toEqual(['resized']);
    expect(resize(rig, SIZE / 4, SIZE)).toEqual([{ kind: 'changed', sizeBytes: SIZE / 2 }]);
    const { lastSeq } = rig.controller;
    expect(resize(rig, SIZE / 2, SIZE)).toEqual([{ kind: 'resized', sizeBytes: SIZE / 2 }]);
    expect(rig.controller.lastSeq).toBe(lastSeq);
  });

  it('has no place in a full log, and an unknown outcome when the controller ends', () => {
    const { rig } = started();
    rig.log.room = 0;
    expect(kinds(resize(rig, SIZE / 2))).toEqual(['full']);
    expect(rig.controller.resizes.isInside({ offsetBytes: SIZE - 1, lengthBytes: 1 })).toBe(true);
    rig.log.room = Infinity;
    const unknown = resize(rig, SIZE / 2);
    rig.controller.stop();
    expect(kinds(unknown)).toEqual(['not-served']);
    expect(kinds(resize(rig, SIZE / 2))).toEqual(['not-served']);
  });

  it('is in no head before it is committed, and in each one behind it', () => {
    const { rig } = started();
    resize(rig, SIZE / 2);
    expect(rig.controller.head(0, 0)).toBeNull();
    rig.finish();
    expect(rig.controller.head(0, 0)?.sizeBytes).toBe(SIZE / 2);
  });

  it('waits for the disk also where changes do not', () => {
    const rig = new CoreRig({ durability: 'flush' });
    const client = rig.open();
    client.write(0, blocks(1));
    rig.finish();
    const results = resize(rig, SIZE / 2);
    rig.log.hold();
    expect(results).toEqual([]);
    rig.log.commit();
    expect(kinds(results)).toEqual(['resized']);
  });
});

describe('a replica', () => {
  const body = (kind: EntryKind, offsetBytes: number, lengthBytes: number): LogBody => ({
    ...{ kind, offsetBytes, lengthBytes, sessionId: 0, clientSeq: 0, part: 0, parts: 1, payloadBytes: 0, lsn: 0 },
    ...{ crcs: kind === EntryKind.write ? new Array<number>(lengthBytes / BLOCK).fill(1) : null, open: null, mode: null },
  });
  const CUT = body(EntryKind.resize, SEGMENT_BYTES + BLOCK, 2 * SEGMENT_BYTES);

  it('zeroes where its extents have something, and where its log has', () => {
    const extents = [
      { segment: 1, drainSeq: 4 },
      { segment: 2, drainSeq: 4 },
    ];
    const applied = new AppliedLog(new BlockIndex(), new SessionTable(), SIZE, () => extents);
    applied.applyBlocks(5, body(EntryKind.write, 3 * SEGMENT_BYTES, BLOCK));
    applied.applyBlocks(6, CUT);
    applied.applyHead(6, CUT);
    expect(applied.sizeBytes).toBe(SEGMENT_BYTES + BLOCK);
    const where = (block: number): number => applied.index.find(block);
    expect([where(BLOCKS_PER_SEGMENT), where(BLOCKS_PER_SEGMENT + 1)]).toEqual([Where.notHere, Where.zero]);
    expect([where(3 * BLOCKS_PER_SEGMENT - 1), where(3 * BLOCKS_PER_SEGMENT)]).toEqual([Where.zero, Where.zero]);
    expect(where(3 * BLOCKS_PER_SEGMENT + 1)).toBe(Where.notHere);
  });

  it('leaves, after a start, what its extents have taken up from behind the cut', () => {
    const extents = [
      { segment: 1, drainSeq: 9 },
      { segment: 2, drainSeq: 4 },
    ];
    const applied = new AppliedLog(new BlockIndex(), new SessionTable(), SIZE, () => extents);
    applied.applyUndrained(6, CUT, segment => extents.find(one => one.segment === segment)?.drainSeq ?? 0);
    expect(applied.index.find(BLOCKS_PER_SEGMENT + 1)).toBe(Where.notHere);
    expect(applied.index.find(2 * BLOCKS_PER_SEGMENT)).toBe(Where.zero);
  });
});
