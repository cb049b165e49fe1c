import { describe, expect, it } from 'vitest';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { MAX_IN_FLIGHT_ENTRIES } from '../../../src/stargate/core/limits.js';
import { expectBytes } from '../bytes.js';
import { BLOCK, logged, piece, readAll, started, statuses } from './changes.js';
import type { CoreClient } from './core-client.js';
import { blocks, type CoreRig } from './core-rig.js';

const { ok, noSpace } = IoStatus;

describe('a log that is full', () => {
  it('lets changes wait in their order, and takes them when it has room', () => {
    const { rig, client } = started();
    rig.log.room = 1;
    const answers = [client.write(0, blocks(1)), client.write(10, piece(10, 2)), client.write(0, blocks(3)), client.zero(BLOCK, BLOCK)];
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, null, null, null]);
    rig.log.free(2);
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, ok, ok, null]);
    rig.log.free();
    rig.finish();
    expect(statuses(...answers)).toEqual([ok, ok, ok, ok]);
    expect(logged(rig)).toEqual(['write 0+1', 'fullImage 0+1', 'write 0+1', 'zero 1+1']);
  });

  it('takes the parts of a change one after the other', () => {
    const { rig, client } = started();
    rig.log.room = 0;
    const answer = client.write(100, piece(3 * BLOCK, 1));
    for (let part = 0; part < 3; part++) {
      rig.finish();
      expect(answer.status).toBeNull();
      rig.log.free(1);
    }
    rig.finish();
    expect(answer.status).toBe(ok);
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
  });

  it('answers ENOSPC when nothing will make room, in order, and only then', () => {
    const { rig, client } = started();
    rig.log.room = 1;
    const taken = client.write(0, blocks(1));
    const waiting = [client.write(BLOCK, blocks(2)), client.write(10 * BLOCK + 100, piece(10, 2)), client.zero(0, BLOCK)];
    rig.finish();
    expect(statuses(taken, ...waiting)).toEqual([ok, null, null, null]);
    rig.isOutOfSpace = true;
    rig.log.isFull = false;
    rig.controller.onOutOfSpace();
    rig.finish();
    // The log has no buffer for the moment: that passes.
    expect(statuses(...waiting)).toEqual([null, null, null]);
    rig.log.isFull = true;
    rig.controller.onOutOfSpace();
    rig.finish();
    expect(statuses(...waiting)).toEqual([noSpace, noSpace, noSpace]);
    expect(client.write(0, blocks(3)).status).toBe(noSpace);
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
    // A refused change is one that never came.
    rig.log.free();
    rig.isOutOfSpace = false;
    const again = client.write(BLOCK, blocks(5), waiting[0]!.request.clientSeq);
    expectBytes(readAll(client, 0, 2 * BLOCK), blocks(1, 5));
    expect(again.status).toBe(ok);
  });

  it('answers ENOSPC to the rest of a change that is partly in the log', () => {
    const { rig, client } = started();
    rig.log.room = 1;
    const write = client.write(100, piece(3 * BLOCK, 1));
    rig.finish();
    rig.isOutOfSpace = true;
    rig.controller.onOutOfSpace();
    expect(write.status).toBe(noSpace);
    expectBytes(readAll(client, 100, BLOCK - 100), piece(BLOCK - 100, 1));
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
  });

  describe('and what of a refused change is in the log', () => {
    /** The first of two parts is in the log and not committed, and the second has no place there. */
    const refused = () => {
      const { rig, client } = started();
      rig.log.room = 1;
      const write = client.write(0, piece(BLOCK + 100, 1));
      rig.settle();
      rig.isOutOfSpace = true;
      rig.controller.onOutOfSpace();
      expect(logged(rig)).toEqual(['write 0+1 1/2']);
      return { rig, client, write };
    };

    it('takes effect before the answer, not behind it', () => {
      const { rig, client, write } = refused();
      expect(write.answers).toBe(0);
      expect(client.write(4 * BLOCK, blocks(2)).status).toBe(noSpace);
      rig.finish();
      expect(write).toMatchObject({ status: noSpace, answers: 1 });
      expectBytes(readAll(client, 0, 2 * BLOCK), blocks(1, 0));
    });

    it('takes effect before the answer also when the change comes again on another path', () => {
      const { rig, client, write } = refused();
      client.path.close();
      // At once: the session is still open, and nothing is committed for it.
      const replay = rig.ask().client!.write(0, piece(BLOCK + 100, 1), write.request.clientSeq);
      expect(replay.answers).toBe(0);
      rig.finish();
      expect(replay).toMatchObject({ status: noSpace, answers: 1 });
      expect(write.answers).toBe(0);
    });

    it('is not applied again when the change comes again and there is room', () => {
      const { rig, client, write } = refused();
      rig.finish();
      rig.isOutOfSpace = false;
      rig.log.free();
      client.write(0, blocks(7));
      const again = client.write(0, piece(BLOCK + 100, 1), write.request.clientSeq);
      expectBytes(readAll(client, 0, 2 * BLOCK), Uint8Array.from([...blocks(7), ...blocks(0).fill(1, 0, 100)]));
      expect(again.status).toBe(ok);
    });

    it.each([
      ['its path goes', ({ client }: { client: CoreClient }) => client.path.close()],
      ['the log fails', ({ rig }: { rig: CoreRig }) => rig.controller.onLogFailed(5)],
      ['the controller stops', ({ rig }: { rig: CoreRig }) => rig.controller.stop()],
    ])('has an unknown outcome when %s: no answer', (_name, happens) => {
      const { rig, client, write } = refused();
      happens({ rig, client });
      rig.log.commit();
      expect(write.answers).toBe(0);
    });
  });

  it('is not asked for more than the entries that may be in flight', () => {
    const { rig, client } = started();
    const content = rig.memory(blocks(1));
    const answers = Array.from({ length: MAX_IN_FLIGHT_ENTRIES + 1 }, (_, i) => {
      client.lowWater = Math.max(1, i - 100);
      const answer = client.prepare(IoOp.write, i * BLOCK, BLOCK, i + 1);
      answer.request.payload.add(content, BLOCK);
      client.path.submit(answer.request);
      return answer;
    });
    expect(rig.log.inFlight).toBe(MAX_IN_FLIGHT_ENTRIES);
    rig.finish();
    expect(answers.every(({ status }) => status === ok)).toBe(true);
  });
});
