import { describe, expect, it } from 'vitest';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { BLOCK, logged, piece, readAll, started, statuses } from './changes.js';
import { blocks } from './core-rig.js';

const { ok, noSpace } = IoStatus;

describe('a full disk', () => {
  it('lets changes wait by the policy "wait", until there is room', () => {
    const { rig, client } = started();
    rig.rule.onFull = 'wait';
    rig.log.room = 0;
    rig.isOutOfSpace = true;
    const waiting = [client.write(0, blocks(1)), client.write(10 * BLOCK + 100, piece(10, 2))];
    rig.controller.onOutOfSpace();
    rig.finish();
    expect(statuses(...waiting)).toEqual([null, null]);
    rig.isOutOfSpace = false;
    rig.log.free();
    rig.finish();
    expect(statuses(...waiting)).toEqual([ok, ok]);
  });

  it('refuses what waits when the policy becomes "error"', () => {
    const { rig, client } = started();
    rig.rule.onFull = 'wait';
    rig.log.room = 0;
    rig.isOutOfSpace = true;
    const waiting = client.write(0, blocks(1));
    expect(waiting.status).toBeNull();
    rig.rule.onFull = 'error';
    rig.controller.onOutOfSpace();
    expect(waiting.status).toBe(noSpace);
  });

  it('lets trims and zeroes of whole blocks go before writes that wait', () => {
    const { rig, client } = started();
    rig.rule.onFull = 'wait';
    rig.finish();
    client.write(8 * BLOCK, blocks(8, 9));
    rig.finish();
    rig.log.room = 0;
    rig.log.freeingRoom = 3;
    const write = client.write(0, blocks(1));
    const freeing = [client.trim(8 * BLOCK + 5, BLOCK + 4_000), client.zero(9 * BLOCK, BLOCK), client.trim(20 * BLOCK, BLOCK)];
    const waiting = [client.zero(30 * BLOCK, 100), client.zero(31 * BLOCK, BLOCK)];
    rig.finish();
    // The first trim covers no whole block: it has nothing to do, and waits for its turn.
    expect(statuses(write, ...freeing, ...waiting)).toEqual([null, null, ok, ok, null, ok]);
    expectBytes(readAll(client, 8 * BLOCK, 2 * BLOCK), blocks(8, 0));
    rig.log.free();
    rig.finish();
    expect(statuses(write, ...freeing, ...waiting)).toEqual([ok, ok, ok, ok, ok, ok]);
  });

  it('lets those go, too, that came before it was full', () => {
    const { rig, client } = started();
    rig.rule.onFull = 'wait';
    rig.log.room = 0;
    rig.log.isFull = false;
    const [write, trim] = [client.write(0, blocks(1)), client.trim(8 * BLOCK, BLOCK)];
    expect(statuses(write, trim)).toEqual([null, null]);
    rig.log.isFull = true;
    rig.log.free(0);
    expect(logged(rig)).toEqual([]);
    rig.log.freeingRoom = 1;
    rig.log.free(0);
    rig.finish();
    expect(statuses(write, trim)).toEqual([null, ok]);
  });

  it('lets nothing go before a merge that it would undo', () => {
    const { rig, client } = started();
    rig.rule.onFull = 'wait';
    client.write(5 * BLOCK, blocks(5));
    rig.finish();
    rig.log.room = 0;
    rig.log.freeingRoom = 1;
    const write = client.write(5 * BLOCK, piece(100, 1));
    rig.finish();
    const zero = client.zero(5 * BLOCK, BLOCK);
    rig.finish();
    expect(statuses(write, zero)).toEqual([null, null]);
    rig.log.free();
    rig.finish();
    expect(statuses(write, zero)).toEqual([ok, ok]);
    expectBytes(readAll(client, 5 * BLOCK, BLOCK), blocks(0));
  });
});

describe('a quota', () => {
  const limited = (limitBytes: number, endBytes = limitBytes) => {
    const one = started();
    one.client.write(0, blocks(1, 2, 3, 4));
    one.rig.finish();
    one.rig.rule.limitBytes = one.rig.rule.takenBytes + limitBytes;
    one.rig.rule.endBytes = one.rig.rule.takenBytes + endBytes;
    return one;
  };

  it('lets changes take up to the limit, to the byte, and then wait for it to move', () => {
    const { rig, client } = limited(3 * BLOCK, Infinity);
    const answers = [
      client.write(100 * BLOCK, blocks(1, 1)),
      client.write(200 * BLOCK + 1, piece(1, 1)),
      client.write(300 * BLOCK, blocks(1)),
    ];
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, ok, null]);
    expect(rig.controller.usedBytes).toBe(7 * BLOCK);
    rig.rule.limitBytes += BLOCK;
    rig.controller.onOutOfSpace();
    rig.finish();
    expect(answers[2]!.status).toBe(ok);
  });

  it('counts a change once, however often the log refuses it', () => {
    const { rig, client } = limited(2 * BLOCK, Infinity);
    rig.log.room = 0;
    const answers = [client.write(100 * BLOCK, blocks(1)), client.write(200 * BLOCK, blocks(1))];
    rig.log.free(0);
    rig.log.free(0);
    rig.log.free();
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, ok]);
  });

  it('refuses what lies behind its end by the policy "error", and that alone', () => {
    const { rig, client } = limited(BLOCK, 3 * BLOCK);
    const answers = [client.write(100 * BLOCK, blocks(1, 1, 1, 1)), client.write(100 * BLOCK, blocks(1, 1))];
    rig.finish();
    expect(statuses(...answers)).toEqual([noSpace, null]);
    rig.rule.onFull = 'wait';
    const large = client.write(100 * BLOCK, blocks(1, 1, 1, 1));
    rig.controller.onOutOfSpace();
    rig.finish();
    expect(statuses(large)).toEqual([null]);
  });

  it('holds up neither what overwrites, nor trims and zeroes, also behind a write that waits', () => {
    const { rig, client } = limited(0, Infinity);
    const write = client.write(100 * BLOCK, blocks(1));
    const others = [
      client.write(BLOCK, blocks(7, 8)),
      client.trim(3 * BLOCK, BLOCK),
      client.zero(50 * BLOCK, 2 * BLOCK),
      client.write(3 * BLOCK, blocks(9)),
    ];
    rig.finish();
    // The trim is in flight: the block is there until it is committed, and what comes behind puts it there again.
    expect(statuses(write, ...others)).toEqual([null, ok, ok, ok, ok]);
    expect(logged(rig).slice(1)).toEqual(['write 1+2', 'trim 3+1', 'zero 50+2', 'write 3+1']);
  });

  it('knows what is in the extents, and what a trim has taken from there', () => {
    const { rig, client } = limited(0, Infinity);
    rig.drained(0, 40, blocks(1, 2), 20);
    rig.settle();
    client.trim(41 * BLOCK, BLOCK);
    rig.finish();
    const answers = [client.write(40 * BLOCK, blocks(5)), client.write(41 * BLOCK, blocks(5))];
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, null]);
  });
});
