import { describe, expect, it } from 'vitest';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { MAX_MISS_READS, MAX_REREADS } from '../../../src/stargate/core/limits.js';
import { BLOCKS_PER_SEGMENT, RECORD_BLOCKS } from '../../../src/stargate/core/ports.js';
import { chunkKey } from '../../../src/stargate/store/format.js';
import { expectBytes } from '../bytes.js';
import type { CoreClient } from './core-client.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;
const { ok, corrupt } = IoStatus;
const OWNER = 1;

function started(): { rig: CoreRig; client: CoreClient } {
  const rig = new CoreRig();
  return { rig, client: rig.open() };
}

/** Written, committed, and in the log alone. */
function written(rig: CoreRig, client: CoreClient, block: number, content: Uint8Array): void {
  client.write(block * BLOCK, content);
  rig.finish();
  rig.cache.dropOwner(OWNER);
}

function read(client: CoreClient, offsetBytes: number, lengthBytes: number) {
  const answer = client.read(offsetBytes, lengthBytes);
  client.rig.settle();
  return answer;
}

const concat = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const nothingHeld = (rig: CoreRig) => {
  expect(rig.buffers.free()).toEqual([8, 2, 3]);
  expect(rig.controller.isIdle).toBe(true);
};

describe('where a block is read from', () => {
  it('nowhere: zeroes', () => {
    const { rig, client } = started();
    expectBytes(read(client, 123, 5000).content, new Uint8Array(5000));
    expect(rig.extents.reads).toBe(0);
    nothingHeld(rig);
  });

  it('the cache: at once, from its pages', () => {
    const { rig, client } = started();
    client.write(0, blocks(1, 2, 3));
    rig.finish();
    const answer = client.read(100, 2 * BLOCK);
    expect(answer.status).toBe(ok);
    expectBytes(answer.content, concat(blocks(1, 2), blocks(3)).slice(100, 100 + 2 * BLOCK));
    expect(rig.pending).toEqual([]);
  });

  it('the log', () => {
    const { rig, client } = started();
    written(rig, client, 0, blocks(1, 2, 3));
    expectBytes(read(client, BLOCK, 2 * BLOCK).content, blocks(2, 3));
    // And from there into the cache.
    expect(client.read(BLOCK, 2 * BLOCK).status).toBe(ok);
    nothingHeld(rig);
  });

  it('the extents, in one run', () => {
    const { rig, client } = started();
    rig.drained(0, 10, blocks(1, 2, 3), 5);
    rig.settle();
    expectBytes(read(client, 10 * BLOCK, 3 * BLOCK).content, blocks(1, 2, 3));
    expect(rig.extents.reads).toBe(1);
    expect(client.read(10 * BLOCK, 3 * BLOCK).status).toBe(ok);
  });

  it('all of them for one request, over the border of a segment', () => {
    const { rig, client } = started();
    const first = BLOCKS_PER_SEGMENT - 3;
    rig.drained(0, first, blocks(1, 2, 3), 1);
    rig.drained(1, 0, blocks(4, 5), 1);
    rig.settle();
    written(rig, client, first + 1, blocks(12));
    client.zero((first + 3) * BLOCK, BLOCK);
    rig.finish();
    client.write((first + 5) * BLOCK, blocks(16));
    rig.finish();
    expectBytes(
      read(client, first * BLOCK + 7, 7 * BLOCK).content,
      concat(blocks(1, 12, 3, 0, 5, 16, 0), blocks(0)).slice(7, 7 + 7 * BLOCK),
    );
    nothingHeld(rig);
  });

  it('the log before the extents, a zero in the log before both', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1, 1, 1), 1);
    rig.settle();
    written(rig, client, 1, blocks(2, 2));
    client.zero(2 * BLOCK, BLOCK);
    rig.finish();
    expectBytes(read(client, 0, 3 * BLOCK).content, blocks(1, 2, 0));
  });

  it('a megabyte that starts inside a block', () => {
    const { rig, client } = started();
    const content = Uint8Array.from({ length: 257 * BLOCK }, (_, i) => (i * 31) >> 3);
    client.write(0, content.slice(0, 1 << 20));
    client.write(1 << 20, content.slice(1 << 20));
    rig.finish();
    expectBytes(read(client, 1000, 1 << 20).content, content.slice(1000, 1000 + (1 << 20)));
    nothingHeld(rig);
  });

  it('not what is in flight: a read gives what is committed', () => {
    const { rig, client } = started();
    written(rig, client, 0, blocks(1));
    client.write(0, blocks(2));
    expectBytes(read(client, 0, BLOCK).content, blocks(1));
    rig.finish();
    expectBytes(read(client, 0, BLOCK).content, blocks(2));
  });
});

describe('a read that something overtakes', () => {
  it('a change: gives the old or the new, and leaves the new in the cache', () => {
    for (const change of ['write', 'zero'] as const) {
      const { rig, client } = started();
      written(rig, client, 0, blocks(1));
      const old = client.read(0, BLOCK);
      if (change === 'write') client.write(0, blocks(2));
      else client.zero(0, BLOCK);
      rig.log.commit();
      rig.settle();
      expectBytes(old.content, blocks(1));
      expectBytes(read(client, 0, BLOCK).content, blocks(change === 'write' ? 2 : 0));
    }
  });

  it('a drain that has written over the extent: is looked up anew', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1), 1);
    rig.settle();
    const answer = client.read(0, BLOCK);
    rig.drained(0, 0, blocks(2), 2);
    rig.settle();
    expectBytes(answer.content, blocks(2));
    expect(rig.corrupt).toEqual([]);
  });

  it('a drain that takes the block out of the log', () => {
    const { rig, client } = started();
    written(rig, client, 0, blocks(1));
    const answer = client.read(0, BLOCK);
    rig.drained(0, 0, blocks(1), rig.controller.committedSeq);
    rig.settle();
    expectBytes(answer.content, blocks(1));
    expectBytes(read(client, 0, BLOCK).content, blocks(1));
  });
});

describe('a damaged block', () => {
  it.each([
    ['in the extents', 'corrupt', (rig: CoreRig) => (rig.extents.block(rig.layer, 0, 1)![9]! ^= 1)],
    ['in the extents, which the disk cannot read', 'unreadable', (rig: CoreRig) => (rig.extents.failReads = -5)],
    [
      'of which the block store has lost the record',
      'corrupt',
      (rig: CoreRig) => (rig.storeDisk.records.get(chunkKey(rig.layer, 0, 0).toString('hex'))![9]! ^= 1),
    ],
  ] as [string, 'corrupt' | 'unreadable', (rig: CoreRig) => unknown][])(
    '%s: is read again, then the read fails, and says where and what',
    (_name, said, damage) => {
      const { rig, client } = started();
      rig.drained(0, 0, blocks(1, 2, 3), 1);
      rig.settle();
      damage(rig);
      const before = rig.extents.reads;
      const answer = read(client, 0, 3 * BLOCK);
      expect(answer.status).toBe(corrupt);
      expect([rig.corrupt.length, rig.unreadable.length]).toEqual(said === 'corrupt' ? [1, 0] : [0, 1]);
      expect(rig.extents.reads - before).toBeLessThanOrEqual(1 + MAX_REREADS);
      nothingHeld(rig);
      // Not in the cache, and mended by a write over it.
      expect(read(client, BLOCK, BLOCK).status).toBe(corrupt);
      rig.extents.failReads = 0;
      client.write(0, blocks(7, 7, 7));
      rig.finish();
      expect(read(client, 0, 3 * BLOCK).status).toBe(ok);
    },
  );

  it('in the log: the others of the request are not reported', () => {
    const { rig, client } = started();
    written(rig, client, 5, blocks(1, 2));
    rig.log.entries.at(-1)!.payload[BLOCK + 1]! ^= 1;
    expect(read(client, 5 * BLOCK, 2 * BLOCK).status).toBe(corrupt);
    expect(rig.corrupt).toEqual([6 * BLOCK]);
    expect(read(client, 5 * BLOCK, BLOCK).status).toBe(ok);
  });

  it('for a moment only: is read again and served', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1), 1);
    rig.settle();
    rig.extents.failReads = -5;
    const answer = client.read(0, BLOCK);
    rig.pending.shift()!();
    rig.extents.failReads = 0;
    rig.settle();
    expectBytes(answer.content, blocks(1));
    expect(rig.corrupt).toEqual([]);
  });

  it('a map of what a lost record describes takes it for data: whether it can be read a read says', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1), 1);
    rig.settle();
    rig.storeDisk.records.get(chunkKey(rig.layer, 0, 0).toString('hex'))![9]! ^= 1;
    const map = client.request(IoOp.map, 0, BLOCK);
    expect([map.status, map.request.extents[1]]).toEqual([ok, 0]);
    expect(read(client, 0, BLOCK).status).toBe(corrupt);
    // The next record is another one.
    expect(read(client, RECORD_BLOCKS * BLOCK - BLOCK, 2 * BLOCK).status).toBe(corrupt);
    expect(rig.corrupt.at(-1)).toBe((RECORD_BLOCKS - 1) * BLOCK);
    expect(read(client, RECORD_BLOCKS * BLOCK, BLOCK).status).toBe(ok);
  });
});

describe('more reads than there is memory for', () => {
  it('wait in order, and all are answered', () => {
    const { rig, client } = started();
    written(rig, client, 0, blocks(1, 2, 3, 4));
    const answers = Array.from({ length: MAX_MISS_READS + 50 }, (_, i) => client.read((i % 4) * BLOCK, BLOCK));
    rig.settle();
    answers.forEach(({ content }, i) => expectBytes(content, blocks(1 + (i % 4))));
    nothingHeld(rig);
  });

  it('are forgotten with their path: nothing is read for them any more', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1, 2, 3, 4), 1);
    rig.settle();
    const taken = rig.takeAllBuffers();
    const answers = Array.from({ length: MAX_MISS_READS + 50 }, () => client.read(0, BLOCK));
    const partial = client.write(10, blocks(9).slice(0, 20));
    client.path.close();
    // They wait for memory still: the controller must not be taken away from under them.
    expect(rig.controller.isIdle).toBe(false);
    for (const offset of taken) rig.buffers.give(offset);
    rig.finish();
    expect(rig.extents.reads).toBe(0);
    expect([...answers, partial].every(({ status }) => status === null)).toBe(true);
    nothingHeld(rig);
  });

  it('one that is being read when its path goes: is not read again, and not answered', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1), 1);
    rig.settle();
    rig.extents.failReads = -5;
    const answer = client.read(0, BLOCK);
    client.path.close();
    rig.settle();
    expect(rig.extents.reads).toBe(1);
    expect(answer.status).toBeNull();
    expect(rig.corrupt).toEqual([]);
    nothingHeld(rig);
  });
});

describe('a prefetch', () => {
  it('brings blocks into the cache and no data to the caller', () => {
    const { rig, client } = started();
    rig.drained(0, 0, blocks(1, 2), 1);
    rig.settle();
    const answer = client.request(IoOp.prefetch, 0, 2 * BLOCK);
    rig.settle();
    expect(answer).toMatchObject({ status: ok, answers: 1 });
    expect(answer.request.data.count).toBe(0);
    expect(client.read(0, 2 * BLOCK).status).toBe(ok);
    nothingHeld(rig);
  });

  it('of more than a transfer holds is taken as done', () => {
    const { rig, client } = started();
    expect(client.request(IoOp.prefetch, 0, 512 << 20).status).toBe(ok);
    expect(rig.pending).toEqual([]);
  });
});
