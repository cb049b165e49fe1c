import { describe, expect, it } from 'vitest';
import { median, printSuite, summarize } from '../../bench/report.js';
import type { Sample, SuiteResult } from '../../bench/turns.js';

function sample(peer: string, round: number, value: number): Sample {
  const counters = { serverCpuSeconds: 0, hopUs: {}, otherLoadPercent: 0, deviceWrites: 0, deviceWrittenMiB: 0, deviceFlushes: 0 };
  return { peer, ours: peer === 'gatepath', round, value, report: {}, ...counters };
}

describe('the report of a benchmark', () => {
  it('takes medians', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('compares within a round, with the best peer of that round', () => {
    // The machine halves its speed after the first round: ratios stay, medians over all rounds would not show it.
    const samples = [
      [sample('gatepath', 1, 300), sample('a', 1, 200), sample('b', 1, 100)],
      [sample('gatepath', 2, 150), sample('a', 2, 50), sample('b', 2, 100)],
      [sample('gatepath', 3, 150), sample('a', 3, 100), sample('b', 3, 90)],
    ].flat();
    const result: SuiteResult = { name: 's', unit: 'IOPS', target: 1.6, command: 'c', samples };
    expect(summarize(result).map(({ peer, ratio }) => ({ peer, ratio }))).toEqual([
      { peer: 'gatepath', ratio: 1.5 },
      { peer: 'a', ratio: undefined },
      { peer: 'b', ratio: undefined },
    ]);
    const lines: string[] = [];
    printSuite(result, line => lines.push(line));
    expect(lines.join('\n')).toContain('1.50×, target 1.6×: MISSED');
  });
});
