import { describe, expect, it } from 'vitest';
import type { EventDraft } from '../../../../src/base/events.js';
import type { Group } from '../../../../src/stargate/core/replication/effects.js';
import { GroupEvents } from '../../../../src/stargate/runtime/group/group-events.js';
import type { GroupVdisk } from '../../../../src/stargate/runtime/group/group-vdisk.js';
import type { MemberId } from '../../../../src/wire/replicate.js';

const member = (node: string): MemberId => `${node}/store/1` as MemberId;
const groupOf = (epoch: number, ...nodes: string[]): Group => ({ epoch, members: nodes.map(member) }) as unknown as Group;

describe('what is told of a group', () => {
  it('a node that is to have a copy: once for each group, however often it is asked', () => {
    const told: EventDraft[] = [];
    const group = { vdiskId: 'v', group: groupOf(1, 'a'), parts: { events: { emit: (event: EventDraft) => void told.push(event) } } };
    const events = new GroupEvents(group as unknown as GroupVdisk);
    for (const node of ['b', 'c', 'b', 'c']) events.learner(member(node));
    expect(told.map(({ kind, subject, vdiskId }) => [kind, subject, vdiskId])).toEqual([
      ['learner-added', 'b', 'v'],
      ['learner-added', 'c', 'v'],
    ]);
    group.group = groupOf(2, 'a', 'c');
    events.learner(member('b'));
    expect(told.at(-1)).toMatchObject({ kind: 'learner-added', subject: 'b' });
    expect(told.length).toBe(3);
  });
});
