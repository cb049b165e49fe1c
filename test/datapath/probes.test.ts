import { describe, expect, it } from 'vitest';
import { createProbes, createSessionProbes, SESSION_PROBES_BYTES } from '../../src/base/probe.js';
import { DatapathProbes } from '../../src/datapath/probes.js';

describe('DatapathProbes', () => {
  const shards = [createProbes(), createProbes()];
  const key = { vdiskId: 'v', generation: 1 };

  it('adds up the shards of a vdisk, and the vdisks of a shard; an ended session stays in the counts of its shard', () => {
    const probes = new DatapathProbes({ probes: shard => shards[shard]! });
    const memories = [0, 1].map(() => new SharedArrayBuffer(SESSION_PROBES_BYTES));
    for (const [shard, memory] of memories.entries()) {
      probes.opened({ ...key, memory }, shard);
      const { read, write, path } = createSessionProbes(memory);
      for (let i = 0; i <= shard; i++) read.record(4_096, 0, 1_000);
      write.record(512, 5, 2_000);
      path.record(4_096, 0, 900);
    }
    shards[0]!['nbd-receive'].pass(7, 0);
    const [vdisk] = probes.vdisks();
    expect(vdisk).toMatchObject({
      vdiskId: 'v',
      probes: { read: { requests: 3, bytes: 12_288 }, write: { requests: 2 }, path: { requests: 2 } },
    });
    const of = (shard: number) => probes.hops(shard, one => one.summary());
    expect(of(0)).toMatchObject({
      'nbd-receive': { requests: 7 },
      session: { requests: 2, service: { maxNs: 2_000 } },
      path: { requests: 1 },
    });
    expect(of(1).session.requests).toBe(3);

    probes.closed(key, 1);
    expect(probes.vdisks()[0]!.probes.read.requests).toBe(1);
    expect(of(1)).toMatchObject({ session: { requests: 3, bytes: 8_704 }, path: { requests: 1 } });
    probes.closed(key, 0);
    probes.closed(key, 0);
    expect(probes.vdisks()).toEqual([]);
    expect(of(0).session.requests).toBe(2);
  });
});
