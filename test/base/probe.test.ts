import { describe, expect, it } from 'vitest';
import { createProbes, createSessionProbes, HOPS, PROBES_BYTES, SESSION_PROBES_BYTES } from '../../src/base/probe.js';

describe('Probe', () => {
  it('what one thread records another reads in the shared memory; each hop has its own part', () => {
    const memory = new SharedArrayBuffer(PROBES_BYTES);
    const [ours, theirs] = [createProbes(memory), createProbes(memory)];
    for (const [i, hop] of HOPS.entries()) ours[hop].record(4_096 * i, i, 10 * i);
    for (const [i, hop] of HOPS.entries()) {
      const { requests, bytes, queue, service } = theirs[hop].summary();
      expect({ requests, bytes, queue: queue.maxNs, service: service.maxNs }).toEqual({
        requests: 1,
        bytes: 4_096 * i,
        queue: i,
        service: 10 * i,
      });
      expect(queue.count).toBe(1);
    }
  });

  it('several at once count each, and what took no time counts too', () => {
    const { read } = createSessionProbes(new SharedArrayBuffer(SESSION_PROBES_BYTES));
    read.recordAll(10, 40_960, 0, 500);
    read.recordAll(0, 0, 1, 1);
    expect(read.summary()).toMatchObject({
      requests: 10,
      bytes: 40_960,
      queue: { count: 10, maxNs: 0 },
      service: { count: 10, maxNs: 500 },
    });
    read.pass(1, 0);
    expect(read.summary()).toMatchObject({ requests: 11, queue: { count: 10 } });
  });
});
