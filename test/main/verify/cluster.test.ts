import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LAYOUT } from '../../../src/main/up/nodes/layout.js';
import { between, nodeDirectories } from '../../../src/main/verify/cluster.js';
import type { VerifiedNode } from '../../../src/main/verify/directory.js';
import type { VerifiedReplica } from '../../../src/stargate/runtime/verify.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const dir = makeTempDir('verify-cluster');
afterAll(() => removeTempDir(dir));

describe('the directories that are meant', () => {
  it('are those of the nodes of an `up --nodes`; else what is named', () => {
    for (const name of ['node-2', 'node-1', 'etcd-1', 'run']) mkdirSync(join(dir, name));
    for (const name of ['node-1', 'node-2']) writeFileSync(join(dir, name, 'gatepath.json'), '{}');
    expect(nodeDirectories(dir)).toEqual([dir]);
    writeFileSync(join(dir, LAYOUT), '{}');
    expect(nodeDirectories(dir)).toEqual([join(dir, 'node-1'), join(dir, 'node-2')]);
    for (const path of [join(dir, 'node-1'), join(dir, 'run'), join(dir, 'none')]) expect(nodeDirectories(path)).toEqual([path]);
  });
});

type Replica = Partial<VerifiedReplica>;
const entry = (seq: number, creationTerm: number, hash: number) => ({ seq, creationTerm, hash });
const WHOLE: VerifiedReplica = { historyId: 1, drained: { seq: 4, term: 1, hash: 40 }, entries: [entry(5, 1, 50), entry(6, 2, 60)] };

function node(name: string, replica: Replica, identity: VerifiedNode['identity'] = { storeUuid: name, clusterId: 'c' }): VerifiedNode {
  const report = { directory: name, ok: true, vdisks: 1, logBytes: 0, extentBytes: 0, problems: [] };
  return { report, identity, replicas: new Map([['v', { ...WHOLE, ...replica }]]) };
}

describe('two replicas', () => {
  it.each<[string, Replica]>([
    ['that have the same', {}],
    ['of which one is further', { entries: [...WHOLE.entries, entry(7, 2, 70)] }],
    ['of which one has drained more', { drained: { seq: 6, term: 2, hash: 60 }, entries: [] }],
    ['of which one has an entry of another term at its end, which is cut off', { entries: [entry(5, 1, 50), entry(6, 1, 61)] }],
    ['of two histories', { historyId: 2, entries: [entry(5, 1, 51)] }],
  ])('%s go together', (_what, other) => {
    expect(between([node('a', {}), node('b', other)])).toEqual([]);
  });

  it.each<[string, Replica, string]>([
    ['an entry', { entries: [entry(5, 1, 50), entry(6, 2, 61)] }, 'their logs have another entry 6 of term 2'],
    ['what the other one has drained', { drained: { seq: 0, term: 0, hash: 0 }, entries: [entry(4, 1, 41)] }, 'another entry 4 of term 1'],
    ['the last entry that is in the extents', { drained: { seq: 4, term: 2, hash: 42 } }, 'both have entry 4 in their extents'],
  ])('do not, where %s is another one', (_what, other, message) => {
    const problem = {
      severity: 'error',
      code: 'replica-differs',
      vdiskId: 'v',
      file: 'a, b',
      message: expect.stringContaining(message) as string,
    };
    expect(between([node('a', {}), node('b', other)])).toMatchObject([problem]);
  });
});

describe('two directories', () => {
  it('are no copies of each other, and of one cluster', () => {
    const same = node('b', {}, { storeUuid: 'a', clusterId: 'c' });
    expect(between([node('a', {}), same])).toMatchObject([{ code: 'directory-twice', file: 'a, b' }]);
    const stranger = node('b', { historyId: 9 }, { storeUuid: 'b', clusterId: 'd' });
    expect(between([node('a', {}), stranger])).toMatchObject([{ code: 'directory-foreign' }]);
    expect(between([node('a', {}), node('b', {}, null)])).toEqual([]);
  });
});
