import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Histogram } from '../../src/base/histogram.js';

const anyNs = fc.oneof(
  fc.integer({ min: 0, max: 100 }),
  fc.integer({ min: 0, max: 2 ** 31 + 1_000 }),
  fc.integer({ min: 0, max: 2 ** 39 }),
);

function of(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const ns of values) histogram.record(ns);
  return histogram;
}

describe('Histogram', () => {
  it('a quantile is that of the sorted values, to within a sixteenth', () => {
    fc.assert(
      fc.property(fc.array(anyNs, { minLength: 1, maxLength: 200 }), fc.constantFrom(0.5, 0.99, 0.999, 1), (values, fraction) => {
        const exact = [...values].sort((a, b) => a - b)[Math.max(1, Math.ceil(values.length * fraction)) - 1]!;
        const told = of(values).quantileNs(fraction);
        expect(told).toBeGreaterThanOrEqual(exact);
        expect(told).toBeLessThanOrEqual(exact * (1 + 1 / 16) + 1);
      }),
    );
  });

  it('counts, sums and the maximum are exact; several records at once are as many', () => {
    const histogram = of([0, 5, 5, 3e9]);
    histogram.record(7, 3);
    expect(histogram.summary()).toMatchObject({ count: 7, maxNs: 3e9, meanNs: Math.round((3e9 + 31) / 7) });
    expect(histogram.countUpTo(0)).toBe(1);
    expect(histogram.countUpTo(5)).toBe(3);
    expect(histogram.countUpTo(1e9)).toBe(6);
    expect(new Histogram().summary()).toEqual({ count: 0, meanNs: 0, p50Ns: 0, p99Ns: 0, p999Ns: 0, maxNs: 0 });
  });

  it('between two snapshots is what was recorded between them', () => {
    fc.assert(
      fc.property(fc.array(anyNs), fc.array(anyNs, { minLength: 1 }), (first, second) => {
        const histogram = of(first);
        const before = histogram.snapshot();
        for (const ns of second) histogram.record(ns);
        const between = Histogram.between(before, histogram.snapshot());
        const alone = of(second);
        expect(between.count).toBe(second.length);
        expect(between.sumNs).toBe(alone.sumNs);
        for (const fraction of [0.5, 0.99]) {
          expect(between.quantileNs(fraction)).toBeGreaterThanOrEqual(alone.quantileNs(fraction));
          expect(between.quantileNs(fraction)).toBeLessThanOrEqual(alone.quantileNs(fraction) * (1 + 1 / 16) + 1);
        }
        expect(Histogram.between(null, histogram.snapshot()).count).toBe(first.length + second.length);
      }),
    );
  });

  it('two are added', () => {
    const all = of([1, 100]);
    all.add(of([1_000]));
    expect(all.summary()).toMatchObject({ count: 3, maxNs: 1_000, meanNs: 367 });
  });
});
