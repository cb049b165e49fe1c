import { describe, expect, it } from 'vitest';
import { createSessionProbes, createProbes, type SessionProbes } from '../../../src/base/probe.js';
import { ratesOf, type Rates } from '../../../src/cli/top/rates.js';
import { plainLines, screen, SORTS, type SortKey } from '../../../src/cli/top/screen.js';
import { viewOf } from '../../../src/control/watch/counters.js';
import { countersView, type CountersView } from '../../../src/control/watch/view.js';

const S = 1e9;

function look(atS: number, probes: SessionProbes | null, { cpuS = atS, hits = 0, drained = 0 } = {}): CountersView {
  const hops = createProbes();
  hops.drain.pass(1, drained);
  const { read, write, other, path } = probes ?? createSessionProbes();
  return countersView.parse({
    version: 'v',
    atNs: atS * S,
    node: 'node-1',
    host: 'here',
    shards: [
      {
        shard: 0,
        cpuNs: cpuS * S,
        hops: { drain: viewOf(hops.drain.snapshot()), path: viewOf(path.snapshot()) },
        storage: {
          cache: { pages: 10, usedPages: 5, hits, misses: 10 },
          oplog: [{ stream: 0, usedBytes: 50, capacityBytes: 200 }],
          rot: { damagedBlocks: 0, fetchedBlocks: 0, repairedBlocks: 0, refilledRecords: 0, lostBlocks: 0 },
          scrub: null,
        },
      },
    ],
    exports: [
      {
        ...{ vdiskId: 'a', name: 'alpha', sizeBytes: 1, connections: 1, unanswered: 3, lost: 0, replayed: 0, isCutOff: false },
        probes:
          probes === null
            ? null
            : {
                read: viewOf(read.snapshot()),
                write: viewOf(write.snapshot()),
                other: viewOf(other.snapshot()),
                path: viewOf(path.snapshot()),
              },
      },
    ],
    stored: [],
    containers: [],
    notServed: 0,
    silentShards: 0,
    storePages: null,
    damagedRecords: [],
    space: { freeBytes: 25, totalBytes: 100 },
  });
}

describe('rates between two looks', () => {
  it('are per second of the clock of the process, and the times are of what happened between', () => {
    const probes = createSessionProbes();
    for (let i = 0; i < 1_000; i++) probes.read.record(4_096, 0, 9e9);
    const before = look(10, probes, { cpuS: 1, hits: 10 });
    for (let i = 0; i < 200; i++) probes.read.record(4_096, 0, 1_000);
    for (let i = 0; i < 100; i++) probes.write.record(8_192, 0, 2_000);
    probes.path.record(4_096, 0, 500);
    const rates = ratesOf([{ process: 'p', before, after: look(12, probes, { cpuS: 2, hits: 40, drained: 4_000 }) }]);
    const [vdisk] = rates.vdisks;
    expect(vdisk).toMatchObject({ name: 'alpha', readIops: 100, writeIops: 50, readBytes: 409_600, writeBytes: 409_600, depth: 3 });
    expect(vdisk!.p50Us).toBeCloseTo(1, 1);
    expect(vdisk!.p99Us).toBeLessThan(2.2);
    expect(rates).toMatchObject({ seconds: 2, shards: [{ process: 'p', shard: 0, cpu: 0.5 }] });
    expect(rates.nodes).toMatchObject([{ node: 'node-1', cacheHits: 1, oplogUsedBytes: 50, oplogBytes: 200, drainBytes: 2_000 }]);
    expect(rates.hops.map(({ hop }) => hop)).toEqual(['path', 'drain']);
  });

  it('a vdisk that was not used before, a process that started anew, and a first look give no nonsense', () => {
    const probes = createSessionProbes();
    probes.read.recordAll(10, 40_960, 0, 1_000);
    const fresh = ratesOf([{ process: 'p', before: look(1, null), after: look(2, probes) }]);
    expect(fresh.vdisks[0]).toMatchObject({ readIops: 10 });
    const restarted = ratesOf([{ process: 'p', before: look(100, probes, { cpuS: 50 }), after: look(102, probes, { cpuS: 0.1 }) }]);
    expect(restarted.vdisks[0]).toMatchObject({ readIops: 0, p50Us: null });
    expect(restarted.shards[0]!.cpu).toBeNull();
    expect(ratesOf([{ process: 'p', before: null, after: look(1, probes) }]).vdisks[0]).toMatchObject({ readIops: 0 });
  });
});

describe('the screen', () => {
  const vdisk = (name: string, readIops: number, p99Us: number, depth: number) => ({
    ...{
      name,
      readIops,
      writeIops: 0,
      readBytes: 2e9 - readIops,
      writeBytes: 0,
      p50Us: 1,
      p99Us,
      p999Us: 12_345,
      depth,
      isCutOff: name === 'cut',
    },
  });
  const rates: Rates = {
    seconds: 2,
    vdisks: [
      vdisk('aa', 10, 5, 2),
      vdisk('bb', 30, 1, 1),
      vdisk('cut', 20, 9, 3),
      ...Array.from({ length: 30 }, (_, i) => vdisk(`v${i}`, 1, 0.5, 0)),
    ],
    hops: [{ hop: 'path', perSecond: 1_234_567, bytes: 2e9, p50Us: 1, p99Us: 2, p999Us: null, queueP99Us: 3 }],
    shards: [0, 1].map(shard => ({ process: 'p', shard, cpu: 0.25 })),
    nodes: [
      {
        node: 'node-1',
        cacheHits: 0.987,
        oplogUsedBytes: 1,
        oplogBytes: 4,
        drainBytes: 5e6,
        damagedBlocks: 1,
        lostBlocks: 0,
        freeBytes: 1,
        spaceBytes: 4,
        notServed: 2,
      },
    ],
  };
  const at = (sort: SortKey, columns = 80, rows = 24, showsHelp = false): string[] =>
    screen(rates, { sort, showsHelp, clock: '12:00:00', problem: '' }, columns, rows);

  it.each([
    [80, 24],
    [200, 60],
    [40, 10],
    [20, 4],
  ])('fits %i columns and %i rows', (columns, rows) => {
    const lines = at('i', columns, rows);
    expect(lines.length).toBeLessThanOrEqual(rows);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
  });

  it('at 80 by 24 shows vdisks, how many more there are, hops, shards, node, and what is wrong', () => {
    const text = at('i').join('\n');
    expect(text).toContain('node-1: cache 98.7%  oplog 25%  drains 5.0M/s  free 25%\nnode-1: NOT SERVED 2  DAMAGED 1 blocks, lost 0');
    expect(text).toContain('cpu  0 25%  1 25%');
    expect(text).toMatch(/^bb +30 +0 +2\.0G +0 +1\.0 +1\.0 +12\.3ms +1$/m);
    expect(text).toMatch(/^cut .*CUT OFF$/m);
    expect(text).toMatch(/^and \d+ more$/m);
    expect(text).toMatch(/^path +1\.2M +2\.0G +3\.0 +1\.0 +2\.0 +-$/m);
  });

  it.each([
    ['i', 'bb'],
    ['b', 'v0'],
    ['l', 'cut'],
    ['d', 'cut'],
    ['n', 'aa'],
  ] as const)('sorted by %s, %s is first', (sort, first) => {
    const lines = at(sort, 80, 60);
    expect(lines[lines.findIndex(line => line.startsWith('VDISK')) + 1]!.split(' ')[0]).toBe(first);
    expect(lines[0]).toContain(SORTS[sort].title);
    expect(plainLines(rates, sort, '12:00:00')[0]).toMatch(new RegExp(`^12:00:00 vdisk ${first} `));
  });

  it('? shows the keys', () => {
    expect(at('i', 80, 24, true).join('\n')).toMatch(/sort by p99[^]*space[^]*q {2}end/);
  });
});
