/** Sub-buckets per power of two: values are kept to within 1/16, about 6 %. */
const SUB_BITS = 4;
const SUB = 1 << SUB_BITS;
const POWERS = 40;

/**
 * Counts of durations in nanoseconds, from 0 to about 18 minutes, in log-linear buckets. Fixed memory,
 * no allocation per record; histograms of several shards are added.
 */
export class Histogram {
  readonly buckets = new Float64Array(POWERS * SUB);
  count = 0;
  sumNs = 0;
  maxNs = 0;

  record(ns: number, times = 1): void {
    this.buckets[bucketOf(ns)]! += times;
    this.count += times;
    this.sumNs += ns * times;
    if (ns > this.maxNs) this.maxNs = ns;
  }

  add(other: Histogram): void {
    for (let i = 0; i < this.buckets.length; i++) this.buckets[i]! += other.buckets[i]!;
    this.count += other.count;
    this.sumNs += other.sumNs;
    this.maxNs = Math.max(this.maxNs, other.maxNs);
  }

  /** The upper bound of the bucket that holds the given fraction (0 to 1) of the records; 0 when empty. */
  quantileNs(fraction: number): number {
    if (this.count === 0) return 0;
    let left = Math.max(1, Math.ceil(this.count * fraction));
    for (let i = 0; i < this.buckets.length; i++) {
      left -= this.buckets[i]!;
      if (left <= 0) return Math.min(upperBoundOf(i), this.maxNs);
    }
    return this.maxNs;
  }

  /** Plain numbers for a message or a report. */
  summary(): HistogramSummary {
    return {
      count: this.count,
      meanNs: this.count === 0 ? 0 : Math.round(this.sumNs / this.count),
      p50Ns: this.quantileNs(0.5),
      p99Ns: this.quantileNs(0.99),
      p999Ns: this.quantileNs(0.999),
      maxNs: this.maxNs,
    };
  }
}

export interface HistogramSummary {
  readonly count: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly maxNs: number;
}

function bucketOf(ns: number): number {
  if (ns < SUB) return ns < 0 ? 0 : Math.floor(ns);
  if (ns >= 2 ** (POWERS + SUB_BITS - 1)) return POWERS * SUB - 1;
  const whole = Math.floor(ns);
  const power = whole < 2 ** 31 ? 31 - Math.clz32(whole) : 31 + (31 - Math.clz32(Math.floor(whole / 2 ** 31)));
  const sub = Math.floor(whole / 2 ** (power - SUB_BITS)) - SUB;
  return (power - SUB_BITS + 1) * SUB + sub;
}

function upperBoundOf(bucket: number): number {
  if (bucket < SUB) return bucket;
  const power = Math.floor(bucket / SUB) + SUB_BITS - 1;
  return (SUB + (bucket % SUB) + 1) * 2 ** (power - SUB_BITS) - 1;
}
