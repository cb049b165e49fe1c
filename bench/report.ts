import type { MachineFacts } from './machine.js';
import type { Sample, SuiteResult } from './turns.js';

export interface PeerSummary {
  readonly peer: string;
  readonly ours: boolean;
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly p50Us: number | undefined;
  readonly p99Us: number | undefined;
  readonly deviceWrites: number;
  readonly deviceWrittenMiB: number;
  readonly deviceFlushes: number;
  readonly otherLoadPercent: number;
  readonly hopUs: Readonly<Record<string, number>>;
  /** Of ours against the best peer, round by round, then the median; undefined for peers. */
  readonly ratio: number | undefined;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function summarize(result: SuiteResult): readonly PeerSummary[] {
  const names = [...new Set(result.samples.map(sample => sample.peer))];
  return names.map(peer => {
    const samples = result.samples.filter(sample => sample.peer === peer);
    const values = samples.map(sample => sample.value);
    const of = (pick: (sample: Sample) => number | undefined) => median(samples.map(pick).filter(value => value !== undefined));
    const latency = (key: 'p50Us' | 'p99Us') => (samples[0]?.report[key] === undefined ? undefined : of(sample => sample.report[key]));
    const ours = samples[0]?.ours === true;
    return {
      peer,
      ours,
      median: median(values),
      low: Math.min(...values),
      high: Math.max(...values),
      p50Us: latency('p50Us'),
      p99Us: latency('p99Us'),
      deviceWrites: of(sample => sample.deviceWrites),
      deviceWrittenMiB: of(sample => sample.deviceWrittenMiB),
      deviceFlushes: of(sample => sample.deviceFlushes),
      otherLoadPercent: of(sample => sample.otherLoadPercent),
      hopUs: Object.fromEntries(Object.keys(samples[0]!.hopUs).map(hop => [hop, of(sample => sample.hopUs[hop])])),
      ratio: ours ? ratioToBestPeer(result.samples, peer) : undefined,
    };
  });
}

/** Machines drift within minutes: only what was measured in the same round is compared. */
function ratioToBestPeer(samples: readonly Sample[], ours: string): number | undefined {
  const rounds = [...new Set(samples.map(sample => sample.round))];
  const ratios: number[] = [];
  for (const round of rounds) {
    const inRound = samples.filter(sample => sample.round === round);
    const own = inRound.find(sample => sample.peer === ours);
    const peers = inRound.filter(sample => !sample.ours).map(sample => sample.value);
    if (own !== undefined && peers.length > 0) ratios.push(own.value / Math.max(...peers));
  }
  return ratios.length === 0 ? undefined : median(ratios);
}

export function printSuite(result: SuiteResult, print: (line: string) => void): void {
  const durable = result.samples.some(sample => sample.deviceFlushes > 0);
  print(`\n${result.name}: ${result.command}`);
  print(row(['server', result.unit, 'low', 'high', 'p50 µs', 'p99 µs', ...(durable ? ['dev. writes', 'MiB', 'flushes'] : []), 'other %']));
  for (const peer of summarize(result)) {
    const device = durable ? [round(peer.deviceWrites), round(peer.deviceWrittenMiB), round(peer.deviceFlushes)] : [];
    const latency = [peer.p50Us, peer.p99Us].map(value => (value === undefined ? '–' : value.toFixed(1)));
    print(row([peer.peer, round(peer.median), round(peer.low), round(peer.high), ...latency, ...device, round(peer.otherLoadPercent)]));
  }
  printHops(result, print);
  for (const peer of summarize(result))
    if (peer.ratio !== undefined) print(`  ${peer.peer} / best peer: ${verdict(peer.ratio, result.target)}`);
}

/** Only where a request crosses processes that are told apart. */
function printHops(result: SuiteResult, print: (line: string) => void): void {
  const summaries = summarize(result);
  const hops = [...new Set(summaries.flatMap(({ hopUs }) => Object.keys(hopUs)))];
  if (hops.length < 2) return;
  print(row(['CPU µs / request', ...hops]));
  for (const { peer, hopUs } of summaries) print(row([peer, ...hops.map(hop => hopUs[hop]?.toFixed(1) ?? '–')]));
}

function verdict(ratio: number, target: number | undefined): string {
  const text = `${ratio.toFixed(2)}×`;
  if (target === undefined) return `${text} (for the record)`;
  return `${text}, target ${target}×: ${ratio >= target ? 'met' : 'MISSED'}`;
}

function round(value: number): string {
  return Number.isNaN(value) ? '–' : Math.round(value).toLocaleString('en-US');
}

function row(cells: readonly string[]): string {
  const [first = '', ...rest] = cells;
  return `  ${first.padEnd(24)}${rest.map(cell => cell.padStart(12)).join('')}`;
}

export function toJson(machine: MachineFacts, results: readonly SuiteResult[]): string {
  const suites = results.map(result => ({ ...result, summary: summarize(result) }));
  return `${JSON.stringify({ machine, suites }, null, 2)}\n`;
}
