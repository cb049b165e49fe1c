import { describe, expect, it } from 'vitest';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { BLOCK, logged, piece, readAll, started, statuses } from './changes.js';
import type { CoreClient } from './core-client.js';
import { blocks } from './core-rig.js';

const { ok, invalid, closed, corrupt } = IoStatus;

describe('the parts of a change', () => {
  it.each([
    ['whole blocks', IoOp.write, 0, 2 * BLOCK, ['write 0+2']],
    ['a part of one block', IoOp.write, 100, 50, ['fullImage 0+1']],
    ['the end of a block', IoOp.write, 100, BLOCK - 100, ['fullImage 0+1']],
    ['the start of a block', IoOp.write, BLOCK, 50, ['fullImage 1+1']],
    ['two halves', IoOp.write, 100, BLOCK, ['fullImage 0+1 1/2', 'fullImage 1+1 2/2']],
    ['front and whole', IoOp.write, 100, 2 * BLOCK - 100, ['fullImage 0+1 1/2', 'write 1+1 2/2']],
    ['whole and back', IoOp.write, 0, BLOCK + 100, ['write 0+1 1/2', 'fullImage 1+1 2/2']],
    ['front, whole and back', IoOp.write, 100, 3 * BLOCK, ['fullImage 0+1 1/3', 'write 1+2 2/3', 'fullImage 3+1 3/3']],
    ['a zero of whole blocks', IoOp.zero, 0, 40 * BLOCK, ['zero 0+40']],
    ['a zero of a part of a block', IoOp.zero, 10, 20, ['fullImage 0+1']],
    ['a zero of front, whole and back', IoOp.zero, 100, 3 * BLOCK, ['fullImage 0+1 1/3', 'zero 1+2 2/3', 'fullImage 3+1 3/3']],
    ['a trim of whole blocks', IoOp.trim, BLOCK, 2 * BLOCK, ['trim 1+2']],
    ['a trim leaves blocks that it covers partly', IoOp.trim, 100, 3 * BLOCK, ['trim 1+2']],
    ['a trim of less than a block changes nothing', IoOp.trim, 100, BLOCK, []],
  ])('%s', (_name, op, offset, length, expected) => {
    const { rig, client } = started();
    const before = Uint8Array.from({ length: 50 * BLOCK }, (_, i) => (i * 7) & 0xff);
    client.write(0, before);
    rig.finish();
    rig.log.entries.length = 2;
    const answer = op === IoOp.write ? client.write(offset, piece(length, 99)) : client.request(op, offset, length);
    rig.finish();
    expect(answer).toMatchObject({ status: ok, answers: 1 });
    expect(logged(rig).slice(1)).toEqual(expected);
    const from = op === IoOp.trim ? Math.ceil(offset / BLOCK) * BLOCK : offset;
    const to = op === IoOp.trim ? Math.floor((offset + length) / BLOCK) * BLOCK : offset + length;
    if (to > from) before.fill(op === IoOp.write ? 99 : 0, from, to);
    expectBytes(readAll(client, 0, before.length), before);
  });

  it('are answered when the last one is committed, not before', () => {
    const { rig, client } = started();
    const answer = client.write(100, piece(3 * BLOCK, 1));
    rig.settle();
    for (let part = 1; part <= 3; part++) {
      expect(answer.status).toBeNull();
      rig.settle();
      rig.log.commit(1);
      rig.settle();
    }
    expect(answer.status).toBe(ok);
  });
});

describe('a partly covered block', () => {
  const overlay = (base: Uint8Array, at: number, length: number, value: number) => base.slice().fill(value, at, at + length);

  it('is merged with what is committed, in the cache', () => {
    const { rig, client } = started();
    client.write(0, blocks(1));
    rig.finish();
    client.write(10, piece(20, 2));
    expectBytes(readAll(client, 0, BLOCK), overlay(blocks(1), 10, 20, 2));
  });

  it('is merged with what is in the log alone', () => {
    const { rig, client } = started();
    client.write(0, blocks(1));
    rig.finish();
    rig.cache.dropOwner(1);
    client.write(10, piece(20, 2));
    expectBytes(readAll(client, 0, BLOCK), overlay(blocks(1), 10, 20, 2));
  });

  it('is merged with zeroes where it was never written, was zeroed or trimmed', () => {
    const { rig, client } = started();
    client.write(0, blocks(1, 1, 1));
    client.zero(BLOCK, BLOCK);
    client.trim(2 * BLOCK, BLOCK);
    rig.finish();
    for (const block of [1, 2, 3]) {
      client.write(block * BLOCK + 10, piece(20, 2));
      expectBytes(readAll(client, block * BLOCK, BLOCK), overlay(blocks(0), 10, 20, 2));
    }
  });

  it.each([
    ['a write', (client: CoreClient) => client.write(0, blocks(1)), blocks(1)],
    ['a zero', (client: CoreClient) => client.zero(0, BLOCK), blocks(0)],
    ['a trim', (client: CoreClient) => client.trim(0, BLOCK), blocks(0)],
    ['another part of it', (client: CoreClient) => client.write(3000, piece(100, 1)), overlay(blocks(9), 3000, 100, 1)],
  ])('waits for %s in flight on it, and is merged with that', (_name, first, base) => {
    const { rig, client } = started();
    client.write(0, blocks(9));
    rig.finish();
    const one = first(client);
    rig.settle();
    const inFlight = rig.log.inFlight;
    const two = client.write(10, piece(20, 2));
    rig.settle();
    expect(rig.log.inFlight).toBe(inFlight);
    expectBytes(readAll(client, 0, BLOCK), overlay(base, 10, 20, 2));
    expect(statuses(one, two)).toEqual([ok, ok]);
  });

  it('holds back what comes behind it: the order of arrival is the order of the log', () => {
    const { rig, client } = started();
    client.write(0, blocks(1));
    rig.settle();
    client.write(10, piece(20, 2));
    client.write(5 * BLOCK, blocks(3));
    client.write(0, blocks(4));
    expect(logged(rig)).toEqual(['write 0+1']);
    rig.finish();
    expect(logged(rig)).toEqual(['write 0+1', 'fullImage 0+1', 'write 5+1', 'write 0+1']);
    expectBytes(readAll(client, 0, BLOCK), blocks(4));
  });

  it('fails alone when its content is damaged; a write over all of it mends it', () => {
    const { rig, client } = started();
    client.write(0, blocks(1, 1));
    rig.finish();
    rig.cache.dropOwner(1);
    rig.log.entries.at(-1)!.payload[5] = 77;
    const failed = client.write(10, piece(20, 2));
    const behind = client.write(BLOCK, blocks(3));
    rig.finish();
    expect(statuses(failed, behind)).toEqual([corrupt, ok]);
    expect(rig.corrupt).toEqual([0]);
    client.write(0, blocks(4));
    expectBytes(readAll(client, 0, 2 * BLOCK), blocks(4, 3));
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
  });

  it('waits for memory, and gives it back', () => {
    const { rig, client } = started();
    const taken = rig.takeAllBuffers();
    const write = client.write(10, piece(20, 2));
    rig.finish();
    expect(write.status).toBeNull();
    for (const offset of taken) rig.buffers.give(offset);
    rig.finish();
    expect(write.status).toBe(ok);
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
  });
});

describe('a change that comes again', () => {
  it('in flight: is answered with the first one, once', () => {
    const { rig, client } = started();
    const first = client.write(0, blocks(1), 1);
    client.path.close();
    const again = rig.open();
    const second = again.write(0, blocks(1), 1);
    rig.finish();
    expect(statuses(first, second)).toEqual([null, ok]);
    expect(logged(rig)).toEqual(['write 0+1']);
  });

  it('committed: is answered at once, and not applied over what came later', () => {
    const { rig, client } = started();
    client.write(0, blocks(1), 1);
    client.write(0, blocks(2), 2);
    rig.finish();
    const again = client.write(0, blocks(1), 1);
    expect(again.status).toBe(ok);
    expectBytes(readAll(client, 0, BLOCK), blocks(2));
    expect(logged(rig)).toHaveLength(2);
  });

  it('below the low-water mark: is never applied', () => {
    const { rig, client } = started();
    client.lowWater = 3;
    client.write(0, blocks(1), 3);
    expect(client.write(0, blocks(2), 2).status).toBe(closed);
    expectBytes(readAll(client, 0, BLOCK), blocks(1));
    expect(rig.log.inFlight).toBe(0);
  });

  it('below a low-water mark that rose while it waited: is never applied either', () => {
    const { rig, client } = started();
    client.write(0, blocks(1), 1);
    const givenUp = [client.write(10, piece(20, 2), 2), client.write(8 * BLOCK, blocks(3), 3)];
    client.lowWater = 4;
    const later = client.write(BLOCK, blocks(4), 4);
    rig.finish();
    expect(statuses(...givenUp, later)).toEqual([closed, closed, ok]);
    expect(logged(rig)).toEqual(['write 0+1', 'write 1+1']);
  });

  it('beyond the window: is refused', () => {
    const { client } = started();
    expect(client.write(0, blocks(1), 1 + 4096).status).toBe(invalid);
  });

  it('on the same path, unanswered: is refused, and the first is answered as ever', () => {
    const { rig, client } = started();
    const inFlight = client.write(0, blocks(1), 1);
    const waiting = client.write(10, piece(20, 2), 2);
    const again = [client.write(0, blocks(1), 1), client.write(10, piece(2, 2), 2)];
    rig.finish();
    expect(statuses(inFlight, waiting, ...again)).toEqual([ok, ok, invalid, invalid]);
    expect(logged(rig)).toEqual(['write 0+1', 'fullImage 0+1']);
  });
});

describe('a path that goes', () => {
  it('takes with it what has no place in the log', () => {
    const { rig, client } = started();
    const inFlight = client.write(0, blocks(1), 1);
    const waiting = [client.write(10, piece(20, 2), 2), client.write(BLOCK, blocks(3), 3)];
    client.path.close();
    rig.finish();
    expect(statuses(inFlight, ...waiting)).toEqual([null, null, null]);
    expect(logged(rig)).toEqual(['write 0+1']);
    // Unknown, so they are applied when they come again.
    const again = rig.open();
    const replays = [again.write(0, blocks(1), 1), again.write(10, piece(20, 2), 2), again.write(BLOCK, blocks(3), 3)];
    rig.finish();
    expect(statuses(...replays)).toEqual([ok, ok, ok]);
    expect(logged(rig)).toEqual(['write 0+1', 'fullImage 0+1', 'write 1+1']);
  });

  it('in the middle of a merge: the memory comes back, at whichever step', () => {
    for (let steps = 0; steps < 4; steps++) {
      const { rig, client } = started();
      client.write(0, blocks(1));
      rig.finish();
      rig.cache.dropOwner(1);
      rig.log.room = 0;
      client.write(10, piece(20, 2));
      for (let i = 0; i < steps; i++) rig.pending.shift()?.();
      client.path.close();
      rig.log.free();
      rig.finish();
      expect(rig.buffers.free()).toEqual([8, 2, 3]);
      expect(logged(rig)).toEqual(['write 0+1']);
      const again = rig.open();
      again.write(0, blocks(3), 9);
      expectBytes(readAll(again, 0, BLOCK), blocks(3));
    }
  });

  it('while a merge waits for memory: the memory is not taken, and nothing is read', () => {
    const { rig, client } = started();
    const taken = rig.takeAllBuffers();
    client.write(10, piece(20, 2));
    client.path.close();
    const { reads } = rig.extents;
    for (const offset of taken) rig.buffers.give(offset);
    rig.finish();
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
    expect(rig.extents.reads).toBe(reads);
  });

  it('between the parts of a change: the parts in the log are applied once, whatever was written there since', () => {
    for (const partsBefore of [1, 2]) {
      const { rig, client } = started();
      rig.log.room = partsBefore;
      client.write(100, piece(3 * BLOCK, 1), 1);
      rig.finish();
      client.path.close();
      rig.log.free();
      const beside = rig.open(1, 'a', 1);
      beside.write(0, blocks(7));
      rig.finish();
      const again = rig.open();
      const replay = again.write(100, piece(3 * BLOCK, 1), 1);
      rig.finish();
      expect(replay.status).toBe(ok);
      expect(logged(rig).filter(line => line.includes('/3'))).toEqual(['fullImage 0+1 1/3', 'write 1+2 2/3', 'fullImage 3+1 3/3']);
      expectBytes(readAll(again, 0, BLOCK), blocks(7));
      expectBytes(readAll(again, 3 * BLOCK, 100), piece(100, 1));
    }
  });

  it('between the parts of a change: another change under its number is refused', () => {
    const { rig, client } = started();
    rig.log.room = 1;
    client.write(100, piece(3 * BLOCK, 1), 1);
    rig.finish();
    client.path.close();
    rig.log.free();
    const again = rig.open();
    expect(again.write(100, piece(10, 1), 1).status).toBe(invalid);
    const replay = again.write(100, piece(3 * BLOCK, 1), 1);
    rig.finish();
    expect(replay.status).toBe(ok);
  });
});

describe('what is refused at the door', () => {
  it.each([
    ['of a read beyond the end', IoOp.read, 4 * 2 ** 30 - 100, 200],
    ['of a trim beyond the end', IoOp.trim, 4 * 2 ** 30 - 4096, 8192],
    ['of no length', IoOp.zero, 0, 0],
    ['of a negative offset', IoOp.trim, -4096, 4096],
    ['longer than a request may be', IoOp.write, 0, (1 << 20) + 1],
    ['of an unknown kind', 9 as IoOp, 0, 4096],
  ])('a request %s', (_name, op, offset, length) => {
    const { rig, client } = started();
    const answer = client.prepare(op, offset, length, 1);
    if (op === IoOp.write) answer.request.payload.add(rig.memory(blocks(1)), length);
    client.path.submit(answer.request);
    expect(answer.status).toBe(invalid);
    expect(rig.log.inFlight).toBe(0);
  });

  it('a write whose payload is shorter than it says', () => {
    const { rig, client } = started();
    const answer = client.prepare(IoOp.write, 0, 2 * BLOCK, 1);
    answer.request.payload.add(rig.memory(blocks(1)), BLOCK);
    client.path.submit(answer.request);
    expect(answer.status).toBe(invalid);
  });
});
