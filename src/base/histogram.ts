/** Sub-buckets per power of two: values are kept to within 1/16, about 6 %. */
const SUB_BITS = 4;
const SUB = 1 << SUB_BITS;
const POWERS = 40;
const BUCKETS = POWERS * SUB;

const At = { sumNs: 0, maxNs: 1, buckets: 2 } as const;
/** Numbers that a histogram takes of a Float64Array. */
export const HISTOGRAM_LENGTH = At.buckets + BUCKETS;

/**
 * Counts of durations in nanoseconds, from 0 to about 18 minutes, in log-linear buckets. Fixed memory, no allocation per record; histograms of several shards are
 * added. The memory may be shared: one thread records, others read. Each number is read as it was at some moment, and none goes back.
 */
export class Histogram {
  constructor(readonly memory: Float64Array = new Float64Array(HISTOGRAM_LENGTH)) {}

  /** Adds up the buckets: for whoever reads. */
  get count(): number {
    let count = 0;
    for (let i = At.buckets; i < HISTOGRAM_LENGTH; i++) count += this.memory[i]!;
    return count;
  }

  get sumNs(): number {
    return this.memory[At.sumNs]!;
  }

  get maxNs(): number {
    return this.memory[At.maxNs]!;
  }

  record(ns: number, times = 1): void {
    const { memory } = this;
    if (ns === 0) {
      memory[At.buckets]! += times;
      return;
    }
    memory[At.buckets + bucketOf(ns)]! += times;
    memory[At.sumNs]! += ns * times;
    if (ns > memory[At.maxNs]!) memory[At.maxNs] = ns;
  }

  add(other: Histogram): void {
    const { memory } = this;
    const maxNs = Math.max(this.maxNs, other.maxNs);
    for (let i = 0; i < memory.length; i++) memory[i]! += other.memory[i]!;
    memory[At.maxNs] = maxNs;
  }

  /** The upper bound of the bucket that holds the given fraction (0 to 1) of the records; 0 when empty. */
  quantileNs(fraction: number): number {
    const { count } = this;
    if (count === 0) return 0;
    let left = Math.max(1, Math.ceil(count * fraction));
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.memory[At.buckets + i]!;
      if (left <= 0) return Math.min(upperBoundOf(i), this.maxNs);
    }
    return this.maxNs;
  }

  /** How many records are at most `ns`, to within a bucket: one that `ns` divides counts whole. */
  countUpTo(ns: number): number {
    const last = bucketOf(ns);
    let count = 0;
    for (let i = 0; i <= last; i++) count += this.memory[At.buckets + i]!;
    return count;
  }

  /** Plain numbers for a message or a report. */
  summary(): HistogramSummary {
    const { count } = this;
    return {
      count,
      meanNs: count === 0 ? 0 : Math.round(this.sumNs / count),
      p50Ns: this.quantileNs(0.5),
      p99Ns: this.quantileNs(0.99),
      p999Ns: this.quantileNs(0.999),
      maxNs: this.maxNs,
    };
  }

  /** All of it, in few numbers where few buckets are used. */
  snapshot(): HistogramSnapshot {
    const buckets: number[] = [];
    for (let i = 0; i < BUCKETS; i++) {
      const count = this.memory[At.buckets + i]!;
      if (count > 0) buckets.push(i, count);
    }
    return { sumNs: this.sumNs, maxNs: this.maxNs, buckets };
  }

  /** What was recorded between two snapshots of the same histogram; `before` null: since it began. The maximum is that of the highest bucket in use. */
  static between(before: HistogramSnapshot | null, after: HistogramSnapshot): Histogram {
    const histogram = new Histogram();
    const { memory } = histogram;
    const addAll = ({ buckets }: HistogramSnapshot, sign: 1 | -1): void => {
      for (let i = 0; i + 1 < buckets.length; i += 2) {
        if (buckets[i]! >= BUCKETS) continue;
        memory[At.buckets + buckets[i]!]! += sign * buckets[i + 1]!;
      }
    };
    addAll(after, 1);
    if (before !== null) addAll(before, -1);
    memory[At.sumNs] = Math.max(0, after.sumNs - (before?.sumNs ?? 0));
    for (let i = BUCKETS - 1; i >= 0 && memory[At.maxNs] === 0; i--) {
      if (memory[At.buckets + i]! > 0) memory[At.maxNs] = Math.min(upperBoundOf(i), after.maxNs);
    }
    return histogram;
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

export interface HistogramSnapshot {
  readonly sumNs: number;
  readonly maxNs: number;
  /** Number of a bucket and its count, by turns; those that are not there are 0. */
  readonly buckets: readonly number[];
}

function bucketOf(ns: number): number {
  if (ns < SUB) return ns < 0 ? 0 : Math.floor(ns);
  // Up to 2 s in integers: this is called once or more per I/O.
  if (ns < 2 ** 31) {
    const whole = ns | 0;
    const power = 31 - Math.clz32(whole);
    return ((power - SUB_BITS + 1) << SUB_BITS) + (whole >>> (power - SUB_BITS)) - SUB;
  }
  if (ns >= 2 ** (POWERS + SUB_BITS - 1)) return BUCKETS - 1;
  const whole = Math.floor(ns);
  const power = 31 + (31 - Math.clz32(Math.floor(whole / 2 ** 31)));
  const sub = Math.floor(whole / 2 ** (power - SUB_BITS)) - SUB;
  return (power - SUB_BITS + 1) * SUB + sub;
}

function upperBoundOf(bucket: number): number {
  if (bucket < SUB) return bucket;
  const power = Math.floor(bucket / SUB) + SUB_BITS - 1;
  return (SUB + (bucket % SUB) + 1) * 2 ** (power - SUB_BITS) - 1;
}
