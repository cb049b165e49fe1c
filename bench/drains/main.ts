// npm run bench:drains [-- --rounds N --seconds S --background MIB --dir DIR --json FILE]
// What drains cost the latency of others: reads and durable writes beside the same stream of writes, on a node whose small log is drained all the time, and on one that drains nothing.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlClient } from '../../src/control/client.js';
import { GatepathUp, mutantOf } from '../../test/support/gatepath.js';
import { TestProcess } from '../../test/support/process.js';
import { program } from '../../test/support/programs.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { sleep } from '../../test/support/wait.js';
import { wholeNumber } from '../arguments.js';
import { compileLoadGenerator, runLoad, type LoadReport, type LoadRequest } from '../load/generator.js';
import { median } from '../report.js';

const MIB = 2 ** 20;
const NO_DRAINS = new URL('../no-drains.mjs', import.meta.url);
const RANGE_BYTES = 256 * MIB;
/** The stream of writes goes behind it. */
const STREAM_BYTES = 1024 * MIB;
/** All of the vdisk, in the part of one shard: what is read is in memory, whatever the stream of writes leaves there. */
const CACHE = '3G';
/** Of the node that drains: rounds for space go on all the time. */
const SMALL_LOG = '512M';
/** Of the one that does not: all rounds have to fit. */
const LARGE_LOG = '24G';
/** Until the stream's writes come as fast as they are to, and the small log is full enough to be drained. */
const LEAD_MS = 2_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    background: { type: 'string', default: '48' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

type Request = Pick<LoadRequest, 'mode' | 'queueDepth' | 'fua'>;
const CASES: readonly (readonly [string, Request])[] = [
  ['reads, 1 in flight', { mode: 'read', queueDepth: 1 }],
  ['reads, 32 in flight', { mode: 'read', queueDepth: 32 }],
  ['durable writes, 1 in flight', { mode: 'write', queueDepth: 1, fua: true }],
  ['durable writes, 32 in flight', { mode: 'write', queueDepth: 32, fua: true }],
];

interface Node {
  readonly name: 'drains' | 'no drains';
  readonly system: GatepathUp;
  readonly client: ControlClient;
}

interface Sample {
  readonly case: string;
  readonly node: Node['name'];
  readonly round: number;
  readonly report: LoadReport;
  readonly drainedMib: number;
}

function node(name: Node['name'], dir: string): Node {
  const dataDir = join(dir, name.replace(' ', '-'));
  // Both as modules: the one that drains nothing is changed when it loads them.
  const { argv, env } = mutantOf(NO_DRAINS);
  const oplog = name === 'drains' ? SMALL_LOG : LARGE_LOG;
  const system = new GatepathUp({
    dataDir,
    vdisk: 'bench',
    size: String(RANGE_BYTES + STREAM_BYTES),
    command: argv()[1]!,
    env: name === 'drains' ? {} : env,
    extraArgs: ['--oplog', oplog, '--cache', CACHE],
  });
  return { name, system, client: new ControlClient({ socketPath: join(dataDir, 'control.sock') }) };
}

async function drainedBytes({ client }: Node): Promise<number> {
  const { shards } = await client.counters();
  return shards.reduce((sum, { hops }) => sum + (hops['drain']?.bytes ?? 0), 0);
}

function stream({ socket, exportName }: GatepathUp, mibPerSecond: number): TestProcess {
  const job = ['--name=stream', '--ioengine=nbd', `--uri=nbd+unix:///${exportName}?socket=${socket}`, '--rw=randwrite', '--bs=64k'];
  const range = [`--offset=${RANGE_BYTES}`, `--size=${STREAM_BYTES}`, '--iodepth=4', '--time_based', '--runtime=3600'];
  return TestProcess.start([program('fio'), '--thread', '--output-format=terse', ...job, ...range, `--rate=${mibPerSecond}m`]);
}

async function measure(of: Node, round: number, generator: string, seconds: number, mibPerSecond: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  const background = stream(of.system, mibPerSecond);
  await sleep(LEAD_MS);
  for (const [name, request] of CASES) {
    const before = await drainedBytes(of);
    const { socket, exportName } = of.system;
    const report = await runLoad(generator, { ...request, socket, exportName, blockBytes: 4096, seconds, rangeBytes: RANGE_BYTES });
    const drainedMib = ((await drainedBytes(of)) - before) / MIB;
    samples.push({ case: name, node: of.name, round, report, drainedMib });
    console.error(`  round ${round}, ${of.name}, ${name}: p99 ${report.p99Us.toFixed(0)} us, ${drainedMib.toFixed(0)} MiB drained`);
  }
  await background.kill();
  return samples;
}

function print(samples: readonly Sample[]): void {
  console.log('case                                      p50 us    p99 us  p99.9 us      IOPS  MiB drained');
  for (const [name] of CASES) {
    const of = (node: Node['name'], pick: (sample: Sample) => number): number[] =>
      samples.filter(one => one.case === name && one.node === node).map(pick);
    for (const node of ['drains', 'no drains'] as const) {
      const column = (pick: (sample: Sample) => number, width = 10): string => median(of(node, pick)).toFixed(0).padStart(width);
      const { p50, p99, p999, iops } = {
        ...{ p50: column(({ report }) => report.p50Us), p99: column(({ report }) => report.p99Us) },
        ...{ p999: column(({ report }) => report.p999Us), iops: column(({ report }) => report.iops) },
      };
      console.log(`${`${name}, ${node}`.padEnd(40)}${p50}${p99}${p999}${iops}${column(({ drainedMib }) => drainedMib, 13)}`);
    }
    const ratio = (pick: (report: LoadReport) => number): number => {
      const [ours, others] = [of('drains', ({ report }) => pick(report)), of('no drains', ({ report }) => pick(report))];
      return median(ours.map((value, i) => value / others[i]!));
    };
    console.log(
      `  with / without, median of the rounds: p99 ${ratio(one => one.p99Us).toFixed(2)}, p50 ${ratio(one => one.p50Us).toFixed(2)}`,
    );
  }
}

const rounds = wholeNumber('rounds', values.rounds);
const seconds = wholeNumber('seconds', values.seconds);
const mibPerSecond = wholeNumber('background', values.background);
const dir = values.dir ?? makeTempDir('drains');
const nodes = [node('drains', dir), node('no drains', dir)];
try {
  const generator = await compileLoadGenerator();
  for (const { system } of nodes) {
    await system.start();
    const { socket, exportName } = system;
    const request = { socket, exportName, blockBytes: 4096, queueDepth: 32, rangeBytes: RANGE_BYTES } as const;
    await runLoad(generator, { ...request, mode: 'read', seconds: 0.2, fill: true, verify: true });
  }
  // A round that is not counted: code is compiled, caches are warm.
  for (const one of nodes) await measure(one, 0, generator, 1, mibPerSecond);
  const samples: Sample[] = [];
  for (let round = 1; round <= rounds; round++)
    for (const one of round % 2 === 1 ? nodes : nodes.toReversed())
      samples.push(...(await measure(one, round, generator, seconds, mibPerSecond)));
  for (const [name] of CASES) {
    const drained = (of: Node['name']): number =>
      samples.reduce((sum, one) => sum + (one.case === name && one.node === of ? one.drainedMib : 0), 0);
    if (drained('drains') === 0 || drained('no drains') > 0)
      throw new Error(`${name}: nothing was drained where it had to be, or the other way round`);
  }
  print(samples);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(samples, null, 2)}\n`);
} finally {
  for (const { system } of nodes) await system.kill();
  if (values.dir === undefined) removeTempDir(dir);
}
