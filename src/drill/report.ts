import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Facts } from './cluster.js';
import { page } from './page.js';
import type { BesideReport } from './beside.js';
import type { ReplicaReport } from './replicas.js';
import type { RoundReport } from './round.js';

export interface Skipped {
  readonly scenario: string;
  readonly why: string;
}

export interface ScenarioSummary {
  readonly scenario: string;
  readonly title: string;
  readonly rounds: number;
  readonly failedRounds: number;
  readonly missedRounds: number;
  readonly bound: RoundReport['bound'];
  readonly worstMs: number;
  readonly medianMs: number;
  /** Index into the report's rounds. */
  readonly worstRound: number;
  readonly redundantAfterMs: number | null;
}

export interface Report {
  readonly version: 1;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly seed: number;
  readonly facts: Facts;
  readonly load: Readonly<Record<string, number>>;
  readonly machine: {
    readonly cpus: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly arch: string;
    readonly node: string;
  };
  /** No round failed, and with --strict none missed its bound. */
  readonly passed: boolean;
  readonly strict: boolean;
  readonly scenarios: readonly ScenarioSummary[];
  readonly skipped: readonly Skipped[];
  /** null: there was none. */
  readonly beside: BesideReport | null;
  /** null: not checked. */
  readonly replicas: ReplicaReport | null;
  readonly rounds: readonly RoundReport[];
}

export const machine = (): Report['machine'] => ({
  cpus: cpus().length,
  memoryBytes: totalmem(),
  kernel: release(),
  arch: arch(),
  node: process.version,
});

export function summarize(scenario: string, title: string, all: readonly RoundReport[]): ScenarioSummary {
  const rounds = all.map((round, index) => ({ round, index })).filter(({ round }) => round.scenario === scenario);
  const sorted = [...rounds].sort((a, b) => a.round.measuredMs - b.round.measuredMs);
  const worst = sorted.at(-1)!;
  const redundant = rounds.map(({ round }) => round.redundantAfterMs);
  return {
    scenario,
    title,
    rounds: rounds.length,
    failedRounds: rounds.filter(({ round }) => !round.passed).length,
    missedRounds: rounds.filter(({ round }) => !round.boundKept).length,
    bound: worst.round.bound,
    worstMs: worst.round.measuredMs,
    medianMs: sorted[Math.floor(sorted.length / 2)]!.round.measuredMs,
    worstRound: worst.index,
    redundantAfterMs: redundant.includes(null) ? null : Math.max(...redundant.map(Number)),
  };
}

export function writeReport(directory: string, report: Report): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'drill.json'), `${JSON.stringify(report)}\n`);
  writeFileSync(join(directory, 'drill.html'), page(report));
}

/** What a bound asks for, in words. */
export function boundText(bound: RoundReport['bound']): string {
  switch (bound.kind) {
    case 'gap':
      return `longest gap ≤ ${bound.ms} ms`;
    case 'resume':
      return `first answer ≤ ${bound.ms} ms after the path is back`;
    case 'over-quiet':
      return `longest gap ≤ that of quiet time + ${bound.ms} ms`;
    case 'none':
      return 'no bound';
  }
}
