import { describe, expect, it } from 'vitest';
import { encodeRecord } from '../../../src/stargate/core/head.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { SessionTable } from '../../../src/stargate/core/sessions.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { Answer, CoreClient } from './core-client.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;
const { ok, lost } = IoStatus;

/** With something behind its last HEAD on the disk: from here on, changes are answered from memory. */
function begun(): { rig: CoreRig; client: CoreClient } {
  const rig = new CoreRig({ durability: 'flush' });
  const client = rig.open();
  client.write(0, blocks(1));
  rig.finish();
  return { rig, client };
}

function withFua(client: CoreClient, content: Uint8Array, clientSeq = ++client.clientSeq): Answer {
  const answer = client.prepare(IoOp.write, 0, content.length, clientSeq);
  answer.request.fua = true;
  answer.request.payload.add(client.rig.memory(content), content.length);
  client.path.submit(answer.request);
  return answer;
}

const flush = (client: CoreClient): Answer => client.request(IoOp.flush, 0, 0);

describe('with durability "flush", a change', () => {
  it('is readable and answered when it is held, and drained only when it is durable', () => {
    const { rig, client } = begun();
    const durable = rig.controller.drainableSeq;
    const write = client.write(0, blocks(2));
    expect(write.status).toBeNull();
    rig.log.hold();
    expect(write.status).toBe(ok);
    expect(client.read(0, BLOCK).content?.[0]).toBe(2);
    expect(rig.controller.drainableSeq).toBe(durable);
    expect(rig.controller.isIdle).toBe(false);
    rig.log.commit();
    expect(rig.controller.drainableSeq).toBe(durable + 1);
    expect(rig.controller.isIdle).toBe(true);
    expect(write.answers).toBe(1);
  });

  it('with FUA is answered when it is durable, also when it comes again', () => {
    const { rig, client } = begun();
    const write = withFua(client, blocks(2), 7);
    rig.log.hold();
    expect(write.status).toBeNull();
    const path = rig.ask();
    rig.settle();
    const again = withFua(path.client!, blocks(2), 7);
    expect(again.status).toBeNull();
    rig.log.commit();
    expect([write.answers, again.status, again.answers]).toEqual([0, ok, 1]);
  });

  it('waits for the disk while the log there ends in a HEAD: a start would take it for all that there was', () => {
    const { rig, client } = begun();
    rig.controller.endRound(rig.controller.beginRound(true), () => undefined);
    rig.log.hold();
    const [first, second] = [client.write(0, blocks(2)), client.write(BLOCK, blocks(3))];
    rig.log.hold();
    rig.log.commit(1);
    expect([first.status, second.status]).toEqual([null, null]);
    rig.log.commit(1);
    // Behind the HEAD there is an entry now.
    expect([first.status, second.status]).toEqual([ok, ok]);
    const third = client.write(0, blocks(4));
    rig.log.hold();
    expect(third.status).toBe(ok);
  });

  it('has its effect after what was asked before, though that has to be durable', () => {
    const { rig, client } = begun();
    const opening = rig.ask(1, 'a', 1);
    const write = client.write(0, blocks(2));
    rig.log.hold();
    expect([opening.client, write.status]).toEqual([null, null]);
    rig.log.commit(1);
    expect(opening.client).not.toBeNull();
    expect(write.status).toBe(ok);
    expect(client.read(0, BLOCK).content?.[0]).toBe(2);
  });
});

describe('with durability "flush", a FLUSH', () => {
  it('waits until all that was answered before is durable, on whichever session, and for nothing else', () => {
    const { rig, client } = begun();
    const other = rig.open(1, 'a', 1);
    client.write(0, blocks(2));
    rig.log.hold();
    const flushed = flush(other);
    const later = client.write(0, blocks(3));
    rig.log.hold();
    expect([flushed.status, later.status]).toEqual([null, ok]);
    rig.log.commit(1);
    expect(flushed.status).toBe(ok);
    expect(flush(other).status).toBeNull();
    rig.log.commit();
    expect(flush(other).status).toBe(ok);
  });

  it('is not answered on a path that is closed, nor after the disk has failed', () => {
    const { rig, client } = begun();
    const other = rig.open(1, 'a', 1);
    client.write(0, blocks(2));
    rig.log.hold();
    const [closed, failed] = [flush(other), flush(client)];
    other.path.close();
    rig.controller.onLogFailed(-5);
    rig.log.commit();
    expect([closed.answers, failed.answers]).toEqual([0, 0]);
  });

  it('fails once in each session after memory was lost, then all goes on, and a HEAD remembers who has heard', () => {
    const { rig, client } = begun();
    const other = rig.open(1, 'a', 1);
    rig.controller.sessions.memoryLost();
    expect(flush(client).status).toBe(lost);
    expect(flush(client).status).toBe(ok);
    expect(untold(rig)).toEqual([true, true]);
    // Its next request says that it has had the answer.
    client.lowWater = client.clientSeq + 1;
    expect(flush(client).status).toBe(ok);
    expect(untold(rig)).toEqual([false, true]);
    expect(flush(other).status).toBe(lost);
    expect(flush(other).status).toBe(ok);
  });

  it('makes for another HEAD when a loss was told, though nothing is to be drained', () => {
    const { rig, client } = begun();
    rig.controller.sessions.memoryLost();
    rig.controller.endRound(rig.controller.beginRound(true), () => undefined);
    rig.finish();
    expect(rig.controller.isDirty).toBe(false);
    flush(client);
    client.lowWater = client.clientSeq + 1;
    flush(client);
    expect(rig.controller.isDirty).toBe(true);
    rig.controller.endRound(rig.controller.beginRound(true), () => undefined);
    rig.finish();
    expect(rig.controller.isDirty).toBe(false);
    expect(rig.log.entries.at(-1)!.kind).toBe(EntryKind.head);
  });

  it('fails again when the answer that told of the loss may not have come', () => {
    const { rig, client } = begun();
    rig.controller.sessions.memoryLost();
    const told = flush(client);
    expect(told.status).toBe(lost);
    const again = rig.ask().client!;
    again.clientSeq = client.clientSeq;
    expect(flush(again).status).toBe(lost);
    expect(flush(again).status).toBe(ok);
  });
});

/** What a start makes of the HEAD that would be written now. */
function untold(rig: CoreRig): boolean[] {
  const { sessions } = rig.controller.head(0, 0)!;
  expect(() => encodeRecord(rig.controller.head(0, 0)!)).not.toThrow();
  const table = new SessionTable();
  table.restore(sessions);
  return sessions.sessions.map(({ id }) => table.get(id)!.isLossUntold);
}

describe('a session that is opened after memory was lost', () => {
  it.each([
    ['of another datapath of the same attachment: its guest may be the same', 1, 'b', false, true],
    ['of an attachment that is let in beside it: the guest may move there', 2, 'b', true, true],
    ['of a newer attachment: its guest has begun anew', 2, 'b', false, false],
  ])('%s', (_name, generation, datapathUuid, shared, hears) => {
    const { rig } = begun();
    rig.controller.sessions.memoryLost();
    const client = rig.open(generation, datapathUuid, 0, shared);
    expect(flush(client).status).toBe(hears ? lost : ok);
  });
});
