import { TIMELINE_STEP_MS } from './limits.js';
import { Outcome, type Operations } from './operations.js';

export interface Latency {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Steps of {@link TIMELINE_STEP_MS} from the start of the load, in columns; a step without an answer has 0. */
export interface Timeline {
  readonly stepMs: number;
  readonly completions: readonly number[];
  readonly p50Ms: readonly number[];
  readonly p99Ms: readonly number[];
  readonly maxMs: readonly number[];
}

export interface Gap {
  readonly ms: number;
  /** Where it begins. */
  readonly atMs: number;
}

/** The longest time without an answer that has a part after `fromMs`, up to `toMs`; `times` in order. */
export function longestGap(times: Float64Array, count: number, fromMs: number, toMs: number): Gap {
  let longest = { ms: 0, atMs: fromMs };
  let last = -1;
  const look = (begin: number, end: number): void => {
    if (end > fromMs && end - begin > longest.ms) longest = { ms: end - begin, atMs: begin };
  };
  for (let i = 0; i < count && times[i]! <= toMs; i++) {
    if (last >= 0) look(last, times[i]!);
    last = times[i]!;
  }
  look(last < 0 ? fromMs : last, toMs);
  return longest;
}

/** The first answer at or after `fromMs`; null: there is none. */
export function firstAfter(times: Float64Array, count: number, fromMs: number): number | null {
  for (let i = 0; i < count; i++) if (times[i]! >= fromMs) return times[i]!;
  return null;
}

/** Of what was answered in that time. */
export function latencyBetween(operations: Operations, fromMs: number, toMs: number): Latency {
  const { outcomes, startMs, endMs, count } = operations;
  const found: number[] = [];
  for (let i = 0; i < count; i++) {
    if (outcomes[i] === Outcome.done && endMs[i]! >= fromMs && endMs[i]! < toMs) found.push(endMs[i]! - startMs[i]!);
  }
  const sorted = Float64Array.from(found).sort();
  return { count: sorted.length, ...quantiles(sorted) };
}

export function timelineOf(operations: Operations, count: number, fromMs: number, toMs: number): Timeline {
  const steps = Math.ceil((toMs - fromMs) / TIMELINE_STEP_MS);
  const latencies: number[][] = Array.from({ length: steps }, () => []);
  const { outcomes, startMs, endMs } = operations;
  for (let i = 0; i < count; i++) {
    if (outcomes[i] !== Outcome.done) continue;
    latencies[Math.floor((endMs[i]! - fromMs) / TIMELINE_STEP_MS)]?.push(endMs[i]! - startMs[i]!);
  }
  const summaries = latencies.map(step => quantiles(Float64Array.from(step).sort()));
  return {
    stepMs: TIMELINE_STEP_MS,
    completions: latencies.map(step => step.length),
    p50Ms: summaries.map(one => one.p50Ms),
    p99Ms: summaries.map(one => one.p99Ms),
    maxMs: summaries.map(one => one.maxMs),
  };
}

function quantiles(sorted: Float64Array): Omit<Latency, 'count'> {
  const at = (fraction: number): number => roundMs(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? 0);
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: roundMs(sorted.at(-1) ?? 0) };
}

export const roundMs = (ms: number): number => Math.round(ms * 1_000) / 1_000;
