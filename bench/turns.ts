import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runLoad, type LoadReport, type LoadRequest } from './load/generator.js';
import { busyCpuSeconds, diskCounters, processCpuSeconds } from './machine.js';
import type { Hop, Peer, PeerFactory } from './peers.js';

/** One measurement of one peer. */
export interface Sample {
  readonly peer: string;
  readonly ours: boolean;
  readonly round: number;
  /** What the suite compares: IOPS, or MB/s. */
  readonly value: number;
  readonly report: Partial<LoadReport>;
  readonly serverCpuSeconds: number;
  /** CPU of each hop and of the client, in µs of all threads for a request. */
  readonly hopUs: Readonly<Record<string, number>>;
  /** CPU that neither the server nor the client used, in percent of one CPU. */
  readonly otherLoadPercent: number;
  readonly deviceWrites: number;
  readonly deviceWrittenMiB: number;
  readonly deviceFlushes: number;
}

export interface SuiteResult {
  readonly name: string;
  readonly unit: 'IOPS' | 'MB/s';
  /** How much better than the best peer ours must be, in the median of rounds; undefined: for the record. */
  readonly target: number | undefined;
  readonly command: string;
  readonly samples: readonly Sample[];
}

export interface NbdSuite {
  readonly name: string;
  readonly title: string;
  readonly unit: 'IOPS' | 'MB/s';
  readonly target?: number;
  /** Instead of those of the command line. */
  readonly ours?: readonly PeerFactory[];
  readonly peers: readonly PeerFactory[];
  readonly request: Omit<LoadRequest, 'socket' | 'exportName' | 'seconds'>;
  /** Server and client on one CPU. */
  readonly pinned?: boolean;
}

export interface BenchContext {
  readonly generator: string;
  /** On the measured disk. */
  readonly dir: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly ours: readonly PeerFactory[];
  readonly log: (line: string) => void;
}

const PINNED_CPU = 0;
const FILL_SECONDS = 0.2;
/** Less than so much written in each of so many seconds is quiet. Longer than a drain waits for more to do. */
const QUIET_BYTES = 1 << 20;
const QUIET_SECONDS = 7;
const QUIET_TIMEOUT_MS = 60_000;

/** All peers are started and filled with random data; then, round by round, each is measured once: forwards in one round, backwards in the next. */
export async function runNbdSuite(suite: NbdSuite, context: BenchContext): Promise<SuiteResult> {
  const request = { ...suite.request, seconds: context.seconds, ...(suite.pinned === true ? { pinToCpu: PINNED_CPU } : {}) };
  const peers: Peer[] = [];
  const samples: Sample[] = [];
  try {
    for (const factory of [...(suite.ours ?? context.ours), ...suite.peers]) {
      const dir = join(context.dir, `${suite.name}-${peers.length}`);
      mkdirSync(dir, { recursive: true });
      const prefix = suite.pinned === true ? ['taskset', '-c', String(PINNED_CPU)] : [];
      const peer = await factory.start({ dir, sizeBytes: request.rangeBytes, prefix });
      peers.push(peer);
      // The fill's own load is a short checked read: it also proves that what is measured is what was written.
      const { socket, exportName } = peer;
      await runLoad(context.generator, {
        ...request,
        socket,
        exportName,
        mode: 'read',
        fua: false,
        seconds: FILL_SECONDS,
        fill: true,
        verify: true,
      });
    }
    await whenDeviceIsQuiet(context.dir);
    // A round that is not counted: code is compiled, caches are warm.
    for (const { socket, exportName } of peers) await runLoad(context.generator, { ...request, socket, exportName });
    for (let round = 1; round <= context.rounds; round++) {
      for (const peer of round % 2 === 1 ? peers : peers.toReversed()) {
        const sample = await measure(peer, round, suite.unit, context.dir, () =>
          runLoad(context.generator, { ...request, socket: peer.socket, exportName: peer.exportName }),
        );
        samples.push(sample);
        context.log(`  ${suite.name} round ${round} ${peer.name}: ${Math.round(sample.value)} ${suite.unit}`);
      }
    }
  } finally {
    for (const peer of peers) await peer.stop();
  }
  return { name: suite.name, unit: suite.unit, target: suite.target, command: suite.title, samples };
}

/** What the fill has left behind (drains of ours, the page cache of others) would otherwise be measured with the first rounds. */
async function whenDeviceIsQuiet(dir: string): Promise<void> {
  const deadlineMs = performance.now() + QUIET_TIMEOUT_MS;
  for (let quietSeconds = 0; quietSeconds < QUIET_SECONDS && performance.now() < deadlineMs;) {
    const before = diskCounters(dir)?.writtenBytes ?? 0;
    await new Promise(resolve => setTimeout(resolve, 1_000));
    quietSeconds = (diskCounters(dir)?.writtenBytes ?? 0) - before < QUIET_BYTES ? quietSeconds + 1 : 0;
  }
}

/** One run with the counters of its time around it. */
export async function measure(
  peer: Pick<Peer, 'name' | 'ours' | 'pid' | 'hops'>,
  round: number,
  unit: 'IOPS' | 'MB/s',
  dir: string,
  load: () => Promise<Partial<LoadReport> & Pick<LoadReport, 'iops' | 'mbPerSecond' | 'clientCpuSeconds'>>,
): Promise<Sample> {
  const { hops = [] } = peer;
  const hopsBefore = hops.map(cpuSecondsOf);
  const before = { at: performance.now(), disk: diskCounters(dir), busy: busyCpuSeconds(), server: processCpuSeconds(peer.pid) };
  const report = await load();
  const elapsedSeconds = (performance.now() - before.at) / 1000;
  const serverCpuSeconds = processCpuSeconds(peer.pid) - before.server;
  const hopSeconds = hops.map((hop, i) => [hop.name, cpuSecondsOf(hop) - hopsBefore[i]!] as const);
  const other = busyCpuSeconds() - before.busy - serverCpuSeconds - report.clientCpuSeconds;
  const disk = diskCounters(dir);
  const delta = (key: 'writes' | 'writtenBytes' | 'flushes') => (disk?.[key] ?? 0) - (before.disk?.[key] ?? 0);
  return {
    peer: peer.name,
    ours: peer.ours,
    round,
    value: unit === 'IOPS' ? report.iops : report.mbPerSecond,
    report,
    serverCpuSeconds,
    hopUs: perRequest([['client', report.clientCpuSeconds], ...hopSeconds], report.iops * elapsedSeconds),
    otherLoadPercent: Math.max(0, Math.round((other / elapsedSeconds) * 100)),
    deviceWrites: delta('writes'),
    deviceWrittenMiB: Math.round(delta('writtenBytes') / 2 ** 20),
    deviceFlushes: delta('flushes'),
  };
}

function cpuSecondsOf({ pids }: Hop): number {
  return pids.reduce((sum, pid) => sum + processCpuSeconds(pid), 0);
}

function perRequest(seconds: readonly (readonly [string, number])[], requests: number): Record<string, number> {
  return Object.fromEntries(seconds.map(([name, value]) => [name, (value * 1e6) / requests]));
}
