import { describe, expect, it } from 'vitest';
import { EntryKind } from '../../../src/stargate/core/ports.js';
import { SessionTable, type SessionIdentity } from '../../../src/stargate/core/sessions.js';
import { IoOp } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import { expectBytes } from '../bytes.js';
import { blocks, CoreRig } from './core-rig.js';
import { replayed } from './replayed.js';

const SHARED = true;

/** Rule 18 at one controller: a holds the vdisk with generation 1, b comes beside it with generation 2. */
describe('a shared attachment', () => {
  it('is let in beside the one that holds the vdisk, by an entry before its session', () => {
    const rig = new CoreRig();
    const a = rig.open(1, 'a');
    a.write(0, blocks(1));
    const b = rig.open(2, 'b', 0, SHARED);
    const kinds = rig.log.entries.map(({ kind }) => kind);
    expect(kinds).toEqual([EntryKind.sessionOpen, EntryKind.write, EntryKind.attachMode, EntryKind.sessionOpen]);
    const write = a.write(4096, blocks(2));
    rig.finish();
    const read = b.read(0, 8192);
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
    expectBytes(read.content, blocks(1, 2));
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it.each([IoOp.zero, IoOp.trim])('may not write (op %s): one of the two does', op => {
    const rig = new CoreRig();
    rig.open(1, 'a').write(0, blocks(1));
    const b = rig.open(2, 'b', 0, SHARED);
    const [write, other] = [b.write(0, blocks(9)), b.request(op, 0, 4096)];
    const read = b.read(0, 4096);
    rig.finish();
    expect([write.status, other.status]).toEqual([IoStatus.readOnly, IoStatus.readOnly]);
    expectBytes(read.content, blocks(1));
  });

  it('activated, holds the vdisk alone: what the other had in the log is answered, what comes later is not applied', () => {
    const rig = new CoreRig();
    const old = rig.ask(1, 'a');
    rig.finish();
    const a = old.client!;
    rig.open(2, 'b', 0, SHARED);
    const before = a.write(0, blocks(1));
    const activation = rig.ask(2, 'b');
    const behind = a.write(0, blocks(3));
    expect(old.ended).toBeNull();
    rig.finish();
    expect([before.status, behind.status, old.ended]).toEqual([IoStatus.ok, null, 'closed']);
    expect(rig.ask(1, 'a').refusal).toBe('closed');
    expect(rig.ask(1, 'a', 1).refusal).toBe('closed');
    const write = activation.client!.write(4096, blocks(2));
    const read = activation.client!.read(0, 8192);
    rig.finish();
    const after = activation.client!.read(0, 8192);
    rig.finish();
    expect([write.status, read.status]).toEqual([IoStatus.ok, IoStatus.ok]);
    expectBytes(after.content, blocks(1, 2));
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it('is activated once, however often and from however many shards it is asked for', () => {
    const rig = new CoreRig();
    rig.open(1, 'a');
    for (const shard of [0, 1]) rig.open(2, 'b', shard, SHARED);
    const openings = [0, 1, 0].map(shard => rig.ask(2, 'b', shard));
    rig.finish();
    expect(openings.map(({ client, refusal }) => [client === null, refusal])).toEqual([
      [false, null],
      [false, null],
      [false, null],
    ]);
    // A shard that has not heard of it yet asks as before: the attachment holds the vdisk all the same.
    const late = rig.open(2, 'b', 0, SHARED).write(0, blocks(1));
    rig.finish();
    expect(late.status).toBe(IoStatus.ok);
    expect(rig.log.entries.filter(({ kind }) => kind === EntryKind.attachMode)).toHaveLength(2);
    expect(rig.controller.sessions.isShared).toBe(false);
  });

  it('of which the last session is closed leaves the other one alone again, and may come back', () => {
    const rig = new CoreRig();
    const a = rig.open(1, 'a');
    for (const shard of [0, 1]) rig.open(2, 'b', shard, SHARED);
    const close = (shard: number): void => {
      rig.controller.closeSession({ vdiskId: 'vdisk', generation: 2, datapathUuid: 'b', shard }, () => undefined);
      rig.finish();
    };
    close(0);
    expect(rig.controller.sessions.isShared).toBe(true);
    close(1);
    expect(rig.controller.sessions.isShared).toBe(false);
    const write = a.write(0, blocks(1));
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
    expect(rig.ask(2, 'b', 0, SHARED).refusal).toBeNull();
    rig.finish();
    expect(rig.controller.sessions.isShared).toBe(true);
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it('is the only one that the other opens of the holder leave: a restarted datapath, another shard', () => {
    const rig = new CoreRig();
    const before = rig.ask(1, 'a');
    rig.finish();
    const b = rig.ask(2, 'b', 0, SHARED);
    rig.finish();
    rig.open(1, 'a', 1);
    expect(before.ended).toBeNull();
    const restarted = rig.open(1, 'new a');
    expect([before.ended, b.ended]).toEqual(['closed', null]);
    const write = restarted.write(0, blocks(1));
    rig.finish();
    expect(write.status).toBe(IoStatus.ok);
  });

  it('ends with a newer exclusive attachment, as the holder does; an older one leaves it', () => {
    const rig = new CoreRig();
    const [a, b] = [rig.ask(1, 'a'), rig.ask(5, 'b', 0, SHARED)];
    rig.finish();
    rig.open(3, 'c');
    expect([a.ended, b.ended]).toEqual(['closed', null]);
    rig.open(7, 'd');
    expect(b.ended).toBe('closed');
    expect(rig.controller.sessions.isShared).toBe(false);
  });

  it('asked for at the same time by two: the newer one stays', () => {
    const rig = new CoreRig();
    rig.open(1, 'a');
    const [older, newer] = [rig.ask(2, 'b', 0, SHARED), rig.ask(3, 'c', 0, SHARED)];
    rig.finish();
    expect([older.ended, newer.client === null]).toEqual(['closed', false]);
    expect(rig.ask(2, 'b', 0, SHARED).refusal).toBe('closed');
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it.each([
    ['the activation goes first', [2, 1], ['b']],
    ['the reconnect goes first', [1, 2], ['b']],
  ])('while the holder reconnects: %s, and one of them is left', (_name, order, left) => {
    const rig = new CoreRig();
    rig.open(1, 'a');
    rig.open(2, 'b', 0, SHARED);
    for (const generation of order) rig.ask(generation, generation === 1 ? 'a' : 'b');
    rig.finish();
    expect(rig.controller.sessions.record().sessions.map(({ datapathUuid }) => datapathUuid)).toEqual(left);
    expect(replayed(rig).record()).toEqual(rig.controller.sessions.record());
  });

  it('is in the head: none is written while its entry is in flight', () => {
    const rig = new CoreRig();
    rig.open(1, 'a');
    rig.ask(2, 'b', 0, SHARED);
    expect(rig.controller.head(0, 0)).toBeNull();
    rig.finish();
    const table = new SessionTable();
    table.restore(rig.controller.head(0, 0)!.sessions);
    expect(table.isShared).toBe(true);
    expect(table.record()).toEqual(rig.controller.sessions.record());
  });
});

describe('a read of a shared vdisk', () => {
  const rigOf = (options = {}): CoreRig => {
    const rig = new CoreRig({ isReplicated: true, ...options });
    rig.open(1, 'a').write(0, blocks(1));
    rig.finish();
    return rig;
  };

  it.each([IoOp.read, IoOp.map])('waits until all members have confirmed the term after it has come (op %s)', op => {
    const rig = rigOf();
    const b = rig.open(2, 'b', 0, SHARED);
    const read = b.request(op, 0, 4096);
    rig.finish();
    expect([read.status, rig.rounds]).toEqual([null, 1]);
    rig.controller.onConfirmBegun();
    const late = b.request(op, 0, 4096);
    rig.controller.onConfirmed();
    rig.settle();
    expect([read.status, late.status, rig.rounds]).toEqual([IoStatus.ok, null, 2]);
    rig.confirm();
    expect([late.status, rig.rounds]).toEqual([IoStatus.ok, 2]);
  });

  it('(a controller that does not ask is found)', () => {
    const rig = rigOf({ mutations: { sharedReadUnconfirmed: true } });
    const read = rig.open(2, 'b', 0, SHARED).read(0, 4096);
    rig.finish();
    expect([read.status, rig.rounds]).toEqual([IoStatus.ok, 0]);
  });

  it('is one of a batch: those that come before a round begins share it', () => {
    const rig = rigOf();
    const clients = [rig.open(1, 'a', 1), rig.open(2, 'b', 0, SHARED)];
    const reads = clients.flatMap(client => [client.read(0, 4096), client.read(0, 4096)]);
    rig.confirm();
    expect([reads.map(({ status }) => status), rig.rounds]).toEqual([[0, 0, 0, 0], 1]);
  });

  it('sees what was committed while it waited', () => {
    const rig = rigOf();
    const [a, b] = [rig.open(1, 'a', 1), rig.open(2, 'b', 0, SHARED)];
    const read = b.read(0, 4096);
    a.write(0, blocks(7));
    rig.finish();
    rig.confirm();
    expectBytes(read.content, blocks(7));
  });

  it('is nobody’s when its path has gone meanwhile', () => {
    const rig = rigOf();
    const b = rig.open(2, 'b', 0, SHARED);
    const read = b.read(0, 4096);
    b.path.close();
    rig.confirm();
    expect(read.answers).toBe(0);
  });

  it('is answered at once when the vdisk is shared no longer', () => {
    const rig = rigOf();
    rig.open(2, 'b', 0, SHARED);
    const read = rig.open(2, 'b').read(0, 4096);
    rig.finish();
    expect([read.status, rig.rounds]).toEqual([IoStatus.ok, 0]);
  });
});

describe('the table of sessions, shared', () => {
  const id = (generation: number, shared = false): SessionIdentity => ({ generation, datapathUuid: `of ${generation}`, shard: 0, shared });

  it.each([
    ['an exclusive open: the open says it all', id(2), null],
    ['a shared one', id(4, SHARED), { generation: 4, mode: 'shared' }],
    ['the shared one again', id(3, SHARED), null],
    ['the shared one, exclusively', id(3), { generation: 3, mode: 'exclusive' }],
    ['an older one', id(2, SHARED), null],
    ['the holder', id(1), null],
    ['the holder, that asks as it was let in', id(1, SHARED), null],
  ])('%s', (_name, request, mode) => {
    const table = new SessionTable();
    table.open(1, id(1));
    table.setMode({ generation: 3, mode: 'shared' });
    expect(table.modeBefore(request)).toEqual(mode);
  });

  it('takes nothing from a change of mode that comes too late', () => {
    const table = new SessionTable();
    table.open(1, id(5));
    table.setMode({ generation: 6, mode: 'shared' });
    table.open(2, id(6));
    const before = table.record();
    for (const generation of [1, 5, 6]) expect(table.setMode({ generation, mode: 'shared' })).toEqual([]);
    for (const generation of [1, 5, 7]) expect(table.setMode({ generation, mode: 'exclusive' })).toEqual([]);
    expect(table.record()).toEqual(before);
  });
});
