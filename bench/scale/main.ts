// npm run bench:scale [-- --vdisks 1000 --attaches 10000 --dir DIR --json FILE]
// What many vdisks cost on one node: memory of an idle one, the start, a list of all, and what is left behind by attaching and detaching again and again.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlClient } from '../../src/control/client.js';
import { GatepathUp, gatepath } from '../../test/support/gatepath.js';
import { NbdClient } from '../../test/support/nbd/client.js';
import { check } from '../../test/support/process.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { sleep } from '../../test/support/wait.js';
import { wholeNumber } from '../arguments.js';
import { processUsage } from '../machine.js';
import { median } from '../report.js';

const AT_ONCE = 8;
/** Until garbage is collected and pages are given back. */
const SETTLE_MS = 3_000;
const LISTS = 5;
/** Of the attachments that are used by a client before they end. */
const CONNECT_EVERY = 10;
const FIRST = 'first';
/** What is promised, for the node's process alone on its processors. */
const LIMITS = { idleKibPerVdisk: 512, startMs: 10_000, listMs: 300, leakedDescriptors: 0 };

const { values } = parseArgs({
  options: {
    vdisks: { type: 'string', default: '1000' },
    attaches: { type: 'string', default: '10000' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

interface Measured {
  vdisks: number;
  attaches: number;
  createMs: number;
  idleKibPerVdisk: number;
  startMs: number;
  listMs: number;
  /** The whole command, with the start of its process. */
  listCommandMs: number;
  /** The start of a process that does nothing else. */
  nodeMs: number;
  /** One attachment and its end. */
  attachMs: number;
  leakedDescriptors: number;
  /** Of memory, over the second half of the attachments. */
  grownKibPerAttach: number;
}

async function settled(system: GatepathUp): Promise<ReturnType<typeof processUsage>> {
  await sleep(SETTLE_MS);
  return processUsage(system.process.pid);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now();
  await work();
  return performance.now() - fromMs;
}

/** What is known so far is told at once: the whole takes minutes. */
const measured: Partial<Measured> = {};

function tell(news: Partial<Measured>): void {
  Object.assign(measured, news);
  for (const [name, value] of Object.entries(news)) {
    const limit = name in LIMITS ? LIMITS[name as keyof typeof LIMITS] : null;
    const promise = limit === null ? '' : `   promised: at most ${limit}${value > limit ? '  MISSED' : ''}`;
    console.log(`${name.padEnd(20)}${value.toFixed(1).padStart(10)}${promise}`);
  }
}

async function measure(vdisks: number, attaches: number, dataDir: string): Promise<void> {
  tell({ vdisks, attaches });
  const system = new GatepathUp({ dataDir, vdisk: FIRST, size: '1G' });
  const client = new ControlClient({ socketPath: join(dataDir, 'control.sock') });
  await system.start();
  try {
    const empty = await settled(system);
    const createMs = await timed(() => makeAll(client, vdisks));
    const full = await settled(system);
    tell({ createMs, idleKibPerVdisk: (full.rssKib - empty.rssKib) / vdisks });
    await system.stop();
    tell({ startMs: await timed(() => system.start()) });
    const lists: number[] = [];
    const commands: number[] = [];
    const nodes: number[] = [];
    for (let i = 0; i < LISTS; i++) {
      lists.push(await timed(() => client.listVdisks()));
      commands.push(await timed(() => gatepath('vdisk', 'list', '--data', dataDir)));
      nodes.push(await timed(() => check([process.execPath, '-e', '0'])));
    }
    tell({ listMs: median(lists), listCommandMs: median(commands), nodeMs: median(nodes) });
    await attachAgain(system, client, attaches);
  } finally {
    await system.kill();
  }
}

async function makeAll(client: ControlClient, vdisks: number): Promise<void> {
  let next = 0;
  const one = async (): Promise<void> => {
    for (let i = next++; i < vdisks; i = next++) {
      await client.createVdisk({ name: `idle-${i}`, sizeBytes: 2 ** 30 });
      await client.attach(`idle-${i}`, {});
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

async function attachAgain(system: GatepathUp, client: ControlClient, attaches: number): Promise<void> {
  await client.detach(FIRST);
  const again = async (i: number): Promise<void> => {
    await client.attach(FIRST, {});
    if (i % CONNECT_EVERY === 0) {
      const nbd = await NbdClient.connect({ socket: system.socket }, FIRST);
      await nbd.write(0, Buffer.alloc(4_096, i));
      await nbd.disconnect();
    }
    await client.detach(FIRST);
  };
  // What the first ones open stays open.
  for (let i = 0; i < 2 * CONNECT_EVERY; i++) await again(i);
  const before = await settled(system);
  let half = before;
  const took: number[] = [];
  for (let i = 0; i < attaches; i++) {
    if (i === Math.floor(attaches / 2)) half = await settled(system);
    took.push(await timed(() => again(i)));
  }
  if (attaches === 0) return;
  const after = await settled(system);
  tell({
    attachMs: median(took),
    leakedDescriptors: after.descriptors - before.descriptors,
    grownKibPerAttach: (after.rssKib - half.rssKib) / Math.max(1, attaches / 2),
  });
}

const dir = values.dir ?? makeTempDir('scale');
try {
  await measure(wholeNumber('vdisks', values.vdisks), wholeNumber('attaches', values.attaches), join(dir, 'data'));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(measured, null, 2)}\n`);
} finally {
  if (values.dir === undefined) removeTempDir(dir);
}
