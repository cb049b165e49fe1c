// npm run bench:transfer [-- --rounds N --mib M --dir DIR --json FILE]
// `gatepath vdisk import` and `export` of a raw image, full and sparse, against nbdcopy and qemu-img convert into and out of an attached vdisk of the same node. All end when the data is durable.
import { closeSync, ftruncateSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlClient } from '../../src/control/client.js';
import { gatepath, GatepathUp } from '../../test/support/gatepath.js';
import { check } from '../../test/support/process.js';
import { program } from '../../test/support/programs.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { waitFor } from '../../test/support/wait.js';
import { wholeNumber } from '../arguments.js';
import { median } from '../report.js';

const MIB = 2 ** 20;
/** Of a sparse image: every eighth MiB is data. */
const SPARSE = 8;
const DRAINED_MS = 60_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    mib: { type: 'string', default: '1024' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

const WHO = ['gatepath', 'nbdcopy', 'qemu-img'] as const;
type Who = (typeof WHO)[number];
interface Sample {
  readonly case: string;
  readonly who: Who;
  readonly round: number;
  readonly seconds: number;
}

const rounds = wholeNumber('rounds', values.rounds);
const mib = wholeNumber('mib', values.mib);
const dir = values.dir ?? makeTempDir('transfer');
const system = new GatepathUp({ dataDir: join(dir, 'data'), vdisk: 'demo', size: '1M' });
const at = ['--data', system.options.dataDir];
const uri = (name: string): string => `nbd+unix:///${name}?socket=${system.socket}`;

function makeImage(path: string, isSparse: boolean): void {
  const fd = openSync(path, 'w');
  for (let i = 0; i < mib; i++) if (!isSparse || i % SPARSE === 0) writeSync(fd, randomBytes(MIB), 0, MIB, i * MIB);
  ftruncateSync(fd, mib * MIB);
  closeSync(fd);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const beginMs = performance.now();
  await work();
  return (performance.now() - beginMs) / 1_000;
}

const qemu = ['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', '-W', '-m', '16'];

async function importBy(who: Who, image: string, name: string): Promise<number> {
  if (who === 'gatepath') return timed(() => gatepath('vdisk', 'import', name, image, ...at));
  await gatepath('vdisk', 'create', name, `${mib}M`, ...at);
  await gatepath('attach', name, ...at);
  const copy =
    who === 'nbdcopy'
      ? [program('nbdcopy'), '--flush', '--destination-is-zero', image, uri(name)]
      : [...qemu, '-n', '--target-is-zero', image, uri(name)];
  const seconds = await timed(() => check(copy, { timeoutMs: 600_000 }));
  await gatepath('detach', name, ...at);
  return seconds;
}

async function exportBy(who: Who, name: string, path: string): Promise<number> {
  if (who === 'gatepath') return timed(() => gatepath('vdisk', 'export', name, path, ...at));
  await gatepath('attach', name, ...at);
  const copy = who === 'nbdcopy' ? [program('nbdcopy'), '--flush', uri(name), path] : [...qemu, uri(name), path];
  const seconds = await timed(async () => {
    await check(copy, { timeoutMs: 600_000 });
    await check(['sync', path]);
  });
  await gatepath('detach', name, ...at);
  return seconds;
}

/** What one has left to be drained is not to slow down the next one. */
async function settled(): Promise<void> {
  const client = new ControlClient({ socketPath: join(system.options.dataDir, 'control.sock') });
  await waitFor('drained', DRAINED_MS, async () => (await client.listVdisks()).every(({ logBytes }) => logBytes === 0));
  await check(['sync', '-f', dir]);
}

async function measure(kind: string, image: string, who: Who, round: number): Promise<Sample[]> {
  const [name, back] = [`${kind}-${who}`, join(dir, 'back.raw')];
  await settled();
  const into = { case: `${kind}, import`, who, round, seconds: await importBy(who, image, name) };
  await settled();
  const out = { case: `${kind}, export`, who, round, seconds: await exportBy(who, name, back) };
  await check(['cmp', image, back], { timeoutMs: 600_000 });
  rmSync(back);
  await gatepath('vdisk', 'delete', name, ...at);
  for (const one of [into, out]) console.error(`  round ${round}, ${one.case}, ${who}: ${one.seconds.toFixed(2)} s`);
  return [into, out];
}

function print(samples: readonly Sample[]): void {
  console.log(`${'seconds, median'.padEnd(20)}${WHO.map(who => who.padStart(10)).join('')}   ours / the best other, median of the rounds`);
  for (const name of new Set(samples.map(one => one.case))) {
    const of = (who: Who): number[] => samples.filter(one => one.case === name && one.who === who).map(({ seconds }) => seconds);
    const best = of('nbdcopy').map((seconds, i) => Math.min(seconds, of('qemu-img')[i]!));
    const ratio = median(of('gatepath').map((seconds, i) => seconds / best[i]!));
    console.log(`${name.padEnd(20)}${WHO.map(who => median(of(who)).toFixed(2).padStart(10)).join('')}   ${ratio.toFixed(2)}`);
  }
}

try {
  await system.start();
  const samples: Sample[] = [];
  for (const kind of ['full', 'sparse']) {
    const image = join(dir, `${kind}.raw`);
    makeImage(image, kind === 'sparse');
    for (let round = 1; round <= rounds; round++)
      for (const who of round % 2 === 1 ? WHO : WHO.toReversed()) samples.push(...(await measure(kind, image, who, round)));
    rmSync(image);
  }
  print(samples);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(samples, null, 2)}\n`);
} finally {
  await system.kill();
  if (values.dir === undefined) removeTempDir(dir);
}
