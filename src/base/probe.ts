import { Histogram, type HistogramSummary } from './histogram.js';

/** The hops of one I/O, in order. Each shard has one probe per hop. */
export const HOPS = ['nbd-receive', 'session', 'path', 'controller', 'oplog', 'reply'] as const;
export type Hop = (typeof HOPS)[number];

/**
 * What one hop did: how many requests and bytes passed, how long one took there. Times are those of the
 * engine's turn (`engine.nowNs`), so a probe costs an addition, never a clock call.
 */
export class Probe {
  requests = 0;
  bytes = 0;
  readonly service = new Histogram();

  record(bytes: number, serviceNs: number): void {
    this.requests++;
    this.bytes += bytes;
    this.service.record(serviceNs);
  }

  summary(): ProbeSummary {
    return { requests: this.requests, bytes: this.bytes, service: this.service.summary() };
  }
}

export interface ProbeSummary {
  readonly requests: number;
  readonly bytes: number;
  readonly service: HistogramSummary;
}

export type Probes = Readonly<Record<Hop, Probe>>;

export function createProbes(): Probes {
  return Object.fromEntries(HOPS.map(hop => [hop, new Probe()])) as unknown as Probes;
}
