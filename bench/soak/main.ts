// npm run bench:soak [-- --minutes N --warm N --dir DIR --json FILE]
// Whether a node under full load grows: its memory by the million requests, from minute 2 on, and its descriptors. Reads, writes and durable writes, each with 32 in flight.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ControlClient } from '../../src/control/client.js';
import { GatepathUp } from '../../test/support/gatepath.js';
import { makeTempDir, removeTempDir } from '../../test/support/temp.js';
import { sleep } from '../../test/support/wait.js';
import { processUsage } from '../machine.js';
import { compileLoadGenerator, runLoad, type LoadRequest } from '../load/generator.js';

const MIB = 2 ** 20;
const RANGE_BYTES = 1024 * MIB;
const SAMPLE_MS = 5_000;
const LOAD_SECONDS = 20;
/** What is promised. */
const LIMIT_MIB_PER_MILLION = 1;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    warm: { type: 'string', default: '2' },
    dir: { type: 'string' },
    json: { type: 'string' },
  },
});

interface Sample {
  readonly minutes: number;
  readonly rssMib: number;
  readonly requests: number;
  readonly descriptors: number;
}

type Request = Pick<LoadRequest, 'mode' | 'fua' | 'blockBytes'>;
const LOADS: readonly Request[] = [
  { mode: 'read', blockBytes: 4096 },
  { mode: 'write', blockBytes: 4096 },
  { mode: 'write', blockBytes: 4096, fua: true },
  { mode: 'read', blockBytes: 65_536 },
];

async function sample({ process }: GatepathUp, client: ControlClient, startMs: number): Promise<Sample> {
  const { rssKib, descriptors } = processUsage(process.pid);
  const { exports } = await client.counters();
  const counts = exports.flatMap(({ probes }) => (probes === null ? [] : [probes.read, probes.write, probes.other]));
  return {
    minutes: (performance.now() - startMs) / 60_000,
    rssMib: rssKib / 1024,
    requests: counts.reduce((sum, { requests }) => sum + requests, 0),
    descriptors,
  };
}

/** Least squares, MiB by the million requests. */
function slope(samples: readonly Sample[]): number {
  const mean = (pick: (one: Sample) => number): number => samples.reduce((sum, one) => sum + pick(one), 0) / samples.length;
  const [x, y] = [mean(one => one.requests), mean(one => one.rssMib)];
  const above = samples.reduce((sum, one) => sum + (one.requests - x) * (one.rssMib - y), 0);
  return (above / samples.reduce((sum, one) => sum + (one.requests - x) ** 2, 0)) * 1e6;
}

const dir = values.dir ?? makeTempDir('soak');
const system = new GatepathUp({ dataDir: join(dir, 'data'), vdisk: 'bench', size: String(RANGE_BYTES) });
try {
  const generator = await compileLoadGenerator();
  await system.start();
  const { socket, exportName } = system;
  const request = { socket, exportName, queueDepth: 32, rangeBytes: RANGE_BYTES, blockBytes: 4096 } as const;
  await runLoad(generator, { ...request, mode: 'read', seconds: 0.2, fill: true, verify: true });
  const client = new ControlClient({ socketPath: join(dir, 'data', 'control.sock') });
  const [startMs, endMs] = [performance.now(), performance.now() + Number(values.minutes) * 60_000];
  const loading = LOADS.map(async load => {
    while (performance.now() < endMs) await runLoad(generator, { ...request, ...load, seconds: LOAD_SECONDS });
  });
  const samples: Sample[] = [];
  while (performance.now() < endMs) {
    await sleep(SAMPLE_MS);
    samples.push(await sample(system, client, startMs));
    const { minutes, rssMib, requests, descriptors } = samples.at(-1)!;
    if (samples.length % 6 === 0)
      console.error(
        `  minute ${minutes.toFixed(1)}: ${rssMib.toFixed(0)} MiB, ${(requests / 1e6).toFixed(1)} million requests, ${descriptors} descriptors`,
      );
  }
  await Promise.all(loading);
  const measured = samples.filter(({ minutes }) => minutes >= Number(values.warm));
  if (measured.length < 2) throw new Error('--minutes has to be larger than --warm');
  const [first, last] = [measured[0]!, measured.at(-1)!];
  const grown = slope(measured);
  const millions = (last.requests - first.requests) / 1e6;
  console.log(`${millions.toFixed(1)} million requests from minute ${first.minutes.toFixed(1)} to ${last.minutes.toFixed(1)}`);
  console.log(
    `memory: ${first.rssMib.toFixed(1)} to ${last.rssMib.toFixed(1)} MiB; by the million requests ${grown.toFixed(3)} MiB (promised: under ${LIMIT_MIB_PER_MILLION})${grown < LIMIT_MIB_PER_MILLION ? '' : '  MISSED'}`,
  );
  console.log(`descriptors: ${Math.min(...measured.map(one => one.descriptors))} to ${Math.max(...measured.map(one => one.descriptors))}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ grown, samples }, null, 2)}\n`);
  await system.stop();
} finally {
  await system.kill();
  if (values.dir === undefined) removeTempDir(dir);
}
