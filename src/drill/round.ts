import { monitorEventLoopDelay } from 'node:perf_hooks';
import { sleep, type Cluster } from './cluster.js';
import { CpuAccount, type CpuUse } from './cpu.js';
import { HEALTHY_STALL_MS, HOLD_MS, REDUNDANCY_STALL_MS } from './limits.js';
import { Load, type ClientEvent, type LoadOptions } from './load.js';
import { firstAfter, latencyBetween, longestGap, roundMs, timelineOf, type Latency, type Timeline } from './measure.js';
import { whileItGoesOn } from './patience.js';
import type { Bound, FaultContext, Scenario } from './scenario.js';
import { checkHistory, type Verdict } from './verdict.js';
import { Watch, type Mark } from './watch.js';

export interface RoundOptions {
  readonly cluster: Cluster;
  readonly vdisk: string;
  readonly copies: number;
  readonly scenario: Scenario;
  /** Of load without a fault, half before it and half when all is well again. */
  readonly quietMs: number;
  readonly load: Omit<LoadOptions, 'isExpectedError'>;
  /** What each block holds, and the number of the first operation. Both are what the round before has left. */
  readonly content: Float64Array;
  readonly firstOperation: number;
  readonly onPhase: (phase: string) => void;
  /** What has to be undone if the drill is interrupted; called again with each change. */
  readonly onUndo: (undo: readonly (() => Promise<void> | void)[]) => void;
}

/** Times are milliseconds from the start of the round's load. */
export interface RoundReport {
  readonly scenario: string;
  /** What all `atMs` of the round count from: the logs of the nodes can be held against them. */
  readonly startedAt: string;
  readonly passed: boolean;
  /** What failed, in words; empty when passed. */
  readonly failures: readonly string[];
  readonly bound: Bound;
  /** What the bound is about, and whether it was kept. */
  readonly measuredMs: number;
  readonly boundKept: boolean;
  readonly longestGapMs: number;
  readonly longestGapAtMs: number;
  /** In the time before the fault. */
  readonly quietGapMs: number;
  /** From the end of the fault to the first answer. */
  readonly resumeMs: number | null;
  /** From the fault until every copy was whole again; null: it was not. */
  readonly redundantAfterMs: number | null;
  readonly before: Latency;
  readonly during: Latency;
  readonly after: Latency;
  readonly faultAtMs: number;
  readonly healedAtMs: number;
  readonly endAtMs: number;
  readonly marks: readonly Mark[];
  readonly operations: number;
  readonly errors: number;
  /** Answered with an error that the fault explains. */
  readonly refused: number;
  readonly disconnects: number;
  readonly stuck: number;
  readonly errorEvents: readonly ClientEvent[];
  readonly disconnectEvents: readonly ClientEvent[];
  readonly verdict: Verdict;
  readonly checkMs: number;
  readonly cpu: CpuUse;
  /** How long the drill itself was kept from looking: a part of each gap may be its own. */
  readonly clientLagMs: number;
  readonly timeline: Timeline;
}

export interface RoundResult {
  readonly report: RoundReport;
  readonly content: Float64Array;
  readonly operations: number;
}

/** Load, fault, load; then the last read of everything, and the check of all that the client saw. */
export async function runRound(options: RoundOptions): Promise<RoundResult> {
  const { cluster, vdisk, scenario, quietMs, content, onPhase } = options;
  const facts = cluster.facts;
  const { isExpectedError } = scenario;
  const load = new Load(
    { ...options.load, ...(isExpectedError === undefined ? {} : { isExpectedError }) },
    options.firstOperation,
    content,
  );
  const watch = new Watch(cluster, vdisk, options.copies);
  await watch.start();
  onPhase('preparation');
  await scenario.prepare?.(cluster, watch);
  const failures: string[] = [];
  if ((await untilRedundant(watch, failures, HEALTHY_STALL_MS)) === null) watch.trustsHealth = false;
  const cpu = new CpuAccount(cluster);
  const lag = monitorEventLoopDelay({ resolution: 2 });
  lag.enable();
  onPhase('load');
  const startMs = performance.now();
  await load.start();
  await sleep(scenario.comparesWithBefore === true ? quietMs + HOLD_MS : quietMs / 2);
  const fault = new RunningFault(options, watch, load);
  onPhase(scenario.title);
  failures.push(...(await fault.run()), ...(await startEnded(cluster, watch)));
  onPhase('until everything is redundant again');
  const redundantMs = await untilRedundant(watch, failures, REDUNDANCY_STALL_MS);
  onPhase('load');
  await sleep(quietMs / 2);
  const endMs = performance.now();
  onPhase('the last answers');
  const stuck = await load.stop();
  lag.disable();
  const use = cpu.stop();
  await watch.stop();
  onPhase('check');
  const left = await load.readAll().catch((error: Error) => void failures.push(error.message));
  const checkStartMs = performance.now();
  const verdict = checkHistory(load.operations, content);
  const checkMs = performance.now() - checkStartMs;

  const { operations, completions, completed } = load;
  const { faultMs, healedMs, measureMs } = fault;
  const gap = longestGap(completions, completed, measureMs, endMs);
  const quietGap = longestGap(completions, completed, startMs, faultMs);
  const first = firstAfter(completions, completed, healedMs);
  const resumeMs = first === null ? null : first - healedMs;
  const bound = scenario.bound(facts);
  const measuredMs = bound.kind === 'resume' ? (resumeMs ?? Infinity) : gap.ms;
  for (const [kind, count] of Object.entries(verdict.counts)) if (count > 0) failures.push(`${kind} writes in ${count} blocks`);
  if (load.errors > 0) failures.push(`${load.errors} I/O errors`);
  if (load.disconnects > 0 && !facts.endpointDies) failures.push(`${load.disconnects} lost connections`);
  if (stuck > 0) failures.push(`${stuck} requests were never answered`);
  const relative = <T extends { readonly atMs: number }>(all: readonly T[]): T[] =>
    all.map(one => ({ ...one, atMs: roundMs(one.atMs - startMs) }));
  return {
    content: left ?? content,
    operations: operations.count,
    report: {
      scenario: scenario.name,
      startedAt: new Date(performance.timeOrigin + startMs).toISOString(),
      passed: failures.length === 0,
      failures,
      bound,
      measuredMs: roundMs(measuredMs),
      boundKept: measuredMs <= allowedMs(bound, quietGap.ms),
      longestGapMs: roundMs(gap.ms),
      longestGapAtMs: roundMs(gap.atMs - startMs),
      quietGapMs: roundMs(quietGap.ms),
      resumeMs: resumeMs === null ? null : roundMs(resumeMs),
      redundantAfterMs: redundantMs === null ? null : roundMs(redundantMs - faultMs),
      before: latencyBetween(operations, startMs, faultMs),
      during: latencyBetween(operations, faultMs, redundantMs ?? endMs),
      after: latencyBetween(operations, redundantMs ?? endMs, endMs),
      faultAtMs: roundMs(faultMs - startMs),
      healedAtMs: roundMs(healedMs - startMs),
      endAtMs: roundMs(endMs - startMs),
      marks: relative(watch.marks),
      operations: operations.count,
      errors: load.errors,
      refused: load.refused,
      disconnects: load.disconnects,
      stuck,
      errorEvents: relative(load.errorEvents),
      disconnectEvents: relative(load.disconnectEvents),
      verdict,
      checkMs: roundMs(checkMs),
      cpu: use,
      clientLagMs: roundMs(lag.max / 1e6),
      timeline: timelineOf(operations, operations.count, startMs, endMs),
    },
  };
}

function allowedMs(bound: Bound, quietGapMs: number): number {
  if (bound.kind === 'none') return Infinity;
  return bound.kind === 'over-quiet' ? quietGapMs + bound.ms : bound.ms;
}

/** A scenario at work: its marks, and what has to be undone. */
class RunningFault implements FaultContext {
  faultMs = 0;
  healedMs = 0;
  measureMs = 0;
  readonly cluster: Cluster;
  readonly holdMs = HOLD_MS;
  readonly #undo: (() => Promise<void> | void)[] = [];

  constructor(
    readonly options: RoundOptions,
    readonly watch: Watch,
    readonly load: Load,
  ) {
    this.cluster = options.cluster;
  }

  get facts() {
    return this.cluster.facts;
  }

  /** Gives what went wrong with it. */
  async run(): Promise<string[]> {
    const failures: string[] = [];
    await this.options.scenario.run(this).catch((error: Error) => failures.push(error.message));
    if (failures.length > 0) {
      for (const undo of this.#undo.reverse()) await Promise.resolve(undo()).catch((error: Error) => failures.push(error.message));
    }
    this.options.onUndo([]);
    const nowMs = performance.now();
    this.faultMs ||= nowMs;
    this.healedMs ||= nowMs;
    this.measureMs ||= this.faultMs;
    return failures;
  }

  answered(): number {
    return this.load.completed;
  }

  fault(what: string): void {
    const atMs = this.watch.mark('fault', what);
    this.faultMs ||= atMs;
    this.measureMs ||= atMs;
  }

  healed(what: string): void {
    this.healedMs = this.watch.mark('heal', what);
  }

  measureFromHere(what: string): void {
    this.measureMs = this.watch.mark('state', what);
  }

  undo(how: () => Promise<void> | void): void {
    this.#undo.push(how);
    this.options.onUndo(this.#undo);
  }
}

/** After the fault everything runs: what does not has failed by itself, and is started again for what follows. */
async function startEnded(cluster: Cluster, watch: Watch): Promise<string[]> {
  const failures: string[] = [];
  for (const id of cluster.ended()) {
    failures.push(`${id} has ended by itself: see its log`);
    await cluster.start(id).catch((error: Error) => failures.push(error.message));
    watch.mark('heal', `${id}, which had ended by itself, is started again`);
  }
  return failures;
}

/** When; null: it came to a stop before, which is a failure. */
async function untilRedundant(watch: Watch, failures: string[], stallMs: number): Promise<number | null> {
  await watch.look();
  try {
    await whileItGoesOn('not all copies are whole', () => ({ isDone: watch.isRedundant, text: watch.progress }), stallMs);
    return performance.now();
  } catch (error) {
    failures.push((error as Error).message);
    return null;
  }
}
