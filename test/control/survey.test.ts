import { describe, expect, it } from 'vitest';
import type { NodeView, ServedView } from '../../src/control/schemas.js';
import { vdiskFacts, type Survey } from '../../src/control/survey.js';
import type { ContainerRecord, GroupRecord, VdiskRecord } from '../../src/meta/model.js';

const STORE = 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111';
const ID = 'c0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a333';
const vdisk: VdiskRecord = { id: ID, name: 'v', container: 'c', sizeBytes: 4096, historyId: 1, createdAt: 'then', deleting: false };
const SERVED = { vdiskId: ID, allocatedBytes: 7, sessions: 1 };

interface World {
  /** Of the container. */
  readonly copies: 1 | 2 | 3;
  /** The controller first. */
  readonly members: readonly string[];
  readonly silent?: readonly string[];
  readonly serving?: string;
  /** Nodes that said what they serve. */
  readonly said: readonly string[];
  readonly problem?: string;
}

function world({ copies, members, silent = [], serving, said, problem }: World): Survey {
  const node = (id: string): NodeView => ({
    ...{ id, alive: !silent.includes(id), storeUuid: STORE, incarnation: 1, faultDomain: null, unix: '', tcp: null, control: null },
    ...{ shards: 2, streams: 2, freeBytes: 1, totalBytes: 1, vdisks: 1, controls: 1 },
  });
  const group: GroupRecord = {
    ...{ vdiskId: ID, epoch: 2, term: 2, controller: members[0]!, nonce: STORE, generation: 0 },
    members: members.map(one => ({ node: one, storeUuid: STORE, incarnation: 1 })),
  };
  const container: ContainerRecord = { name: 'c', replicationFactor: copies, minMembers: 1, durability: 'always', createdAt: 'then' };
  const served = (id: string): ServedView => ({
    node: id,
    vdisks: id === serving ? [SERVED] : [],
    problems: problem === undefined ? [] : [{ vdiskId: ID, message: problem }],
  });
  return {
    self: 'a',
    nodes: ['a', 'b', 'c'].map(node),
    vdisks: [vdisk],
    groups: new Map([[ID, group]]),
    containers: new Map([['c', container]]),
    served: new Map(said.map(id => [id, served(id)])),
  };
}

describe('the health of a vdisk', () => {
  it.each<[string, World, 'healthy' | 'degraded' | 'unavailable', string | null]>([
    ['served here', { copies: 1, members: ['a'], serving: 'a', said: ['a'] }, 'healthy', null],
    ['not served here', { copies: 1, members: ['a'], said: ['a'] }, 'unavailable', 'its node does not serve it, or did not say so in time'],
    ['refused here', { copies: 1, members: ['a'], said: ['a'], problem: 'its log is damaged' }, 'unavailable', 'its log is damaged'],
    ['served by another node', { copies: 1, members: ['b'], serving: 'b', said: ['a', 'b'] }, 'healthy', null],
    ['not served by it', { copies: 1, members: ['b'], said: ['a', 'b'] }, 'unavailable', 'b does not serve it, or did not say so in time'],
    ['of a node that cannot be asked, and lives', { copies: 1, members: ['b'], said: ['a'] }, 'healthy', null],
    ['of a silent node', { copies: 1, members: ['b'], silent: ['b'], said: ['a'] }, 'unavailable', 'b, with its data, does not answer'],
    ['with all its copies', { copies: 3, members: ['b', 'a', 'c'], serving: 'b', said: ['a', 'b', 'c'] }, 'healthy', null],
    [
      'of a group that has become smaller',
      { copies: 3, members: ['b', 'c'], serving: 'b', said: ['b'] },
      'degraded',
      'kept on 2 of 3 nodes now',
    ],
    [
      'with a silent member',
      { copies: 3, members: ['b', 'a', 'c'], silent: ['c'], serving: 'b', said: ['b'] },
      'degraded',
      'kept on 2 of 3 nodes now: c does not answer',
    ],
    [
      'with a silent controller',
      { copies: 2, members: ['b', 'a'], silent: ['b'], said: ['a'] },
      'degraded',
      'its controller b does not answer; another member can take over',
    ],
    [
      'with nobody left',
      { copies: 2, members: ['b', 'c'], silent: ['b', 'c'], said: ['a'] },
      'unavailable',
      'b and c, with its data, do not answer',
    ],
  ])('%s', (_, given, health, problem) => {
    const facts = vdiskFacts(vdisk, world(given));
    expect([facts.health, facts.problem]).toEqual([health, problem]);
    expect([facts.allocatedBytes, facts.sessions]).toEqual(given.serving === undefined ? [null, 0] : [7, 1]);
  });
});
