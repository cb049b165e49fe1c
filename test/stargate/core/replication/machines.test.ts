import { describe, expect, it } from 'vitest';
import type { Effect, Group, RecoveredLog, ReplicaContext } from '../../../../src/stargate/core/replication/effects.js';
import { commonSeq, type Entry, type MemberId, EMPTY_BASE } from '../../../../src/stargate/core/replication/entry.js';
import { GroupChange } from '../../../../src/stargate/core/replication/group-change.js';
import { Member } from '../../../../src/stargate/core/replication/member.js';
import type { Message } from '../../../../src/stargate/core/replication/messages.js';
import { Replica } from '../../../../src/stargate/core/replication/replica.js';
import { recoverLog } from '../../../../src/stargate/core/replication/recovery.js';
import { makeEntry, taggedBody } from '../../../sim/cluster/body.js';
import { describeEffect } from '../../../sim/cluster/describe.js';

const [a, b, c, d] = ['a', 'b', 'c', 'd'] as MemberId[] as [MemberId, MemberId, MemberId, MemberId];

function context(): ReplicaContext {
  let nonces = 0;
  const newNonce = (): string => `nonce-${++nonces}`;
  return {
    self: b,
    historyId: 1,
    replicationFactor: 3,
    minMembers: 1,
    makeEntry,
    newNonce,
    mutations: {},
    nowMs: 0,
    drained: new Set(),
    removals: new Map(),
    out: [],
  };
}

/** Entries of the given terms, each after the one before. */
function chain(...terms: number[]): Entry[] {
  const entries: Entry[] = [];
  for (const term of terms)
    entries.push(makeEntry(entries.length + 1, term, entries.at(-1)?.hash ?? 0, taggedBody(`e${entries.length + 1}`)));
  return entries;
}

const told = (out: Effect[]): string[] => out.splice(0).map(describeEffect);

describe('how far two logs are equal', () => {
  const run = (creationTerm: number, lastSeq: number) => ({ creationTerm, lastSeq });
  it.each([
    ['both are empty', [], [], 0],
    ['one is empty', [run(1, 3)], [], 0],
    ['one is the beginning of the other', [run(1, 3)], [run(1, 5)], 3],
    ['they part with a term', [run(1, 3), run(2, 6)], [run(1, 5)], 3],
    ['they part within one that both went on from', [run(1, 3), run(3, 9)], [run(1, 3), run(2, 7)], 3],
    ['they have nothing in common', [run(2, 4)], [run(1, 4)], 0],
  ])('%s', (_name, one, other, seq) => {
    expect(commonSeq(one, other)).toBe(seq);
    expect(commonSeq(other, one)).toBe(seq);
  });
});

describe('recovery', () => {
  const records = (...list: (Entry | number)[]) =>
    list.map(one => ({
      record: typeof one === 'number' ? ({ kind: 'cut', afterSeq: one } as const) : ({ kind: 'entry', entry: one } as const),
      committedHeard: 0,
    }));
  const old = chain(1, 1, 1);
  const next = makeEntry(2, 2, old[0]!.hash, taggedBody('other'));

  it('a cut takes back what stands before it', () => {
    const { entries } = recoverLog(records(...old, 1, next), false);
    expect(entries).toEqual([old[0], next]);
  });

  it('an entry that does not follow ends the chain', () => {
    expect(recoverLog(records(...old, next), false).entries).toEqual(old);
    expect(recoverLog(records(old[0]!, old[2]!, old[1]!), false).entries).toEqual([old[0]]);
  });
});

describe('member', () => {
  const [e1, e2, e3] = chain(2, 2, 2) as [Entry, Entry, Entry];
  const other = makeEntry(1, 1, 0, taggedBody('other'));
  const seal = (term: number, from = a, attempt = 1): Message => ({ kind: 'seal', from, term, history: 1, nonce: `t${term}`, attempt });
  const append = (term: number, ...entries: Entry[]): Message => ({
    kind: 'append',
    from: a,
    term,
    entries,
    committed: 0,
    committedHash: 0,
  });

  /** A member that has promised term 2 to a, with these entries on its disk. */
  function member(...entries: Entry[]): { readonly member: Member; readonly out: Effect[] } {
    const promise = { term: 2, controller: a, nonce: 't2' };
    const recovered: RecoveredLog = { base: EMPTY_BASE, committedSeq: 0, entries, promise, committedHeard: 0, isTorn: false };
    const shared = context();
    return { member: new Member(shared, recovered), out: shared.out };
  }

  const confirm = (term: number, from = a): Message => ({ kind: 'confirm', from, term, round: 5 });

  it.each([
    ['asked whether its term stands: it does', [e1], confirm(2), ['-> a: confirmed t2 round=5']],
    ['asked for a term that is over: fenced', [e1], confirm(1), ['-> a: fenced t2']],
    ['asked for a term not promised: a seal first', [e1], confirm(3), ['-> a: needSeal t2']],
    ['asked for a term promised to another: nothing', [e1], confirm(2, c), []],
    ['the next entry is stored, and not acknowledged yet', [e1], append(2, e2), [expect.stringMatching('persist #1 2/t2')]],
    ['of a term that is over: fenced', [e1], append(1, e2), ['-> a: fenced t2']],
    ['of a term not promised: a seal first', [e1], append(3, e2), ['-> a: needSeal t2']],
    ['behind a gap: does not fit', [e1], append(2, e3), ['-> a: appendAck t2 durable=1 tail=1 does not fit']],
    ['sent again: acknowledged', [e1], append(2, e1), ['-> a: appendAck t2 durable=1 tail=1']],
    ['another one under a known number: does not fit', [other], append(2, e1), ['-> a: appendAck t2 durable=1 tail=1 does not fit']],
    ['upon another predecessor: does not fit', [other], append(2, e2), ['-> a: appendAck t2 durable=1 tail=1 does not fit']],
    ['an equal term of another controller: alarm', [], seal(2, c), ['ALARM equal-term: c and a both claim term 2']],
    ['a seal of a term that is over: fenced', [], seal(1), ['-> a: fenced t2']],
    ['a seal of a higher term: stored before it is answered', [], seal(3, c), ['persist #1 promise t3 to c']],
  ])('%s', (_name, entries, message, effects) => {
    const { member: one, out } = member(...entries);
    one.step(message);
    expect(told(out)).toEqual(effects);
  });

  it('a seal is a barrier: no ack of the older term leaves after it, and it waits for what was accepted', () => {
    const { member: one, out } = member(e1);
    one.step(append(2, e2));
    one.step(seal(3, c));
    told(out);
    one.durable(1);
    expect(told(out)).toEqual([]);
    one.durable(2);
    expect(told(out)).toEqual(['-> c: sealReply t3 attempt=1 log=..2/t2 heard=0']);
  });

  it('confirms a term neither while its promise is under way, nor when a higher one is', () => {
    const { member: one, out } = member(e1);
    one.step(seal(3, c));
    told(out);
    one.step({ kind: 'confirm', from: c, term: 3, round: 1 });
    expect(told(out)).toEqual([]);
    one.step(confirm(2));
    expect(told(out)).toEqual(['-> a: fenced t3']);
    one.durable(1);
    told(out);
    one.step({ kind: 'confirm', from: c, term: 3, round: 1 });
    expect(told(out)).toEqual(['-> c: confirmed t3 round=1']);
  });

  it('a cut of a log that ends elsewhere cuts nothing', () => {
    const { member: one, out } = member(e1, e2);
    const cut = { kind: 'cut', from: a, term: 2, tailSeq: 2, afterSeq: 1, afterHash: e1.hash } as const;
    one.step({ ...cut, tailHash: e3.hash });
    expect(told(out)).toEqual(['-> a: appendAck t2 durable=2 tail=2']);
    one.step({ ...cut, tailHash: e2.hash });
    expect(told(out)).toEqual(['persist #1 cut after 1', '-> a: appendAck t2 durable=1 tail=1']);
  });

  it('a failed disk acknowledges nothing any more', () => {
    const { member: one, out } = member(e1);
    one.step(append(2, e2));
    one.ioFailed();
    told(out);
    one.durable(1);
    one.step(append(2, e1));
    one.step(seal(3, c));
    expect(told(out)).toEqual([]);
  });
});

describe('a change of the record', () => {
  const group: Group = { epoch: 4, term: 2, controller: b, members: [a, b, c], nonce: 'n4', historyId: 1 };
  const propose = (members: readonly MemberId[], change: 'add' | 'remove'): { changes: GroupChange; shared: ReplicaContext } => {
    const shared = context();
    const changes = new GroupChange(shared, group);
    changes.propose(change, { ...group, members });
    return { changes, shared };
  };

  it.each([
    ['remove, unknown: the removed one is needed', [b, c], 'remove', [a, b, c]],
    ['add, unknown: the new one is needed too', [a, b, c, d], 'add', [a, b, c, d]],
  ] as const)('%s', (_name, members, change, needed) => {
    const { changes } = propose(members, change);
    expect(changes.result('nonce-1', { kind: 'unknown' })).toBe('unknown');
    expect([...changes.commitSet].sort()).toEqual(needed);
    expect(changes.allows('propose')).toBe(false);
    expect(changes.result('nonce-1', { kind: 'applied' })).toBe('won');
    expect(changes.commitSet).toEqual(members);
  });

  it('the nonce says whose a record is, not the name in it', () => {
    const { changes } = propose([b, c], 'remove');
    const refused = (nonce: string) => ({ kind: 'refused', group: { ...group, epoch: 5, nonce } }) as const;
    expect(propose([b, c], 'remove').changes.result('nonce-1', refused('nonce-1'))).toBe('won');
    expect(changes.result('nonce-1', refused('of an earlier life'))).toBe('lost');
  });

  it('a record of long ago says nothing', () => {
    const { changes } = propose([b, c], 'remove');
    expect(changes.result('nonce-1', { kind: 'refused', group })).toBe('unknown');
  });

  it('the same proposal is issued again until its outcome is known', () => {
    const { changes, shared } = propose([b, c], 'remove');
    const first = shared.out.splice(0);
    shared.nowMs = 200;
    changes.tick();
    expect(shared.out.splice(0)).toEqual(first);
    changes.result('nonce-1', { kind: 'applied' });
    shared.nowMs = 400;
    changes.tick();
    expect(shared.out).toEqual([]);
  });
});

describe('a controller that is about to stop is left out by its successor', () => {
  const entries = chain(2, 2);
  const holds = { committed: 2, committedHash: entries[1]!.hash };
  it.each([
    ['where enough are left', 2, { from: a, isLeaving: true, ...holds }, [b, c]],
    ['not where too few are', 3, { from: a, isLeaving: true, ...holds }, [a, b, c]],
    ['not while it goes on', 1, { from: a, isLeaving: false, ...holds }, [a, b, c]],
    ['not if it has committed what is missing here', 1, { from: a, isLeaving: true, committed: 3, committedHash: 9 }, [a, b, c]],
    ['not if its log is another one', 1, { from: a, isLeaving: true, committed: 2, committedHash: 9 }, [a, b, c]],
    ['not if another one has asked than the record names', 1, { from: c, isLeaving: true, ...holds }, [a, b, c]],
  ])('%s', (_name, minMembers, standIn, members) => {
    const recovered: RecoveredLog = {
      base: EMPTY_BASE,
      entries,
      committedSeq: 0,
      promise: { term: 2, controller: a, nonce: 'n' },
      committedHeard: 0,
      isTorn: false,
    };
    const replica = new Replica({ ...context(), minMembers }, recovered);
    replica.step({ kind: 'message', message: { kind: 'standIn', term: 2, ...standIn } });
    const group: Group = { epoch: 2, term: 2, controller: a, members: [a, b, c], nonce: 'n', historyId: 1 };
    const [cas] = replica.step({ kind: 'group', readId: 1, group });
    expect(cas).toMatchObject({ kind: 'cas', expectedEpoch: 2, group: { controller: b, members } });
  });
});

describe('a history of the vdisk that is over (rule 11)', () => {
  const recoveredWith = (entries: Entry[], isTorn = false): RecoveredLog => ({
    ...{ base: EMPTY_BASE, committedSeq: 1, entries, committedHeard: 1, isTorn },
    promise: { term: 2, controller: a, nonce: 't2' },
  });
  const seal = (history: number): Message => ({ kind: 'seal', from: a, term: 9, history, nonce: 't9', attempt: 1 });
  const record = (historyId: number): Group => ({ epoch: 9, term: 9, controller: b, members: [b], nonce: 't9', historyId });

  it('has no part in the next one: no promise is made, no term is wanted', () => {
    const replica = new Replica(context(), recoveredWith(chain(2, 2)));
    expect(replica.step({ kind: 'message', message: seal(2) })).toEqual([]);
    replica.step({ kind: 'takeOver', insteadOf: 'b' });
    expect(replica.step({ kind: 'group', readId: 1, group: record(2) })).toEqual([]);
    expect(replica.takeover.state.kind).toBe('idle');
  });

  it('is deaf when it has ended, all that is durable counts as committed, and it goes on in the next one behind another base', () => {
    const replica = new Replica(context(), recoveredWith(chain(2, 2), true));
    expect(told(replica.step({ kind: 'endHistory' }))).toEqual([]);
    expect(replica.member.committedSeq).toBe(2);
    expect(replica.step({ kind: 'message', message: seal(1) })).toEqual([]);
    expect(replica.step({ kind: 'takeOver', insteadOf: 'b' })).toEqual([]);
    replica.beginHistory(2, { seq: 1_000, hash: 5, term: 2 });
    expect(replica.step({ kind: 'message', message: seal(1) })).toEqual([]);
    replica.step({ kind: 'takeOver', insteadOf: 'b' });
    const [cas] = replica.step({ kind: 'group', readId: 1, group: record(2) });
    expect(cas).toMatchObject({ kind: 'cas', group: { epoch: 10, term: 10, members: [b], historyId: 2 } });
    replica.step({ kind: 'casResult', nonce: 'nonce-1', outcome: { kind: 'applied' } });
    replica.step({ kind: 'durable', ticket: 1 });
    // Its tail was torn, and there is nobody left to compare with.
    expect([replica.takeover.state.kind, replica.member.log.lastSeq]).toEqual(['serving', 1_000]);
  });

  it('gives up what is not known to be committed, before the extents of another one take its place', () => {
    const recovered = recoveredWith(chain(2, 2));
    const replica = new Replica(context(), recovered);
    expect(told(replica.step({ kind: 'cutTail' }))).toEqual(['persist #1 cut after 1']);
    expect(replica.member.log.lastSeq).toBe(1);
    expect(told(replica.step({ kind: 'cutTail' }))).toEqual([]);
  });

  it('ends the office of its controller', () => {
    const replica = new Replica({ ...context(), replicationFactor: 2 }, recoveredWith(chain(2)));
    replica.step({ kind: 'takeOver', insteadOf: 'b' });
    replica.step({ kind: 'group', readId: 1, group: { ...record(1), epoch: 2, term: 2 } });
    replica.step({ kind: 'casResult', nonce: 'nonce-1', outcome: { kind: 'applied' } });
    replica.step({ kind: 'durable', ticket: 1 });
    expect(replica.takeover.state.kind).toBe('serving');
    const out = replica.step({ kind: 'endHistory' });
    expect(out.some(({ kind }) => kind === 'resigned')).toBe(true);
    expect(replica.takeover.state.kind).toBe('idle');
  });
});
