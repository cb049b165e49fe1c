import { describe, expect, it } from 'vitest';
import { IoStatus } from '../../../src/wire/status.js';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { expectBytes } from '../bytes.js';
import { blocks, CoreRig } from './core-rig.js';
import { replayed } from './replayed.js';

describe('opening a session', () => {
  it('is answered when its entry is committed', () => {
    const rig = new CoreRig();
    const opening = rig.ask();
    expect(rig.log.inFlight).toBe(1);
    expect(opening.client === null).toBe(true);
    rig.log.commit();
    expect(opening.client === null).toBe(false);
  });

  it('gives no change of the sessions that it ends a place behind it', () => {
    const rig = new CoreRig();
    const old = rig.open(1, 'a');
    const before = old.write(0, blocks(1));
    const opening = rig.ask(2, 'b');
    const behind = old.write(0, blocks(2));
    rig.finish();
    expect(opening.client === null).toBe(false);
    expect(behind.status).toBeNull();
    // It was in the log before the open: applied, and answered.
    expect(before.status).toBe(IoStatus.ok);
    const read = opening.client!.read(0, 4096);
    rig.finish();
    expectBytes(read.content, blocks(1));
    expect(rig.log.entries.filter(({ kind }) => kind === EntryKind.write)).toHaveLength(1);
  });

  it('(a controller that lets them go on is found)', () => {
    const rig = new CoreRig({ mutations: { applyClosedSessions: true } });
    const old = rig.open(1, 'a');
    const opening = rig.ask(2, 'b');
    old.write(0, blocks(2));
    rig.finish();
    const read = opening.client!.read(0, 4096);
    rig.finish();
    expectBytes(read.content, blocks(2));
  });

  it('drops what the sessions that it ends have waiting', () => {
    const rig = new CoreRig();
    const old = rig.open(1, 'a');
    const first = old.write(0, blocks(1));
    // Waits for the block's commit, and the whole one behind it.
    const partial = old.write(100, new Uint8Array(10).fill(2));
    const waiting = old.write(4096, blocks(3));
    rig.ask(2, 'b');
    rig.finish();
    expect([first.status, partial.status, waiting.status]).toEqual([IoStatus.ok, null, null]);
    expect(rig.log.entries.filter(({ kind }) => kind === EntryKind.write || kind === EntryKind.fullImage)).toHaveLength(1);
  });

  it('drops what waits of all of them at once: none takes the place that another one has left', () => {
    const rig = new CoreRig();
    const [one, other] = [rig.open(1, 'a', 0), rig.open(1, 'a', 1)];
    const first = one.write(0, blocks(1));
    // Holds up what comes behind it, until its block is committed.
    const partial = one.write(100, new Uint8Array(10).fill(2));
    const behind = other.write(4096, blocks(3));
    const opening = rig.ask(2, 'b');
    rig.finish();
    expect([first.status, partial.status, behind.status]).toEqual([IoStatus.ok, null, null]);
    const read = opening.client!.read(4096, 4096);
    rig.finish();
    expectBytes(read.content, blocks(0));
  });

  it('ends the paths of the sessions that it ends when it is committed, not before', () => {
    const rig = new CoreRig();
    const old = rig.ask(1, 'a');
    rig.finish();
    rig.ask(2, 'b');
    expect(old.ended).toBeNull();
    rig.log.commit();
    expect(old.ended).toBe('closed');
  });

  it('on another connection tells the former one that it is over: the network may have held the later one up', () => {
    const rig = new CoreRig();
    const former = rig.ask(1, 'a');
    rig.finish();
    const other = rig.ask(1, 'a', 1);
    rig.finish();
    const again = rig.ask(1, 'a');
    rig.finish();
    expect([former.ended, other.ended, again.ended]).toEqual(['fenced', null, null]);
    const write = again.client!.write(0, blocks(1));
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
  });

  it.each([
    ['a newer and an older generation', { generation: 2, datapathUuid: 'b' }, { generation: 1, datapathUuid: 'a' }],
    ['two datapaths of one generation', { generation: 2, datapathUuid: 'a' }, { generation: 2, datapathUuid: 'b' }],
    ['the same session twice', { generation: 2, datapathUuid: 'a' }, { generation: 2, datapathUuid: 'a' }],
    ['an older and a newer generation', { generation: 1, datapathUuid: 'a' }, { generation: 2, datapathUuid: 'b' }],
  ])('leaves the table that a replay of the log leaves, with %s at once', (_name, first, second) => {
    const rig = new CoreRig();
    for (const { generation, datapathUuid } of [first, second, first]) rig.ask(generation, datapathUuid);
    rig.finish();
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it('is refused while the log is full, and changes nothing then', () => {
    const rig = new CoreRig();
    const old = rig.open(1, 'a');
    rig.log.room = 0;
    expect(rig.ask(2, 'b').refusal).toBe('busy');
    rig.log.free();
    const write = old.write(0, blocks(1));
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
  });

  it('gives up the path that the session had, and answers its requests on the new one', () => {
    const rig = new CoreRig();
    const first = rig.open();
    const lost = first.write(0, blocks(1), 1);
    const again = rig.ask();
    const replay = again.client!.write(0, blocks(1), 1);
    rig.finish();
    expect(lost.status).toBeNull();
    expect(replay).toMatchObject({ status: IoStatus.ok, answers: 1 });
    expect(rig.log.entries.filter(({ kind }) => kind === EntryKind.write)).toHaveLength(1);
  });

  it.each(['end', 'endPaths', 'stop'] as const)('is refused after %s, also when it waits or is in flight', how => {
    const rig = new CoreRig();
    const inFlight = rig.ask(1, 'a');
    const waiting = rig.ask(1, 'a', 1);
    rig.controller[how]();
    rig.finish();
    expect(waiting.refusal).toBe('not-served');
    expect(rig.ask(1, 'a', 2).refusal).toBe('not-served');
    // Answered in each case: who waits for it asks this node nothing else meanwhile, and it may be the next one to serve the vdisk.
    expect(inFlight.refusal).toBe('not-served');
    expect(inFlight.answers).toBe(1);
  });
});

describe('closing a session', () => {
  const identity = { vdiskId: 'vdisk', generation: 1, datapathUuid: 'a', shard: 0 };

  it('ends it when its entry is committed, and applies nothing of it that had no place in the log', () => {
    const rig = new CoreRig();
    const client = rig.open();
    client.write(0, blocks(1));
    client.write(100, new Uint8Array(10).fill(2));
    let done = 0;
    rig.controller.closeSession(identity, () => done++);
    client.write(0, blocks(3));
    expect(done).toBe(0);
    rig.finish();
    expect(done).toBe(1);
    expect(rig.controller.sessions.size).toBe(0);
    expect(rig.log.entries.map(({ kind }) => kind)).toEqual([EntryKind.sessionOpen, EntryKind.write, EntryKind.sessionClose]);
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it('leaves no path of it behind when it is opened again meanwhile: that is another session', () => {
    const rig = new CoreRig();
    rig.open();
    rig.controller.closeSession(identity, () => undefined);
    const again = rig.ask();
    expect(again.client === null).toBe(true);
    rig.finish();
    const write = again.client!.write(0, blocks(1));
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
    const { sessionId } = rig.log.entries.at(-1)!;
    expect(rig.controller.sessions.get(sessionId)).toBeDefined();
    expect(
      replayed(rig)
        .record()
        .sessions.map(({ id }) => id),
    ).toEqual([sessionId]);
  });

  it('takes nothing of it from the moment it is asked for, also while another change of the table goes first', () => {
    const rig = new CoreRig();
    const client = rig.open();
    rig.ask(1, 'a', 1);
    let done = 0;
    rig.controller.closeSession(identity, () => done++);
    const write = client.write(0, blocks(1));
    expect(rig.log.inFlight).toBe(1);
    rig.finish();
    expect([write.status, done, rig.controller.sessions.size]).toEqual([null, 1, 1]);
  });

  it('is done at once when there is nothing to close, or no room in the log', () => {
    const rig = new CoreRig();
    let done = 0;
    rig.controller.closeSession(identity, () => done++);
    expect(done).toBe(1);
    rig.open();
    rig.log.room = 0;
    rig.controller.closeSession(identity, () => done++);
    expect(done).toBe(2);
  });
});
