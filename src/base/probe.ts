import { Histogram, HISTOGRAM_LENGTH, type HistogramSnapshot, type HistogramSummary } from './histogram.js';

/**
 * The hops of one I/O, in order, and behind them `drain`, which is no part of one. Each shard has one probe per hop; those of `session` and `path` are kept for each
 * vdisk ({@link SessionProbes}), and added up by whoever reads.
 */
export const HOPS = ['nbd-receive', 'session', 'path', 'controller', 'read-miss', 'oplog', 'reply', 'drain'] as const;
export type Hop = (typeof HOPS)[number];

const At = { requests: 0, bytes: 1, queue: 2, service: 2 + HISTOGRAM_LENGTH } as const;
const PROBE_LENGTH = 2 + 2 * HISTOGRAM_LENGTH;
const PROBE_BYTES = PROBE_LENGTH * Float64Array.BYTES_PER_ELEMENT;

/**
 * What one hop did: how many requests and bytes passed, how long they waited there before it was their turn (queue), and how long they took from then on (service).
 * Times are those of the engine's turn (`engine.nowNs`), so a probe costs some additions, never a clock call; what began and ended in one turn took 0. The memory
 * may be shared with a thread that reads.
 */
export class Probe {
  readonly queue: Histogram;
  readonly service: Histogram;
  readonly #memory: Float64Array;

  constructor(memory: Float64Array = new Float64Array(PROBE_LENGTH)) {
    this.#memory = memory;
    this.queue = new Histogram(memory.subarray(At.queue, At.queue + HISTOGRAM_LENGTH));
    this.service = new Histogram(memory.subarray(At.service, At.service + HISTOGRAM_LENGTH));
  }

  get requests(): number {
    return this.#memory[At.requests]!;
  }

  get bytes(): number {
    return this.#memory[At.bytes]!;
  }

  record(bytes: number, queueNs: number, serviceNs: number): void {
    this.pass(1, bytes);
    this.queue.record(queueNs);
    this.service.record(serviceNs);
  }

  /** Several that came and went together. */
  recordAll(requests: number, bytes: number, queueNs: number, serviceNs: number): void {
    this.pass(requests, bytes);
    if (requests === 0) return;
    this.queue.record(queueNs, requests);
    this.service.record(serviceNs, requests);
  }

  /** Their times are recorded apart, or not known. */
  pass(requests: number, bytes: number): void {
    this.#memory[At.requests]! += requests;
    this.#memory[At.bytes]! += bytes;
  }

  add(other: Probe): void {
    this.pass(other.requests, other.bytes);
    this.queue.add(other.queue);
    this.service.add(other.service);
  }

  summary(): ProbeSummary {
    const { requests, bytes } = this;
    return { requests, bytes, queue: this.queue.summary(), service: this.service.summary() };
  }

  snapshot(): ProbeSnapshot {
    const { requests, bytes } = this;
    return { requests, bytes, queue: this.queue.snapshot(), service: this.service.snapshot() };
  }
}

export interface ProbeSummary {
  readonly requests: number;
  readonly bytes: number;
  readonly queue: HistogramSummary;
  readonly service: HistogramSummary;
}

export interface ProbeSnapshot {
  readonly requests: number;
  readonly bytes: number;
  readonly queue: HistogramSnapshot;
  readonly service: HistogramSnapshot;
}

export type Probes = Readonly<Record<Hop, Probe>>;

export const PROBES_BYTES = HOPS.length * PROBE_BYTES;

/** `memory`: {@link PROBES_BYTES} of it, all zeroes or what another thread records. */
export function createProbes(memory: ArrayBufferLike = new ArrayBuffer(PROBES_BYTES)): Probes {
  return Object.fromEntries(HOPS.map((hop, i) => [hop, probeIn(memory, i)])) as unknown as Probes;
}

/**
 * One shard's session of one vdisk: requests by what they are, with their whole time there from arrival to answer, of which `queue` was before they were sent; and
 * the time at the path.
 */
export const SESSION_PROBES = ['read', 'write', 'other', 'path'] as const;
export type SessionProbes = Readonly<Record<(typeof SESSION_PROBES)[number], Probe>>;

export const SESSION_PROBES_BYTES = SESSION_PROBES.length * PROBE_BYTES;

export function createSessionProbes(memory: ArrayBufferLike = new ArrayBuffer(SESSION_PROBES_BYTES)): SessionProbes {
  return Object.fromEntries(SESSION_PROBES.map((name, i) => [name, probeIn(memory, i)])) as unknown as SessionProbes;
}

function probeIn(memory: ArrayBufferLike, index: number): Probe {
  return new Probe(new Float64Array(memory, index * PROBE_BYTES, PROBE_LENGTH));
}
