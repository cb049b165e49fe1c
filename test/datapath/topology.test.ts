import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { NodeTable, type KnownGroup, type KnownNode } from '../../src/datapath/nodes.js';
import { knownNodes, TopologyWatcher } from '../../src/datapath/topology.js';
import { keys, nodeRecord, type NodeRecord } from '../../src/meta/model.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';

const LOCAL = { kind: 'unix', socketPath: '/run/a' } as const;

function record(id: string, unix = `/run/${id}`): NodeRecord {
  return nodeRecord.parse({ id, storeUuid: randomUUID(), incarnation: 1, bootCount: 1, address: unix });
}

function group(vdiskId: string, epoch: number, controller: string, ...members: string[]): object {
  const all = members.map(node => ({ node, storeUuid: randomUUID(), incarnation: 1 }));
  return { vdiskId, epoch, term: epoch, controller, members: all, nonce: randomUUID(), generation: 0 };
}

describe('nodes that are known', () => {
  it('are named by the metadata; the local one is that with the same socket', () => {
    expect(knownNodes([record('a'), record('b')], LOCAL, null)).toEqual([
      { id: 'a', target: LOCAL, isLocal: true },
      { id: 'b', target: { kind: 'unix', socketPath: '/run/b' }, isLocal: false },
    ]);
  });

  it('of several machines that use the same path are told apart by the configuration only', () => {
    const records = [record('a', '/run/a'), record('b', '/run/a')];
    expect(knownNodes(records, LOCAL, null)).toEqual([]);
    expect(knownNodes(records, LOCAL, 'b').map(({ id, isLocal }) => [id, isLocal])).toEqual([['b', true]]);
    expect(knownNodes([record('a')], { kind: 'in-process' }, 'a')[0]!.isLocal).toBe(true);
  });

  it('make candidates: the configured ones until the metadata names them', () => {
    const other = { kind: 'unix', socketPath: '/run/b' } as const;
    const table = new NodeTable([LOCAL, other]);
    const brief = (): string[] =>
      table.candidatesOf('v').map(({ node, isLocal, isMember }) => `${node}${isLocal ? ' local' : ''}${isMember ? ' member' : ''}`);
    expect(brief()).toEqual(['unix:/run/a local', 'unix:/run/b']);
    table.setNodes(knownNodes([record('b'), record('c')], LOCAL, null));
    expect(brief()).toEqual(['b', 'c', 'unix:/run/a local']);
    table.setNodes(knownNodes([record('a'), record('b'), record('c')], LOCAL, null));
    table.setGroup({ vdiskId: 'v', epoch: 1, controller: 'c', members: ['a', 'c'] });
    expect(brief()).toEqual(['a local member', 'b', 'c member']);
    table.forget('v');
    expect(brief()).toEqual(['a local', 'b', 'c']);
    expect(() => new NodeTable([])).toThrow('needs a Stargate');
  });
});

describe('topology of a datapath', () => {
  let watcher: TopologyWatcher | null = null;
  const nodes: string[][] = [];
  const groups: KnownGroup[] = [];
  afterEach(() => {
    watcher?.close();
    nodes.length = 0;
    groups.length = 0;
  });

  function watch(store: MemoryMetadata): TopologyWatcher {
    return (watcher = new TopologyWatcher({
      store,
      local: LOCAL,
      localNode: null,
      log: silentLogger,
      onNodes: (known: readonly KnownNode[]) => void nodes.push(known.map(({ id }) => id)),
      onRead: () => undefined,
      onGroup: one => void groups.push(one),
    }));
  }

  it('is told: nodes as they come and go, and groups of attached vdisks as they change', async () => {
    const store = new MemoryMetadata();
    const [v, w] = [randomUUID(), randomUUID()];
    await store.put(keys.node('a'), record('a'));
    await store.put(keys.group(v), group(v, 1, 'a', 'a', 'b'));
    await store.put(keys.group(w), group(w, 1, 'a', 'a'));
    const topology = watch(store);
    topology.add(v);
    await vi.waitFor(() => expect(groups).toEqual([{ vdiskId: v, epoch: 1, controller: 'a', members: ['a', 'b'] }]));
    expect(nodes).toEqual([['a']]);
    await store.put(keys.node('b'), record('b'));
    await vi.waitFor(() => expect(nodes.at(-1)).toEqual(['a', 'b']));
    await store.put(keys.group(v), group(v, 2, 'b', 'b'));
    await vi.waitFor(() => expect(groups.at(-1)).toEqual({ vdiskId: v, epoch: 2, controller: 'b', members: ['b'] }));
    // What says nothing new is not told.
    await store.put(keys.node('b'), store.items.get(keys.node('b'))!.value);
    await store.put(keys.group(v), group(v, 2, 'b', 'b'));
    await new Promise(resolve => setTimeout(resolve, 200));
    expect([nodes.length, groups.length]).toEqual([2, 2]);
    // Attached anew: said again.
    topology.drop(v);
    await store.put(keys.group(v), group(v, 3, 'a', 'a'));
    topology.add(v);
    await vi.waitFor(() => expect(groups.at(-1)).toMatchObject({ vdiskId: v, epoch: 3 }));
  });

  it('stays as it is while the store does not answer, and with records that cannot be read; is read again behind a break', async () => {
    const store = new MemoryMetadata();
    const v = randomUUID();
    await store.put(keys.node('a'), record('a'));
    await store.put(keys.node('bad'), { id: 7 });
    const topology = watch(store);
    topology.add(v);
    await vi.waitFor(() => expect(nodes).toEqual([['a']]));
    store.available = false;
    await store.put(keys.group(v), group(v, 1, 'a', 'a')).catch(() => undefined);
    for (const { listener } of store.watches) listener({ broken: true });
    await new Promise(resolve => setTimeout(resolve, 400));
    expect([nodes.length, groups.length]).toEqual([1, 0]);
    store.available = true;
    await vi.waitFor(() => expect(groups.length).toBe(1));
  });

  it('reads the groups of many vdisks at once', async () => {
    const store = new MemoryMetadata();
    const vdisks = Array.from({ length: 100 }, () => randomUUID());
    for (const v of vdisks) await store.put(keys.group(v), group(v, 1, 'a', 'a'));
    const topology = watch(store);
    for (const v of vdisks.slice(1)) topology.add(v);
    await vi.waitFor(() => expect(groups.length).toBe(99));
    expect(groups.some(({ vdiskId }) => vdiskId === vdisks[0])).toBe(false);
  });
});
