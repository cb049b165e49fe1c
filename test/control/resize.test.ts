import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ManagedNode } from '../../src/control/node.js';
import { ControlService } from '../../src/control/service.js';
import { VdiskCommands } from '../../src/control/vdisk-commands.js';
import { LmdbStore } from '../../src/meta/lmdb.js';
import { keys, nodeRecord, type GroupMember } from '../../src/meta/model.js';
import { registerNode } from '../../src/meta/nodes.js';
import { createContainer, createVdisk, listVdisks } from '../../src/meta/operations.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const KIB = 1 << 10;
const [n1, n2] = ['n1', 'n2'].map((node): GroupMember => ({
  node,
  storeUuid: `a0d6f1a4-37d6-4a0e-8df7-0f9ff5a3a11${node.slice(1)}`,
  incarnation: 1,
})) as [GroupMember, GroupMember];

let directory: string;
let store: LmdbStore;
let starts = 0;
const asked: string[] = [];

/** A node starts, again and again. */
const start = ({ node, storeUuid }: GroupMember, logFormat?: number) => {
  const facts = { addresses: { unix: node, tcp: null }, shards: 1, streams: 1, control: `unix:${node}` };
  return registerNode(store, {
    id: node,
    storeUuid,
    ...facts,
    boot: { incarnation: starts === 0 ? 0 : 1, bootCount: ++starts },
    ...(logFormat && { logFormat }),
  });
};

/** Answers as a controller does that has the vdisk with this size. */
const controller = {
  id: 'n1',
  cluster: null,
  command: (_vdiskId: string, { kind }: { kind: string }) => {
    asked.push(kind);
    return Promise.resolve(kind === 'map' ? { kind, sizeBytes: 64 * KIB, extents: [] } : { kind: 'full', sizeBytes: 64 * KIB });
  },
} as unknown as ManagedNode;

beforeEach(async () => {
  directory = makeTempDir('resize');
  store = LmdbStore.open(join(directory, 'meta'));
  asked.length = starts = 0;
  await start(n1);
  starts = 0;
  await start(n2, 1);
  await createContainer(store, 'one', { replicationFactor: 1 });
  await createVdisk(store, { name: 'v', sizeBytes: 64 * KIB, container: 'one' }, () => Promise.resolve([n1]));
});

afterEach(async () => {
  await store.close();
  removeTempDir(directory);
});

it('a resize is refused, and asked of nobody, while a node runs a version that would pass over its entry, member or not', async () => {
  const commands = new VdiskCommands({ store, node: controller });
  const old = { code: 'ERR_OLD_NODES', message: expect.stringMatching(/"v" is not resized: .* "n2" does not know resizes/) as string };
  await expect(commands.resize('v', { sizeBytes: 128 * KIB })).rejects.toMatchObject(old);
  expect(asked).toEqual([]);
  // It starts as a newer version.
  await start(n2);
  await expect(commands.resize('v', { sizeBytes: 128 * KIB })).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
  expect(asked).toEqual(['map', 'resize']);
});

it('so is an import of a stream of unknown length, which ends in one: at its beginning', async () => {
  const node = {
    ...controller,
    place: () => Promise.resolve([n1]),
    serve: () => Promise.reject(new Error('it is wanted to be served')),
    makeRoom: () => {},
  };
  const { leases } = new ControlService({ store, node, defaultHost: 'here' });
  const old = { code: 'ERR_OLD_NODES', message: expect.stringMatching(/stream .* not imported: .* "n2" does not know/) as string };
  await expect(leases.beginImport({ name: 'w', container: 'one' })).rejects.toMatchObject(old);
  expect(await listVdisks(store)).toHaveLength(1);
  // One of a known length gets further.
  await expect(leases.beginImport({ name: 'w', container: 'one', sizeBytes: 64 * KIB })).rejects.toThrow('wanted to be served');
});

it('a resize is refused while nobody knows which version a node runs: its record is damaged', async () => {
  await start(n2);
  store.database.putSync(keys.node('n2'), Buffer.from('damaged'));
  const commands = new VdiskCommands({ store, node: controller });
  const damaged = {
    code: 'ERR_METADATA',
    message: expect.stringContaining('"v" is not resized: the metadata record node/n2 is damaged') as string,
  };
  await expect(commands.resize('v', { sizeBytes: 128 * KIB })).rejects.toMatchObject(damaged);
  expect(asked).toEqual([]);
});

it('what an older version has written of a node says that it does not know resizes', async () => {
  const { logFormat: _unknown, ...older } = nodeRecord.parse((await store.get(keys.node('n1')))!.value);
  expect(nodeRecord.parse(older)).toMatchObject({ id: 'n1', logFormat: 1 });
});
