import { describe, expect, it } from 'vitest';
import { ColdTakeover } from '../../../../src/stargate/core/replication/cold-takeover.js';
import type { Group, ReplicaContext } from '../../../../src/stargate/core/replication/effects.js';
import type { MemberId } from '../../../../src/stargate/core/replication/entry.js';
import { COLD_PATIENCE_MS } from '../../../../src/stargate/core/replication/limits.js';
import { Member } from '../../../../src/stargate/core/replication/member.js';
import { recoverLog } from '../../../../src/stargate/core/replication/recovery.js';
import { makeEntry } from '../../../sim/cluster/body.js';

const ids = (...names: string[]): MemberId[] => names as MemberId[];

interface Given {
  readonly self?: string;
  readonly members?: string[];
  readonly current?: string[];
  readonly living?: string[];
  readonly term?: number;
  readonly mayHaveForgotten?: boolean;
  readonly durability?: 'always' | 'flush';
}

class Asked {
  readonly context: ReplicaContext;
  readonly cold: ColdTakeover;

  constructor(readonly given: Given) {
    const { self = 'b/s/1#2', durability = 'flush', mayHaveForgotten = true } = given;
    const config = { historyId: 1, replicationFactor: 3, minMembers: 1, durability, makeEntry, newNonce: () => 'nonce', mutations: {} };
    this.context = { ...config, self: self as MemberId, nowMs: 0, drained: new Set(), removals: new Map(), out: [] };
    this.cold = new ColdTakeover(this.context, new Member(this.context, { ...recoverLog([], false), mayHaveForgotten }));
  }

  at(nowMs: number, living = this.given.living ?? []): ReturnType<ColdTakeover['takeover']> {
    this.context.nowMs = nowMs;
    const { members = ['a/s/1#1', 'b/s/1#1'], current = ['a/s/1#2', 'b/s/1#2'], term = 4 } = this.given;
    const group: Group = {
      epoch: 7,
      term,
      controller: members[0] as MemberId,
      members: ids(...members),
      nonce: 'x',
      historyId: 1,
      lossTerm: 3,
    };
    return this.cold.takeover(group, { current: ids(...current), living });
  }
}

describe('whether a start of a node that has lost its memory takes over', () => {
  it.each<[string, Given, { members: string[]; lossTerm: number } | null]>([
    ['all others have started again: with them, and something may be lost', {}, { members: ['b/s/1#2', 'a/s/1#2'], lossTerm: 8 }],
    ['it has lost nothing: alone, until they have caught up', { mayHaveForgotten: false }, { members: ['b/s/1#2'], lossTerm: 3 }],
    [
      'it has lost nothing, but a start between may have',
      { self: 'b/s/1#3', current: ['a/s/1#2', 'b/s/1#3'], mayHaveForgotten: false },
      { members: ['b/s/1#3', 'a/s/1#2'], lossTerm: 8 },
    ],
    ['another one may have its memory', { current: ['a/s/1#1', 'b/s/1#2'] }, null],
    ['the disk of the other one was replaced', { current: ['a/t/2#1', 'b/s/1#2'] }, { members: ['b/s/1#2'], lossTerm: 8 }],
    ['nobody has served it yet', { term: 0, members: ['a/s/1', 'b/s/1'] }, { members: ['b/s/1#2', 'a/s/1#2'], lossTerm: 3 }],
    ['the record does not name its node', { members: ['a/s/1#1', 'c/s/1#1'] }, null],
    ['changes are durable before they are answered', { durability: 'always' }, null],
  ])('%s', (_name, given, wanted) => {
    expect(new Asked(given).at(0)).toEqual(wanted);
  });

  it('waits for one of which nothing is heard, from when it was last heard of, but not for ever', () => {
    const asked = new Asked({ current: ['a/s/1#1', 'b/s/1#2'] });
    expect(asked.at(0, ['a'])).toBeNull();
    expect(asked.at(5_000, ['a'])).toBeNull();
    expect(asked.at(5_100)).toBeNull();
    expect(asked.at(5_000 + COLD_PATIENCE_MS - 1)).toBeNull();
    expect(asked.at(5_000 + COLD_PATIENCE_MS)).toEqual({ members: ['b/s/1#2'], lossTerm: 8 });
  });
});
