// npm run bench:recovery [-- --logs 1,8 --blocks 4,64 --rounds N --dir DIR --json FILE]
// How long a node that was killed takes to serve again with so many GiB in its log that are not in the extents, beside reading the same bytes from the same disk (O_DIRECT).
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { GatepathUp, mutantOf } from '../../test/support/gatepath.js';
import { check } from '../../test/support/process.js';
import { program } from '../../test/support/programs.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { numbers, wholeNumber } from '../arguments.js';
import { median } from '../report.js';

const GIB = 2 ** 30;
const NO_DRAINS = new URL('../no-drains.mjs', import.meta.url);
/** A vdisk has one of the log's streams, and records and checks take room beside the data. */
const LOG_SHARE = 0.4;
/** What a vdisk writes anew, again and again: a log is longer than what it is about. */
const RANGE_BYTES = 4 * GIB;

const { values } = parseArgs({
  options: {
    logs: { type: 'string', default: '1,8' },
    blocks: { type: 'string', default: '4,64' },
    rounds: { type: 'string', default: '3' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

interface Measured {
  readonly logGib: number;
  readonly blockKib: number;
  readonly logBytes: number;
  readonly startMs: readonly number[];
  /** The same bytes, read with O_DIRECT by dd, 1 MiB at a time. */
  readonly readMs: readonly number[];
}

/** Both without drains: what is in the log stays there from round to round. */
function system(dataDir: string, oplogGib: number): GatepathUp {
  const { argv, env } = mutantOf(NO_DRAINS);
  const extraArgs = ['--oplog', `${oplogGib}G`];
  return new GatepathUp({ dataDir, vdisk: 'bench', size: String(RANGE_BYTES), command: argv()[1]!, env, extraArgs });
}

async function timedStart(one: GatepathUp): Promise<number> {
  const fromMs = performance.now();
  await one.start();
  return performance.now() - fromMs;
}

const logFiles = (dataDir: string): string[] =>
  readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .filter(path => path.includes('oplog'))
    .map(path => join(dataDir, path))
    .filter(path => statSync(path).isFile());

const bytesOf = (paths: readonly string[]): number => paths.reduce((sum, path) => sum + statSync(path).size, 0);

async function timedRead(paths: readonly string[]): Promise<number> {
  const fromMs = performance.now();
  for (const path of paths) await check([program('dd'), `if=${path}`, 'of=/dev/null', 'bs=1M', 'iflag=direct']);
  return performance.now() - fromMs;
}

async function measure(logGib: number, blockKib: number, rounds: number, dir: string): Promise<Measured> {
  const dataDir = join(dir, `log-${logGib}-blocks-${blockKib}`);
  const one = system(dataDir, Math.max(2, Math.ceil(logGib / LOG_SHARE)));
  await one.start();
  await fill(one, logGib, blockKib);
  const [startMs, readMs]: [number[], number[]] = [[], []];
  let logBytes = 0;
  for (let i = 0; i < rounds; i++) {
    await one.kill();
    const paths = logFiles(dataDir);
    logBytes = bytesOf(paths);
    readMs.push(await timedRead(paths));
    startMs.push(await timedStart(one));
    console.error(
      `  ${logGib} GiB of ${blockKib} KiB, round ${i + 1}: ${startMs.at(-1)!.toFixed(0)} ms; read ${readMs.at(-1)!.toFixed(0)} ms`,
    );
  }
  await one.kill();
  removeTempDir(dataDir);
  return { logGib, blockKib, logBytes, startMs, readMs };
}

async function fill({ socket, exportName }: GatepathUp, gib: number, blockKib: number): Promise<void> {
  const job = ['--name=fill', '--ioengine=nbd', `--uri=nbd+unix:///${exportName}?socket=${socket}`, '--rw=randwrite', `--bs=${blockKib}k`];
  const range = [`--size=${RANGE_BYTES}`, `--io_size=${gib}G`, '--iodepth=32', '--norandommap'];
  await check([program('fio'), '--thread', '--output-format=terse', ...job, ...range], { timeoutMs: 1_200_000 });
}

const dir = values.dir ?? makeTempDir('recovery');
const rounds = wholeNumber('rounds', values.rounds);
try {
  const empty = system(join(dir, 'empty'), 2);
  const emptyMs: number[] = [];
  for (let i = 0; i < rounds; i++) {
    emptyMs.push(await timedStart(empty));
    await empty.kill();
  }
  const all: Measured[] = [];
  for (const logGib of numbers('logs', values.logs))
    for (const blockKib of numbers('blocks', values.blocks)) all.push(await measure(logGib, blockKib, rounds, dir));
  console.log(`an empty log: ${median(emptyMs).toFixed(0)} ms until it serves`);
  console.log('log                        files GiB   start ms (worst)   GiB/s   read ms   GiB/s   ratio of speeds');
  for (const { logGib, blockKib, logBytes, startMs, readMs } of all) {
    // What every start takes is not the log's.
    const ownMs = startMs.map(ms => Math.max(1, ms - median(emptyMs)));
    const speed = (ms: number): string => (logBytes / GIB / (ms / 1000)).toFixed(2);
    const ratio = median(ownMs.map((ms, i) => readMs[i]! / ms));
    const start = `${median(startMs).toFixed(0).padStart(11)} (${Math.max(...startMs).toFixed(0)})`.padEnd(20);
    console.log(
      `${`${logGib} GiB of ${blockKib} KiB writes`.padEnd(27)}${(logBytes / GIB).toFixed(2).padStart(9)}${start}${speed(median(ownMs)).padStart(7)}${median(readMs).toFixed(0).padStart(10)}${speed(median(readMs)).padStart(8)}${ratio.toFixed(2).padStart(12)}`,
    );
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ emptyMs, all }, null, 2)}\n`);
} finally {
  if (values.dir === undefined) removeTempDir(dir);
}
