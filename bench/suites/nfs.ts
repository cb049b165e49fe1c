import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { check } from '../../test/support/process.js';
import { runLoad } from '../load/generator.js';
import { endedChildrenCpuSeconds } from '../machine.js';
import type { Peer } from '../peers.js';
import { measure, type BenchContext, type Sample, type SuiteResult } from '../turns.js';
import { NfsServer } from './nfs-server.js';

/** The same client for both: QEMU's block layer, as a virtual machine's disk would use it. */
export interface NfsSuite {
  readonly name: string;
  readonly title: string;
  readonly write: boolean;
  readonly queueDepth: number;
  /** Requests of one run. */
  readonly count: number;
}

const RANGE_BYTES = 512 * 1024 * 1024;
const BLOCK_BYTES = 4096;
/** From request to request; with it the requests walk over the whole disk several times. */
const STRIDE_BYTES = 266_240;

export const NFS_SUITES: readonly NfsSuite[] = [
  { name: 'nfs-read-4k-qd1', title: 'qemu-img bench, reads of 4 KiB, one in flight', write: false, queueDepth: 1, count: 20_000 },
  { name: 'nfs-read-4k-qd32', title: 'qemu-img bench, reads of 4 KiB, 32 in flight', write: false, queueDepth: 32, count: 80_000 },
  {
    name: 'nfs-write-4k-qd1',
    title: 'qemu-img bench, writes of 4 KiB, one in flight (ours durable, NFS volatile)',
    write: true,
    queueDepth: 1,
    count: 10_000,
  },
  {
    name: 'nfs-write-4k-qd32',
    title: 'qemu-img bench, writes of 4 KiB, 32 in flight (ours durable, NFS volatile)',
    write: true,
    queueDepth: 32,
    count: 60_000,
  },
];

interface Target {
  readonly name: string;
  readonly ours: boolean;
  readonly pid: number;
  readonly argv: (bench: readonly string[]) => readonly string[];
}

/** For the record: nfs-ganesha over TCP loopback beside ours, both behind QEMU's client. */
export async function runNfsSuite(suite: NfsSuite, context: BenchContext): Promise<SuiteResult> {
  const samples: Sample[] = [];
  const peers: Peer[] = [];
  const nfs = await NfsServer.start(mkdir(context.dir, `${suite.name}-nfs`), RANGE_BYTES);
  try {
    const targets: Target[] = [];
    for (const factory of context.ours) {
      const peer = await factory.start({ dir: mkdir(context.dir, `${suite.name}-${peers.length}`), sizeBytes: RANGE_BYTES, prefix: [] });
      peers.push(peer);
      await fill(context, peer);
      const uri = `nbd+unix:///${peer.exportName}?socket=${peer.socket}`;
      targets.push({ name: peer.name, ours: true, pid: peer.pid, argv: bench => [...bench, uri] });
    }
    targets.push({ name: 'nfs-ganesha', ours: false, pid: nfs.process.pid, argv: bench => nfs.inside([...bench, nfs.uri]) });
    for (let round = 1; round <= context.rounds; round++) {
      for (const target of targets) {
        const sample = await measure(target, round, 'IOPS', context.dir, () => benchOnce(suite, target));
        samples.push(sample);
        context.log(`  ${suite.name} round ${round} ${target.name}: ${Math.round(sample.value)} IOPS`);
      }
    }
  } finally {
    for (const peer of peers) await peer.stop();
    await nfs.stop();
  }
  return { name: suite.name, unit: 'IOPS', target: undefined, command: suite.title, samples };
}

async function benchOnce(suite: NfsSuite, target: Target): Promise<{ iops: number; mbPerSecond: number; clientCpuSeconds: number }> {
  const bench = ['qemu-img', 'bench', '-f', 'raw', '-t', 'none', '-d', String(suite.queueDepth), '-s', String(BLOCK_BYTES)];
  bench.push('-S', String(STRIDE_BYTES), '-c', String(suite.count), ...(suite.write ? ['-w'] : []));
  const before = endedChildrenCpuSeconds();
  const output = await check(target.argv(bench), { timeoutMs: 120_000 });
  const clientCpuSeconds = endedChildrenCpuSeconds() - before;
  const seconds = Number(/Run completed in ([\d.]+) seconds/.exec(output)?.[1]);
  if (!(seconds > 0)) throw new Error(`qemu-img bench said: ${output}`);
  const iops = suite.count / seconds;
  return { iops, mbPerSecond: (iops * BLOCK_BYTES) / 1e6, clientCpuSeconds };
}

async function fill(context: BenchContext, peer: Peer): Promise<void> {
  const { socket, exportName } = peer;
  const request = {
    socket,
    exportName,
    mode: 'read',
    blockBytes: BLOCK_BYTES,
    queueDepth: 8,
    rangeBytes: RANGE_BYTES,
    seconds: 0.2,
  } as const;
  await runLoad(context.generator, { ...request, fill: true, verify: true });
}

function mkdir(parent: string, name: string): string {
  const path = join(parent, name);
  mkdirSync(path, { recursive: true });
  return path;
}
