// npm run bench:takeover [-- --logs 0,1,8 --vdisks 1,100,1000 --rounds N --dir DIR --json FILE]
// How long a vdisk waits when its controller is killed, by the length of the log that is not drained (GiB), and by the number of vdisks that lose their controller with it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BLOCK_BYTES } from '../../src/drill/limits.js';
import { Cluster, sleep } from '../../src/drill/cluster.js';
import { Load } from '../../src/drill/load.js';
import { NbdConnection, requestBuffer } from '../../src/nbd-client/connection.js';
import { whileItGoesOn } from '../../src/drill/patience.js';
import { Random } from '../../src/drill/random.js';
import { GatepathCluster } from '../../test/support/gatepath-cluster.js';
import { check } from '../../test/support/process.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { numbers, wholeNumber } from '../arguments.js';
import { median } from '../report.js';

const GIB = 2 ** 30;
const NO_DRAINS = new URL('../no-drains.mjs', import.meta.url);
/** Drains, where there are any, begin when a third of the log is full. */
const LOG_SHARE = 0.3;
const NODES = 3;
const WIDE_BLOCKS = 4_096;
/** Before the kill, and after the first answer behind it. */
const WARM_MS = 2_000;
const AFTER_MS = 1_500;
const MOST_WAIT_MS = 120_000;
const POLL_MS = 50;
const CREATED_AT_ONCE = 8;

const { values } = parseArgs({
  options: {
    logs: { type: 'string', default: '0,1,8' },
    vdisks: { type: 'string', default: '1,100,1000' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

interface Round {
  /** Longest time without an answer to the vdisk under load. */
  readonly gapMs: number;
  /** From the kill until each vdisk that had its controller there has another one. */
  readonly allMs: number;
}

interface Case {
  readonly name: string;
  readonly logGib: number;
  readonly vdisks: number;
}

interface Measured extends Case {
  readonly rounds: readonly Round[];
}

async function measure(one: Case, rounds: number, dir: string): Promise<Measured> {
  const oplogGib = Math.max(2, Math.ceil(one.logGib / LOG_SHARE));
  const dataDir = join(dir, `log-${one.logGib}-vdisks-${one.vdisks}`);
  const extraArgs = ['--oplog', `${oplogGib}G`, '--rf', '3'];
  const system = new GatepathCluster({ dataDir, nodes: NODES, extraArgs, ...(one.logGib > 0 && { mutant: NO_DRAINS }) });
  try {
    await system.start();
    const cluster = new Cluster(dataDir, true);
    const names = Array.from({ length: one.vdisks }, (_, i) => `v${i}`);
    await prepare(cluster, names);
    const connections = await Promise.all(names.map(name => connected(system.nbdSocket, name)));
    if (one.logGib > 0) await fill(system.nbdSocket, names[0]!, one.logGib);
    const taken: Round[] = [];
    for (let i = 0; i < rounds; i++) {
      const round = await kill(cluster, system.nbdSocket, names);
      console.error(`  ${one.name}, round ${i + 1}: ${round.gapMs.toFixed(0)} ms; all vdisks after ${round.allMs.toFixed(0)} ms`);
      taken.push(round);
    }
    for (const connection of connections) connection.close();
    return { ...one, rounds: taken };
  } finally {
    await system.kill();
    removeTempDir(dataDir);
  }
}

/** A client that has read something, and stays: so the vdisk has a session, and that one a controller. */
async function connected(nbdSocket: string, name: string): Promise<NbdConnection> {
  let answer: () => void = () => undefined;
  const answered = new Promise<void>(resolve => (answer = resolve));
  const lost = (why: string): void => console.error(`  the connection to ${name} is lost: ${why}`);
  const connection = await NbdConnection.open(nbdSocket, name, { answered: () => answer(), lost });
  connection.read(requestBuffer(), 1, 0, BLOCK_BYTES);
  await answered;
  return connection;
}

async function prepare(cluster: Cluster, names: readonly string[]): Promise<void> {
  const left = [...names];
  const worker = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const wanted = { name, sizeBytes: 16 * GIB };
      await cluster.ask(client => client.createVdisk(wanted));
      await cluster.attach(name);
    }
  };
  await Promise.all(Array.from({ length: CREATED_AT_ONCE }, worker));
  await untilWhole(cluster, names.length);
}

async function fill(socket: string, name: string, gib: number): Promise<void> {
  const uri = `nbd+unix:///${name}?socket=${socket}`;
  const job = ['--name=fill', '--ioengine=nbd', `--uri=${uri}`, '--rw=write', '--bs=1M', `--size=${gib}G`, '--offset=1G', '--iodepth=8'];
  await check(['fio', '--thread', '--output-format=terse', ...job]);
}

async function untilWhole(cluster: Cluster, count: number): Promise<void> {
  await whileItGoesOn('all copies of all vdisks', async () => {
    const views = await cluster.ask(client => client.listVdisks());
    const whole = views.filter(({ controller, health }) => controller !== null && health === 'healthy').length;
    return { isDone: whole === count, text: `${whole} of ${count} whole` };
  });
}

async function kill(cluster: Cluster, nbdSocket: string, names: readonly string[]): Promise<Round> {
  await untilWhole(cluster, names.length);
  const controller = (await cluster.look(names[0]!))!.controller!;
  const target = await cluster.target(controller);
  const lost = new Set(
    (await cluster.ask(client => client.listVdisks())).filter(one => one.controller === controller).map(({ name }) => name),
  );
  const load = new Load(
    {
      ...{
        nbdSocket,
        exportName: names[0]!,
        connections: 2,
        readers: 0,
        queueDepth: 16,
        hotBlocks: 64,
        wideBlocks: WIDE_BLOCKS,
        coldBlocks: 0,
      },
      ...{ random: new Random(1), endpointDies: false },
    },
    1,
    new Float64Array(WIDE_BLOCKS),
  );
  await load.start();
  await sleep(WARM_MS);
  const killedMs = performance.now();
  target.signal('SIGKILL');
  const allMs = await untilTaken(cluster, controller, lost, killedMs);
  while (performance.now() < killedMs + AFTER_MS) await sleep(POLL_MS);
  const unanswered = await load.stop();
  if (unanswered > 0 || load.errors > 0) throw new Error(`${unanswered} requests without an answer, ${load.errors} errors`);
  const gapMs = longestGap(load.completions.subarray(0, load.completed), killedMs);
  await cluster.start(controller);
  return { gapMs, allMs };
}

async function untilTaken(cluster: Cluster, node: string, lost: ReadonlySet<string>, killedMs: number): Promise<number> {
  const others = cluster.file.nodes.filter(({ id }) => id !== node);
  for (;;) {
    const views = await cluster.client(others[0]!).listVdisks();
    if (views.every(view => !lost.has(view.name) || (view.controller !== null && view.controller !== node)))
      return performance.now() - killedMs;
    if (performance.now() > killedMs + MOST_WAIT_MS) throw new Error(`after ${MOST_WAIT_MS} ms there are vdisks without a controller`);
    await sleep(POLL_MS);
  }
}

function longestGap(completions: Float64Array, fromMs: number): number {
  let longest = 0;
  for (let i = 1; i < completions.length; i++)
    if (completions[i]! > fromMs) longest = Math.max(longest, completions[i]! - completions[i - 1]!);
  return longest;
}

const cases: Case[] = [
  ...numbers('logs', values.logs).map(logGib => ({ name: `${logGib} GiB undrained`, logGib, vdisks: 1 })),
  ...numbers('vdisks', values.vdisks).map(vdisks => ({ name: `${vdisks} vdisks`, logGib: 0, vdisks })),
];
const dir = values.dir ?? makeTempDir('takeover');
const all: Measured[] = [];
for (const one of cases) all.push(await measure(one, wholeNumber('rounds', values.rounds), dir));
if (values.dir === undefined) removeTempDir(dir);
console.log('case                     gap ms: median   worst   all vdisks, ms: median   worst');
for (const { name, rounds } of all) {
  const column = (of: (round: Round) => number): string => {
    const ms = rounds.map(of);
    return `${median(ms).toFixed(0).padStart(10)}${Math.max(...ms)
      .toFixed(0)
      .padStart(8)}`;
  };
  console.log(`${name.padEnd(28)}${column(({ gapMs }) => gapMs)}          ${column(({ allMs }) => allMs)}`);
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(all, null, 2)}\n`);
