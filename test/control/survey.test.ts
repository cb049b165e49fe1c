import { describe, expect, it } from 'vitest';
import type { NodeView, ServedView } from '../../src/control/schemas.js';
import { byVdisk, vdiskFacts, type Survey } from '../../src/control/survey.js';
import type { ContainerRecord, GroupRecord, VdiskRecord } from '../../src/meta/model.js';

const STORE = 'a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a111';
const ID = 'c0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a333';
const vdisk: VdiskRecord = { id: ID, name: 'v', container: 'c', sizeBytes: 4096, historyId: 1, createdAt: 'then', deleting: false };
const SERVED = {
  vdiskId: ID,
  allocatedBytes: 7,
  logBytes: 2,
  reservedBytes: null,
  sessions: 1,
  resyncing: null,
  lastProblem: { at: 'then', cause: 'a cable was pulled' },
};

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
  readonly minMembers?: number;
  /** Key of a record that cannot be read. */
  readonly damaged?: string;
  /** The one that left first in front. */
  readonly former?: readonly string[];
  readonly resyncing?: ServedView['vdisks'][number]['resyncing'];
}

function world({
  copies,
  members,
  silent = [],
  serving,
  said,
  problem,
  minMembers = 1,
  former = [],
  resyncing = null,
  damaged,
}: World): Survey {
  const node = (id: string): NodeView => ({
    ...{ id, alive: !silent.includes(id), storeUuid: STORE, incarnation: 1, faultDomain: null, unix: '', tcp: null, control: null },
    ...{
      shards: 2,
      streams: 2,
      freeBytes: 1,
      totalBytes: 1,
      vdisks: 1,
      controls: 1,
      drainingSince: null,
      removingSince: null,
      neededBy: [],
      version: null,
      startedAt: null,
    },
  });
  const group: GroupRecord = {
    ...{ vdiskId: ID, epoch: 2, term: 2, controller: members[0]!, nonce: STORE, generation: 0 },
    members: members.map(one => ({ node: one, storeUuid: STORE, incarnation: 1 })),
    former: former.map((one, i) => ({ node: one, storeUuid: STORE, incarnation: 1, until: `time ${i}` })),
  };
  const container: ContainerRecord = {
    name: 'c',
    replicationFactor: copies,
    minMembers,
    durability: 'always',
    enospc: 'wait',
    quotaBytes: null,
    createdAt: 'then',
  };
  const served = (id: string): ServedView => ({
    ...{ node: id, version: null, startedAt: null },
    vdisks: id === serving ? [{ ...SERVED, resyncing }] : [],
    copies: [{ vdiskId: ID, usedBytes: 10 }],
    problems: problem === undefined ? [] : [{ vdiskId: ID, message: problem }],
  });
  return {
    self: 'a',
    nodes: ['a', 'b', 'c'].map(node),
    vdisks: [vdisk],
    deleting: 0,
    groups: new Map(damaged?.startsWith('group/') === true ? [] : [[ID, group]]),
    containers: new Map(damaged?.startsWith('container/') === true ? [] : [['c', container]]),
    served: new Map(said.map(id => [id, byVdisk(served(id))])),
    damaged: damaged === undefined ? [] : [{ key: damaged, why: 'its checksum differs' }],
  };
}

describe('the health of a vdisk', () => {
  it.each<[string, World, 'healthy' | 'degraded' | 'unavailable', string | null]>([
    ['served here', { copies: 1, members: ['a'], serving: 'a', said: ['a'] }, 'healthy', null],
    ['not served here', { copies: 1, members: ['a'], said: ['a'] }, 'unavailable', 'its node does not serve it, or did not say so in time'],
    ['refused here', { copies: 1, members: ['a'], said: ['a'], problem: 'its log is damaged' }, 'unavailable', 'its log is damaged'],
    [
      'served here, with a group record that is damaged',
      { copies: 1, members: ['a'], serving: 'a', said: ['a'], damaged: `group/${ID}` },
      'degraded',
      `the metadata record group/${ID} is damaged: its checksum differs`,
    ],
    [
      'served elsewhere, with a group record that is damaged',
      { copies: 1, members: ['b'], serving: 'b', said: ['a', 'b'], damaged: `group/${ID}` },
      'degraded',
      `the metadata record group/${ID} is damaged: its checksum differs`,
    ],
    [
      'not served, with a container record that is damaged',
      { copies: 1, members: ['b'], said: ['a'], damaged: 'container/c' },
      'unavailable',
      'the metadata record container/c is damaged: its checksum differs',
    ],
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
      'of which a member is missing, and another one has taken the place of one before',
      { copies: 3, members: ['b', 'a'], former: ['d', 'c'], serving: 'b', said: ['b'], minMembers: 2 },
      'degraded',
      'kept on 2 of 3 nodes now: c is missing since time 1',
    ],
    [
      'of which a copy is being brought up',
      {
        copies: 2,
        members: ['b'],
        former: ['c'],
        serving: 'b',
        said: ['b'],
        resyncing: { node: 'c', sentBlocks: 512, share: 0.129, leftMs: 61_000 },
      },
      'degraded',
      'kept on 1 of 2 nodes now: c is missing since time 0, c is being brought up, 12 % so far, 61 s to go',
    ],
    [
      'of which a copy has just begun to be brought up',
      { copies: 2, members: ['b'], serving: 'b', said: ['b'], resyncing: { node: 'c', sentBlocks: 0, share: 0, leftMs: null } },
      'degraded',
      'kept on 1 of 2 nodes now: c is being brought up, 0 % so far',
    ],
    [
      'with too few members for writes',
      { copies: 3, members: ['b'], former: ['a', 'c'], serving: 'b', said: ['b'], minMembers: 2 },
      'unavailable',
      'writes wait: kept on 1 of 3 nodes now, and 2 are needed: a is missing since time 0, c is missing since time 1',
    ],
    [
      'with a silent controller, and too few others',
      { copies: 3, members: ['b', 'a', 'c'], silent: ['b', 'c'], said: ['a'], minMembers: 2 },
      'unavailable',
      'writes wait: kept on 1 of 3 nodes now, and 2 are needed: b and c do not answer',
    ],
    ['that had other members before', { copies: 2, members: ['b', 'a'], former: ['c'], serving: 'b', said: ['b'] }, 'healthy', null],
    [
      'with nobody left',
      { copies: 2, members: ['b', 'c'], silent: ['b', 'c'], said: ['a'] },
      'unavailable',
      'b and c, with its data, do not answer',
    ],
  ])('%s', (_, given, health, problem) => {
    const facts = vdiskFacts(vdisk, world(given));
    expect([facts.health, facts.problem]).toEqual([health, problem]);
    const { copies, members, silent = [], former = [] } = given;
    const gone = members.length < copies ? former.slice(members.length - copies) : [];
    expect(facts.missing.map(({ node }) => node)).toEqual([...silent, ...gone]);
    expect(facts.resyncing).toEqual(given.resyncing ?? null);
    expect(facts.lastProblem?.cause).toBe(given.serving === undefined ? undefined : 'a cable was pulled');
    expect([facts.allocatedBytes, facts.sessions]).toEqual(given.serving === undefined ? [null, 0] : [7, 1]);
  });
});
