import { describe, expect, it } from 'vitest';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { RequestState, SessionTable } from '../../../src/stargate/core/sessions.js';
import { blocks, CoreRig } from './core-rig.js';

const BLOCK = 4096;
const { ok } = IoStatus;

describe('a change', () => {
  it('is readable, known as committed and answered when it is durable, not before', () => {
    const rig = new CoreRig();
    const client = rig.open();
    const write = client.write(0, blocks(1), 1);
    const session = rig.controller.sessions.get(1)!;
    expect([write.status, session.stateOf(1), rig.controller.index.isEmpty]).toEqual([null, RequestState.inFlight, true]);
    rig.log.commit();
    expect([write.status, session.stateOf(1), rig.controller.index.isEmpty]).toEqual([ok, RequestState.committed, false]);
    expect(write.request.term).toBe(7);
  });

  it('becomes durable after those before it in the log: anything else ends the process', () => {
    const rig = new CoreRig();
    const client = rig.open();
    client.write(0, blocks(1));
    client.write(0, blocks(2));
    const { tag } = rig.log.entries.at(-1)!;
    expect(() => rig.controller.onDurable(tag, 0, 0)).toThrow(/in order/);
  });

  it('may be followed by another one from within its answer', () => {
    const rig = new CoreRig();
    const client = rig.open();
    const first = client.prepare(IoOp.zero, 0, BLOCK, 1);
    let second: ReturnType<typeof client.write> | null = null;
    Object.assign(first.request, { owner: { onReply: () => (second = client.write(0, blocks(2), 2)) } });
    client.path.submit(first.request);
    rig.finish();
    expect(second).toMatchObject({ status: ok, answers: 1 });
    const read = client.read(0, BLOCK);
    expect(read.content?.[0]).toBe(2);
  });
});

describe('a flush', () => {
  it('has nothing to wait for: what was answered is durable, on whichever session, and what was not is not covered', () => {
    const rig = new CoreRig();
    const one = rig.open(1, 'a', 0);
    const other = rig.open(1, 'a', 1);
    one.write(0, blocks(1));
    rig.finish();
    const inFlight = one.write(0, blocks(2));
    expect(other.request(IoOp.flush, 0, 0).status).toBe(ok);
    expect(inFlight.status).toBeNull();
  });
});

describe('the head state', () => {
  it('waits for entries that change the table of sessions', () => {
    const rig = new CoreRig();
    rig.ask();
    expect(rig.controller.head(0, 0)).toBeNull();
    rig.finish();
    expect(rig.controller.head(0, 0)).not.toBeNull();
    rig.controller.closeSession({ vdiskId: 'vdisk', generation: 1, datapathUuid: 'a', shard: 0 }, () => undefined);
    expect(rig.controller.head(0, 0)).toBeNull();
    rig.finish();
    expect(rig.controller.head(0, 0)).not.toBeNull();
  });

  it('is that of the end of the log: what is in it will be committed before the record is', () => {
    const rig = new CoreRig();
    const client = rig.open();
    client.write(0, blocks(1), 1);
    rig.finish();
    client.write(0, blocks(2), 2);
    // The log takes the first of its three parts; the rest, and what is behind, has no place there.
    rig.log.room = 1;
    client.write(9 * BLOCK + 100, new Uint8Array(3 * BLOCK), 3);
    rig.settle();
    client.write(0, blocks(4), 4);
    const head = rig.controller.head(5, 77)!;
    expect(head).toMatchObject({ version: 1, sizeBytes: 4 * 2 ** 30, layer: rig.layer, drainedSeq: 5, drainedHash: 77 });
    const table = new SessionTable();
    table.restore(head.sessions);
    const session = table.get(1)!;
    const { committed, unknown } = RequestState;
    expect([1, 2, 3, 4].map(clientSeq => session.stateOf(clientSeq))).toEqual([committed, committed, unknown, unknown]);
    expect(session.partsBefore(3)).toBe(1);
  });
});

describe('the end', () => {
  it.each([
    ['end', 'closed'],
    ['endPaths', 'fenced'],
    ['stop', 'fenced'],
  ] as const)('%s: the paths end as "%s", and nothing is answered on them any more', (how, reason) => {
    const rig = new CoreRig();
    const opening = rig.ask();
    rig.drained(0, 5, blocks(5), 1);
    rig.finish();
    const client = opening.client!;
    const answers = [client.write(0, blocks(1)), client.write(100, blocks(2).slice(0, 10)), client.read(5 * BLOCK, BLOCK)];
    rig.controller[how]();
    answers.push(client.write(0, blocks(3)), client.read(0, BLOCK));
    rig.finish();
    expect(opening.ended).toBe(reason);
    expect(answers.map(({ status }) => status)).toEqual([null, null, null, null, null]);
    expect(rig.buffers.free()).toEqual([8, 2, 3]);
  });

  it('of the log: outcomes are unknown, so nobody is answered; whoever runs it is told once', () => {
    const rig = new CoreRig();
    const opening = rig.ask();
    rig.finish();
    const write = opening.client!.write(0, blocks(1));
    rig.controller.onLogFailed(-5);
    expect([write.status, opening.ended, rig.failedErrno]).toEqual([null, 'fenced', -5]);
    rig.failedErrno = 0;
    rig.controller.onLogFailed(-28);
    expect(rig.failedErrno).toBe(0);
    expect(rig.ask().refusal).toBe('not-served');
  });

  it('is the state already when a path hears of it: who asks for another one at once is refused', () => {
    for (const how of ['end', 'endPaths', 'stop'] as const) {
      const rig = new CoreRig();
      const refusals: string[] = [];
      const request = { vdiskId: 'vdisk', generation: 1, datapathUuid: 'a', shard: 0 };
      const listener = {
        onOpened: () => undefined,
        onRefused: (reason: string) => void refusals.push(reason),
        onEnded: () => rig.controller.openSession(request, listener),
      };
      rig.controller.openSession(request, listener);
      rig.finish();
      rig.controller[how]();
      expect(refusals).toEqual(['not-served']);
    }
  });
});
